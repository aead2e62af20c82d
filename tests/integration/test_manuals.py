"""The commands of docs/quick-start.md and docs/first-pipeline.md, as a reader would type them, on real servers."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from manuals import blocks, changed
from planted import see

from cdlib import process
from cdlib.deadline import Deadline
from lab.testing import CHECKOUT, RunningLab

_LIMIT = 280.0  # seconds for a page
_NAMES = {f"GIT_{who}_{what}": "reader@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_EXPECTED = re.compile(r"\s+# ends with (?P<status>\d+)$")
_HEREDOC = re.compile(r"<<'?(?P<end>\w+)'?")


def script(page: str, changes: Mapping[str, str]) -> str:
    """The page's blocks for a shell as one script, which ends at the first command that does not end as it should."""
    text = "".join(block.text for block in blocks(CHECKOUT / "docs" / page) if block.language == "sh")
    return "\n".join(["set -o pipefail", *_checked(changed(text, changes).splitlines())])


def _checked(lines: list[str]) -> Iterator[str]:
    end = ""
    for line in lines:
        if end or not line.strip():
            yield line
            end = "" if line == end else end
            continue
        expected = _EXPECTED.search(line)
        plain = re.sub(r"\s{2,}# .*$", "", line)
        yield f"echo {shlex.quote('$ ' + plain)} >&2"
        if expected:
            yield f'{_EXPECTED.sub("", line)}; status=$?; [ "$status" = {expected["status"]} ] || exit 99'
        else:
            yield f"{plain} || exit 99"
        found = _HEREDOC.search(line)
        end = found["end"] if found else ""


def read(lab: RunningLab, page: str, home: Path, changes: Mapping[str, str]) -> process.Finished:
    """What a reader of the page sees, who starts in the checkout and has an empty home."""
    path = os.pathsep.join((str(Path(sys.executable).parent), lab.env.get("PATH", os.environ["PATH"])))
    env = {**lab.env, **_NAMES, "PATH": path, "HOME": str(home), "CD_TARGETS": "", "NO_COLOR": "1"}
    argv = ["bash", "-c", script(page, changes)]
    done = process.run(argv, Deadline(_LIMIT, page), cwd=CHECKOUT, env=env)
    see(page, "\n".join([done.stdout, *done.stderr]))
    assert done.ok, "\n".join([*done.stdout.splitlines()[-20:], *done.stderr[-60:]])
    return done


@pytest.fixture
def fresh(lab: RunningLab) -> Iterator[str]:
    """A namespace's name that nothing has yet; it is deleted in the end."""
    name = f"t-{secrets.token_hex(4)}"
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def test_the_quick_start(lab: RunningLab, fresh: str, tmp_path: Path) -> None:
    done = read(
        lab, "quick-start.md", tmp_path, {"hello-quick": fresh, "localhost:5000/": f"{lab.registry}/t/{fresh}/"}
    )
    told = "\n".join(done.stderr)
    assert "KeyError: 'HELLO_GREETING'" in told and "is quarantined" in told
    assert "the second one loses orders" in told or "the second one loses orders" in done.stdout
    assert re.findall(r"^\d+ releases? in .*: (.*)", done.stdout, re.MULTILINE)[-1].startswith("1 verified")
    assert not (tmp_path / "cd-quick").exists()


def test_the_first_pipeline(lab: RunningLab, fresh: str, tmp_path: Path) -> None:
    here = {"blubberoid-first": fresh, "localhost:5000/": f"{lab.registry}/t/{fresh}/"}
    done = read(lab, "first-pipeline.md", tmp_path, here)
    assert "1 release in 1 cluster: 1 verified" in done.stdout
    assert not (tmp_path / "cd-first").exists()
