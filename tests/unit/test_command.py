"""What every command shares: options, output, results, and one way from an error to an exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdlib.documents import schema_mistakes
from cdlib.errors import BuildFailed, Interrupted
from cdlib.interruptions import INTERRUPTIONS
from cdlib.result import Result
from jobs.command import command
from jobs.options import targets_option


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("CD_")]:
        monkeypatch.delenv(name)
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "service").mkdir()
    return tmp_path / "service"


def call(function: Callable[..., Result], *args: str) -> int:
    """The exit status of a command made of `function`."""

    def fresh(run: Any, where: Path, targets: Path | None) -> Result:  # click keeps its options on the function
        return function(run, where, targets)

    with pytest.raises(SystemExit) as caught:
        command("test-it", timeout=60)(targets_option(fresh)).main(args)
    return int(caught.value.code or 0)


def kept(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / ".cd" / "cd-result.json").read_text())
    assert schema_mistakes(result, "result") == []
    return result


def test_what_a_command_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        run.note("working")
        assert run.out == where / ".cd" and 0 < run.deadline.left <= 60 and targets is None
        return {"text": "made it ü", "service": "hello"}

    assert call(function, "-C", str(folder)) == 0
    shown = capsys.readouterr()
    assert shown.out == "made it ü\n" and "working" in shown.err
    result = kept(folder)
    assert (result["outcome"], result["exit_code"], result["service"]) == ("done", 0, "hello")
    events = [json.loads(line) for line in (folder / ".cd" / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["run_start", "note", "run_end"] and {e["run"] for e in events} == {
        result["run"]
    }
    assert (folder / ".cd" / ".gitignore").read_text() == "*\n"


def test_json_is_one_object_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(lambda run, where, targets: {"text": "x", "outcome": "unchanged"}, "-C", str(folder), "--json", "-q") == 0
    )
    shown = capsys.readouterr()
    assert json.loads(shown.out)["outcome"] == "unchanged" and shown.err == "" and shown.out.count("\n") == 1


def test_a_dry_run_is_planned(folder: Path) -> None:
    assert (
        call(
            lambda run, where, targets: {"outcome": "done" if not run.dry_run else "x"}, "-C", str(folder), "--dry-run"
        )
        == 0
    )
    assert kept(folder)["outcome"] == "planned"


def test_an_error_is_told_once_with_what_proves_it_and_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        run.redactor.hide(["hunter2hunter2"])
        problem = BuildFailed("it broke hunter2hunter2", hint="mend hunter2hunter2", details=["step hunter2hunter2"])
        problem.made.update(service="hello")
        raise problem

    assert call(function, "-C", str(folder)) == 3
    shown = capsys.readouterr()
    assert shown.err == "error: it broke [hidden]\n  step [hidden]\nnext: mend [hidden]\n" and shown.out == ""
    result = kept(folder)
    assert result["outcome"] == "build-failed" and result["service"] == "hello"
    assert result["error"] == {"message": "it broke [hidden]", "hint": "mend [hidden]", "details": ["step [hidden]"]}


def test_a_defect_is_told_short_and_kept_long(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        return {"x": 1 / 0}

    assert call(function, "-C", str(folder)) == 1
    shown = capsys.readouterr().err
    assert "a defect of ours: ZeroDivisionError" in shown and "Traceback" not in shown
    assert "Traceback" in (folder / ".cd" / "events.jsonl").read_text() and kept(folder)["outcome"] == "defect"


def test_errors_of_the_operating_system_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        raise OSError(28, "No space left on device", "/there")

    assert call(function, "-C", str(folder)) == 69
    assert "the disk is full: /there" in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_signals_become_interruptions_and_a_second_does_not_break_cleaning(
    folder: Path, signum: int, code: int
) -> None:
    cleaned = []

    def function(run: Any, where: Path, targets: Path | None) -> Result:
        try:
            os.kill(os.getpid(), signum)
            signal.pause()
        finally:
            os.kill(os.getpid(), signum)
            cleaned.append(True)
        return {}

    assert call(function, "-C", str(folder)) == code and cleaned
    assert kept(folder)["outcome"] == "interrupted"


def test_a_hang_up_that_was_ignored_before_us_is_ignored(folder: Path) -> None:
    """As nohup leaves it to what it starts."""

    def function(run: Any, where: Path, targets: Path | None) -> Result:
        os.kill(os.getpid(), signal.SIGHUP)
        return {}

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert call(function, "-C", str(folder)) == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


# A command that waits, and then says on its terminal what it has cleaned up.
WAITS = """\
import pathlib, sys, time
from jobs.command import command
from jobs.options import targets_option

def main(run, folder, targets):
    try:
        (folder / "begun").touch()
        time.sleep(60)
    finally:
        run.warn("cleaning up")
        (folder / "cleaned").touch()

command("test-it", timeout=60)(targets_option(main)).main(sys.argv[1:])
"""


@pytest.mark.timeout(60)
def test_a_terminal_that_is_gone_lets_a_command_clean_up_and_say_how_it_ended(folder: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", WAITS, "-C", str(folder)])
    while not (folder / "begun").exists():
        time.sleep(0.02)
    os.close(terminal)  # as sshd does when the connection drops
    _, status = os.waitpid(pid, 0)
    assert (folder / "cleaned").exists()
    assert (kept(folder)["outcome"], kept(folder)["exit_code"]) == ("interrupted", 143)
    assert os.waitstatus_to_exitcode(status) == 143


def test_an_interruption_from_inside(folder: Path) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        raise Interrupted(15)

    assert call(function, "-C", str(folder)) == 143


def test_options_over_variables_over_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Any] = []

    def function(run: Any, where: Path, targets: Path | None) -> Result:
        found.append((where, run.out, round(run.deadline.seconds), targets))
        return {}

    monkeypatch.setenv("CD_DIR", str(folder))
    monkeypatch.setenv("CD_TIMEOUT", "30")
    monkeypatch.setenv("CD_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("CD_TARGETS", "from-variable")
    assert call(function) == 0
    assert call(function, "--timeout", "5", "--targets", "from-option") == 0
    assert found[0] == (folder, tmp_path / "out", 30, Path("from-variable"))
    assert found[1] == (folder, tmp_path / "out", 5, Path("from-option"))


def test_wrong_use(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def function(run: Any, where: Path, targets: Path | None) -> Result:
        raise AssertionError

    assert call(function, "--no-such-option") == 2
    assert call(function, "-C", str(folder / "none")) == 2
    assert "is no folder" in capsys.readouterr().err
    assert call(function, "--timeout", "0") == 2
    (folder / ".cd").symlink_to("/tmp")
    assert call(function, "-C", str(folder)) == 2
    assert "symbolic link" in capsys.readouterr().err
