"""Shells complete options, choices, and the names in targets.yaml: by what docs/shell.md has people put into their files."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from manuals import blocks

BIN = Path(sys.executable).parent
SHOWN = {block.name: block.text for block in blocks(Path(__file__).parents[2] / "docs" / "shell.md") if block.name}
_PATIENCE = 30.0  # seconds; what is waited for comes at once, unless the machine is busy
needs_zsh = pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh; python -m lab install --extras")
needs_fish = pytest.mark.skipif(not shutil.which("fish"), reason="no fish; python -m lab install --extras")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What a shell sees that knows of a targets.yaml."""
    places = {"staging": {"namespace": "a", "release": "a"}}
    both = {**places, "production-ö": {"namespace": "b", "release": "b"}}
    document = {
        "version": 1,
        "environments": {"staging": {}, "production-ö": {}},
        "services": {
            "hello": {"image": "r.test/hello", "environments": places},
            "blubberoid": {"image": "r.test/b", "environments": both},
        },
    }
    (tmp_path / "targets.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CD_")}
    path = f"{BIN}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "CD_TARGETS": str(tmp_path / "targets.yaml")}


def asked(environ: dict[str, str], line: str, shell: str = "bash", **more: str) -> list[str]:
    """What click answers to a shell that completes the last word of `line`."""
    words = line.split(" ")
    variable = f"_{words[0].upper().replace('-', '_')}_COMPLETE"
    begun = words[-1] if shell == "fish" else str(len(words) - 1)
    env = {**environ, **more, variable: f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": begun}
    done = subprocess.run([BIN / words[0]], env=env, capture_output=True, text=True, timeout=_PATIENCE)
    assert done.stderr == "" and done.returncode == 0
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cd-status -e ", ["production-ö", "staging"]),
        ("cd-status --environment st", ["staging"]),
        ("cd-status --service ", ["blubberoid", "hello"]),
        ("helm-deploy -e prod", ["production-ö"]),
        ("helm-rollback --service hello -e ", ["staging"]),
        ("cd-hold -e production-ö --service ", ["blubberoid"]),
        ("helm-rollback --service unheard-of -e ", ["production-ö", "staging"]),
        ("cd-approve 12 -e s", ["staging"]),
        ("cd-hold --action s", ["show", "set"]),
        ("build-image --bu", ["--builder"]),
        ("cd-status --no-c", ["--no-color"]),
    ],
)
def test_what_is_completed(line: str, found: list[str], environ: dict[str, str]) -> None:
    assert [answer.partition(",")[2] for answer in asked(environ, line)] == found


def test_targets_is_a_file_and_tells_the_names(environ: dict[str, str]) -> None:
    assert asked(environ, "cd-status --targets ") == ["file,"]
    line = "cd-status --targets ~/targets.yaml -e "
    assert len(asked(environ, line, CD_TARGETS="")) == 2 and asked(environ, "cd-status -e ", CD_TARGETS="") == []


@pytest.mark.parametrize(
    "text", ["", "[", "services: [1, 2]", "a: &a [*a]", "environments: {1: {}, '\x07': {}}", "\udcff"]
)
def test_a_file_that_is_none_completes_nothing_and_says_nothing(text: str, environ: dict[str, str]) -> None:
    Path(environ["CD_TARGETS"]).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert asked(environ, "cd-status -e ") == asked(environ, "cd-status --service ") == []


def test_it_is_fast_for_many_services(environ: dict[str, str]) -> None:
    file = Path(environ["CD_TARGETS"])
    document = yaml.safe_load(file.read_text())
    document["services"] = {f"service-{n}": document["services"]["blubberoid"] for n in range(500)}
    file.write_text(yaml.dump(document, Dumper=_NoAliases))

    def seconds() -> float:
        before = os.times()
        assert len(asked(environ, "cd-status --service ")) == 500
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 0.5  # of the processor, which a busy machine does not change much


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        return True


class Typed:
    """A shell with a person at it."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def type(self, text: str, until: str) -> str:
        """Type, and read what the shell shows until it has shown something that fits; all that it has shown."""
        os.write(self._terminal, text.encode())
        shown, end = "", time.monotonic() + _PATIENCE
        while not re.search(until, shown):
            ready, _, _ = select.select([self._terminal], [], [], end - time.monotonic())
            assert ready, f"the shell never showed {until!r}, but: {shown!r}"
            shown += re.sub(
                r"\x1b\[[0-?]*[ -/]*[@-~]|[\x07\x08]", "", os.read(self._terminal, 4096).decode("utf-8", "replace")
            )
        return shown


@contextmanager
def shell(environ: dict[str, str], *argv: str) -> Iterator[Typed]:
    person, program = os.openpty()

    def at_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(argv, stdin=program, stdout=program, stderr=program, env=environ, start_new_session=True,
                               preexec_fn=at_terminal)  # fmt: skip
    os.close(program)
    try:
        yield Typed(person)
    finally:
        os.close(person)
        process.kill()
        process.wait()


def test_a_person_at_bash(environ: dict[str, str]) -> None:
    with shell(environ, "bash", "--norc", "--noprofile", "-i") as bash:
        bash.type("PS1='ready'; bind 'set enable-bracketed-paste off'\n", "ready(?!')")
        bash.type(f"{SHOWN['completion.bash']}echo now'$'\n", r"now\$")
        bash.type("cd-status -e st\t", "cd-status -e staging ")
        bash.type("--serv\t", "--service ")
        bash.type("blu\t", "blubberoid")


@needs_zsh
def test_a_person_at_zsh(environ: dict[str, str]) -> None:
    with shell(environ, "zsh", "-f", "-i") as zsh:
        zsh.type(
            "unsetopt zle_bracketed_paste prompt_sp; PS1=ready; autoload -Uz compinit; compinit -u -D; echo now'$'\n",
            r"now\$",
        )
        zsh.type(SHOWN["completion.bash"].replace("bash_source", "zsh_source") + "echo now'%'\n", "now%")
        zsh.type("cd-status -e st\t", "cd-status -e st[^\n]*aging ")
        zsh.type("--serv\t", "ice")
        zsh.type(" blu\t", "bberoid")


@needs_fish
def test_a_person_at_fish(environ: dict[str, str]) -> None:
    asked = 'complete -C "cd-status -e st"; complete -C "cd-status --service "; complete -C "build-image --builder b"'
    done = subprocess.run(["fish", "--no-config", "-c", f"{SHOWN['completion.fish']}\n{asked}"], env=environ,
                          capture_output=True, text=True, timeout=_PATIENCE)  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["staging", "blubberoid", "hello", "buildkit", "buildx"], "")


def test_the_page_names_every_command() -> None:
    import runpy

    made = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_reference.py"))["commands"]()
    names = {str(command.name) for command in made}
    for text in (SHOWN["completion.bash"], SHOWN["completion.fish"]):
        assert set(re.findall(r"\b[a-z]+-[a-z]+\b", text.partition("\n    set")[0].partition("; do")[0])) >= names
