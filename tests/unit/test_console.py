"""What people see while it happens: in terminals of any width, in logs, and in CIs that can fold."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TextIO

import pytest

import cdlib.console
import cdlib.progress
from cdlib.console import Console, columns
from cdlib.deadline import Deadline
from cdlib.folding import fold
from cdlib.progress import SILENCE, Progress
from cdlib.run import Run
from cdlib.table import width

NAME = "サービス-e\u0301clair-" + "本" * 60


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITLAB_CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@dataclass
class Terminal:
    """Both ends of a terminal: what a program writes to, and what a person sees."""

    program: TextIO
    person: int

    @classmethod
    def open(cls, wide: int) -> Terminal:
        person, program = os.openpty()
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 24, wide, 0, 0))
        return cls(os.fdopen(program, "w", encoding="utf-8"), person)

    def seen(self, until: Callable[[str], bool]) -> str:
        """All that was written until it is as it should be; a terminal that has gone ends it, too."""
        text = b""
        with suppress(OSError):
            while not until(text.decode("utf-8", "replace")):
                text += os.read(self.person, 4096)
        return text.decode("utf-8", "replace")

    def close(self) -> None:
        with suppress(OSError):
            self.program.close()
        os.close(self.person)


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    with closing(Terminal.open(getattr(request, "param", 80))) as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cdlib.progress, "time", made)
    monkeypatch.setattr(cdlib.console, "time", made)
    monkeypatch.setattr(cdlib.progress, "_EVERY", 3600.0)  # it looks when the test says so
    return made


def watched(console: Console) -> tuple[Run, Progress]:
    run, progress = Run("helm-deploy", Deadline(9)), Progress(console)
    run.events.listen(console.on_event)
    run.events.listen(progress.on_event)
    return run, progress


@pytest.mark.parametrize("terminal", [20, 40, 41, 80, 200], indirect=True)
def test_a_stage_counts_in_one_line_that_leaves_no_trace(terminal: Terminal, clock: Clock) -> None:
    console = Console(terminal.program)
    run, progress = watched(console)
    with run.stage("rollout", NAME):
        clock.now += 0.5
        progress.tick()
        clock.now += 11.5
        progress.tick()
        progress.tick()
        run.note("a note")
        progress.tick()
    progress.close()
    text = terminal.seen(lambda text: "✓" in text and text.endswith("\n"))
    counted = re.findall(r"\x1b\[2m(….*?)\x1b\[0m", text)
    wide = console.columns or 0
    assert len(counted) == 3 and all(width(line) < wide for line in counted)
    assert all(line.endswith("  12 s") for line in counted) and wide
    assert wide < 200 or counted[0] == f"… rollout  {NAME}  12 s"
    left = [line.rpartition("\x1b[K")[2] for line in text.split("\r\n")]
    assert [re.sub(r"\x1b\[\d*m", "", line)[:9] for line in left] == ["  a note", "✓ rollout", ""]


def test_where_there_is_no_terminal_a_long_silence_is_broken(clock: Clock) -> None:
    stream = io.StringIO()
    run, progress = watched(Console(stream))
    run.events.emit("run_start")
    with run.stage("rollout", "hello"):
        for _ in range(5):
            clock.now += SILENCE / 2
            progress.tick()
        clock.now += 1
        run.output("a line is a sign of life as well")
        clock.now += SILENCE - 1
        progress.tick()
    clock.now += SILENCE
    progress.tick()
    progress.close()
    assert [line for line in stream.getvalue().splitlines() if line.startswith("…")] == [
        "… rollout  hello  30 s so far", "… rollout  hello  60 s so far", f"… helm-deploy  {75 + 30 + 30} s so far"
    ]  # fmt: skip


def test_in_a_terminal_nothing_counts_beside_a_prompt(terminal: Terminal, clock: Clock) -> None:
    console = Console(terminal.program)
    run, progress = watched(console)
    run.events.emit("run_start")
    clock.now += 2 * SILENCE
    progress.tick()
    run.note("the end")
    assert terminal.seen(lambda text: text.endswith("\n")) == "  the end\r\n"


def test_a_dumb_terminal_gets_lines(terminal: Terminal, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    run, progress = watched(Console(terminal.program))
    with run.stage("rollout"):
        clock.now += SILENCE
        progress.tick()
    assert terminal.seen(lambda text: "✓" in text and text.endswith("\n")) == (
        "… rollout  30 s so far\r\n✓ rollout  0.0 s\r\n"
    )


def test_of_stages_side_by_side_the_one_that_lasts_is_shown(clock: Clock) -> None:
    stream = io.StringIO()
    run, progress = watched(Console(stream))
    with run.stage("build", "a"):
        run.events.emit("stage_start", stage="build", about="b")
        run.events.emit("stage_end", stage="build", about="a", outcome="ok", seconds=0)
        clock.now += SILENCE
        progress.tick()
        run.events.emit("stage_end", stage="never", about="begun", outcome="ok", seconds=0)
    assert "… build  b  30 s so far" in stream.getvalue()


@pytest.mark.parametrize(("given", "wide"), [("", 123), ("55", 55), ("0", 123), ("wide", 123)])
def test_how_wide_a_terminal_is(given: str, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", given)
    with closing(Terminal.open(123)) as terminal:
        assert columns(terminal.program) == wide
    assert columns(io.StringIO()) is None


def test_output_is_folded_where_a_ci_has_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(**environ: str) -> str:
        stream = io.StringIO()
        with monkeypatch.context() as scope:
            for name, value in environ.items():
                scope.setenv(name, value)
            run = Run("build-image", Deadline(9))
            run.events.listen(Console(stream).on_event)
            with run.stage("build", "te\x1b[2Jst\n::error::x"):
                run.output("one\n::error::y")
                run.output("two")
                run.note("a note")
                run.output("three")
        return re.sub(r"\d+\.\d s|\d{9,}|\d+_\d+", "N", stream.getvalue())

    plain = ["  │ one", "::error::y", "  │ two", "  a note", "  │ three", "✓ build  test ::error::x  N"]
    assert told(JENKINS_URL="http://x", CI="true", GITHUB_ACTIONS="false").splitlines() == plain
    begin, end = "::group::build  test ::error::x", "::endgroup::"
    assert told(GITHUB_ACTIONS="true").splitlines() == [
        begin,
        *plain[:3],
        end,
        plain[3],
        begin,
        plain[4],
        end,
        plain[5],
    ]
    gitlab = told(GITLAB_CI="true").split("\n")
    assert gitlab[0] == "\x1b[0Ksection_start:N:cd_N[collapsed=true]\r\x1b[0Kbuild  test ::error::x"
    assert gitlab[4] == "\x1b[0Ksection_end:N:cd_N\r\x1b[0K"


def test_a_fold_of_gitlab_ends_by_its_own_name() -> None:
    first, second = (fold("x", {"GITLAB_CI": "true"}) for _ in range(2))
    assert first and second and first.begin.split(":")[2].split("[")[0] == first.end.split(":")[2].split("\r")[0]
    assert first.end.split(":")[2] != second.end.split(":")[2]


_COMMAND = """
import sys
from jobs.command import command

@command("test-it", timeout=60)
def main(run, folder):
    "A command that lasts until it reads a line."
    with run.stage("wait", "日本語"):
        sys.stdin.readline()
    run.warn("it is over")
    return {"text": "done"}

main()
"""


@pytest.mark.parametrize(
    ("args", "environ", "colored"),
    [([], {}, True), (["--no-color"], {"FORCE_COLOR": "1"}, False), (["--color"], {"NO_COLOR": "1"}, True)],
)
def test_a_command_in_a_terminal(
    args: list[str], environ: dict[str, str], colored: bool, terminal: Terminal, tmp_path: os.PathLike[str]
) -> None:
    argv = [sys.executable, "-c", _COMMAND, "-C", str(tmp_path), *args]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=terminal.program, stderr=terminal.program,
                               env={**os.environ, **environ})  # fmt: skip
    assert process.stdin
    before = terminal.seen(lambda text: re.search(r"… wait  日本語  \d+ s", text) is not None)
    process.stdin.write(b"\n")
    process.stdin.close()
    after = terminal.seen(lambda text: text.endswith("done\r\n"))
    assert process.wait(30) == 0 and ("\x1b[2m" in before) is colored and ("\x1b[33m" in after) is colored
    assert after.count("\x1b[K") <= 2 and re.search(r"\r\x1b\[K(\x1b\[32m)?✓ ", after)


def test_a_name_that_the_locale_cannot_write_is_no_failure(tmp_path: os.PathLike[str]) -> None:
    argv = [sys.executable, "-c", _COMMAND.replace('"done"', '"done ü \\udcff"'), "-C", str(tmp_path)]
    for more in ([], ["--json"]):
        done = subprocess.run([*argv, *more], input=b"\n", capture_output=True, timeout=60,
                              env={**os.environ, "PYTHONIOENCODING": "ascii"})  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b'{"schema"')
