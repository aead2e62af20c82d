"""The one place that starts a program: argument lists, limits, and children that never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cdlib import process, streams
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Interrupted, OutOfTime, UsageProblem

HOSTILE = ["a b", "'", '"', "$HOME", "`id`", "new\nline", "ü", "", "*", "; rm -rf /"]
ECHO = [sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))"]


def run(*argv: str | Path, seconds: float = 20, **more: object) -> process.Finished:
    return process.run(argv, Deadline(seconds, "a test"), **more)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def test_arguments_arrive_as_they_are() -> None:
    done = run(*ECHO, *HOSTILE)
    assert done.ok and done.stdout.strip() == ascii(HOSTILE) and done.seconds > 0


def test_status_output_and_environment() -> None:
    lines: list[str] = []
    done = run("sh", "-c", 'echo "out $X"; echo err >&2; printf last; exit 3', env={"X": "ü"}, on_line=lines.append)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out ü\nlast", ("err",)) and not done.ok
    assert sorted(lines) == ["err", "last", "out ü"]


def test_standard_input_and_folder(tmp_path: Path) -> None:
    assert run("cat", stdin=b"x" * 200_000).stdout == "x" * 200_000
    assert run("pwd", cwd=tmp_path).stdout.strip() == str(tmp_path)
    assert run("true", stdin=b"x" * 1_000_000).ok  # it ends without reading
    assert run("cat").stdout == ""  # nothing of ours reaches it


def test_bytes_that_are_no_text_and_lines_without_end() -> None:
    lines: list[str] = []
    done = run("sh", "-c", r"printf 'a\377b\r\n'; head -c 40000 /dev/zero | tr '\0' x", on_line=lines.append)
    assert lines[0] == "a\ufffdb" and "".join(lines[1:]) == "x" * 40000 and done.ok


def test_too_much_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT_STDOUT", 1000)
    with pytest.raises(streams.TooMuch, match="more than 1000 bytes"):
        run("head", "-c", "2000", "/dev/zero")


def test_what_is_not_installed() -> None:
    with pytest.raises(UsageProblem, match="no-such-program is not installed") as caught:
        run("no-such-program", hint="get it")
    assert caught.value.hint == "get it"


def test_a_program_is_looked_for_on_the_path_that_it_gets(tmp_path: Path) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert run("mine", env={"PATH": str(tmp_path)}).stdout == "found\n"


def pid_of(lines: list[str], first: threading.Event) -> int:
    assert first.wait(10)
    return int(lines[0])


@pytest.mark.parametrize("script", ["echo $$; sleep 600", "trap '' TERM; echo $$; while :; do sleep 600; done"])
def test_time_ends_it(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    lines: list[str] = []
    with pytest.raises(OutOfTime, match="sh did not end within 0.5 s"):
        run("sh", "-c", script, seconds=0.5, on_line=lines.append)
    assert gone(int(lines[0]))
    with pytest.raises(OutOfTime, match="starting sh"):
        run("sh", seconds=0)


def test_grandchildren_go_with_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    lines: list[str] = []
    script = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 600; done' & sleep 600"
    with pytest.raises(OutOfTime):
        run("sh", "-c", script, seconds=0.5, on_line=lines.append)
    assert gone(int(lines[0]))


def test_a_grandchild_that_holds_the_pipes_open_does_not_hold_us() -> None:
    lines: list[str] = []
    started = time.monotonic()
    done = run("sh", "-c", "sleep 600 & echo $!", on_line=lines.append)
    assert done.ok and time.monotonic() - started < 5
    os.kill(int(lines[0]), signal.SIGKILL)


HALTED = """
import sys
from cdlib import process
from cdlib.deadline import Deadline
script = 'echo $$; until test -e "$1"; do sleep 0.05; done; echo the last word'
done = process.run(["sh", "-c", script, "sh", sys.argv[1]], Deadline(60), on_line=lambda line: print(line, flush=True))
raise SystemExit(done.stdout.split()[1:] != ["the", "last", "word"])
"""


def test_what_a_program_says_at_its_end_is_heard_though_we_were_halted_as_it_ended(tmp_path: Path) -> None:
    """As by Ctrl-Z, or on a machine that has no time for us: by the clock the program is long gone then."""
    argv = [sys.executable, "-c", HALTED, str(tmp_path / "go")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as halted:
        assert halted.stdout is not None
        pid = int(halted.stdout.readline())
        halted.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * streams._DRAIN)  # what is tried here is that very length
        (tmp_path / "go").touch()
        assert gone(pid)
        halted.send_signal(signal.SIGCONT)
        assert halted.stdout.read() == "the last word\n"
        assert halted.wait(10) == 0


def test_what_is_raised_while_it_runs_ends_it() -> None:
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        run("sh", "-c", "echo $$; sleep 600", on_line=interrupt)
    assert gone(int(lines[0]))


def test_a_signal_to_us_ends_it(tmp_path: Path) -> None:
    def handler(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    old = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Interrupted):
            run("sh", "-c", f"echo $$ > {tmp_path}/pid; kill -TERM {os.getpid()}; sleep 600")
    finally:
        signal.signal(signal.SIGTERM, old)
    assert gone(int((tmp_path / "pid").read_text()))


def test_stop_ends_it() -> None:
    stop, lines = threading.Event(), list[str]()

    def seen(line: str) -> None:
        lines.append(line)
        stop.set()

    with pytest.raises(CdError, match="was stopped"):
        run("sh", "-c", "echo $$; sleep 600", on_line=seen, stop=stop.is_set)
    assert gone(int(lines[0]))


def asked(*argv: str, seconds: float = 20) -> AbstractContextManager[Callable[[], process.Finished]]:
    return process.asked(argv, Deadline(seconds, "a test"), env={"X": "ü"})


def test_several_at_once_and_we_go_on_meanwhile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        asked("sh", "-c", f"cat {tmp_path}/pipe; echo $X; exit 3") as reader,
        asked("sh", "-c", f"head -c 200000 /dev/zero > {tmp_path}/pipe") as writer,  # waits for the reader
    ):
        written, done = writer, reader()
        assert done.returncode == 3 and len(done.stdout) == 200_002 and done.stdout.endswith("ü\n")
        assert written().ok


def test_what_is_asked_and_not_waited_for_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    pids: list[int] = []

    def ask(then: Callable[[Callable[[], process.Finished]], object], seconds: float = 20) -> None:
        with asked("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600", seconds=seconds) as answer:
            pids.append(int((tmp_path / "pid").read_text()))
            then(answer)

    def interrupt(_answer: object) -> None:
        raise Interrupted(signal.SIGINT)

    ask(lambda _: None)
    with pytest.raises(Interrupted):
        ask(interrupt)
    with pytest.raises(OutOfTime, match="sh did not end within 1 s"):
        ask(lambda answer: answer(), seconds=1)
    assert len(pids) == 3 and all(map(gone, pids))


def test_a_signal_while_a_question_is_open_ends_it(tmp_path: Path) -> None:
    def handler(signum: int, _frame: object) -> None:
        raise Interrupted(signum)

    old = signal.signal(signal.SIGTERM, handler)
    try:
        script = f"echo $$ > {tmp_path}/pid; kill -TERM {os.getpid()}; exec sleep 600"
        with pytest.raises(Interrupted), asked("sh", "-c", script) as answer:
            answer()
    finally:
        signal.signal(signal.SIGTERM, old)
    assert gone(int((tmp_path / "pid").read_text()))
    with pytest.raises(UsageProblem, match="not installed"), asked("no-such-program"):
        pass


def test_ctrl_c_at_the_terminal_reaches_us_alone() -> None:
    done = run("sh", "-c", "ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat; echo $$")
    session, pid = done.stdout.split()
    assert session == pid  # a session of its own, so that no terminal signals it


def test_it_dies_with_us_even_when_we_are_killed() -> None:
    program = (
        "import sys; from cdlib import process; from cdlib.deadline import Deadline\n"
        "process.run(['sh', '-c', 'echo $$; exec sleep 600'], Deadline(600), on_line=lambda l: print(l, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()
    assert gone(pid)


def test_a_server_outlives_the_call(tmp_path: Path) -> None:
    child = process.start(["sh", "-c", "echo up; exec sleep 600"], tmp_path / "log", env={"X": "y"})
    try:
        end = time.monotonic() + 10
        while "up" not in (tmp_path / "log").read_text() and time.monotonic() < end:
            time.sleep(0.01)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_our_own_secrets_are_handed_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JENKINS_TOKEN", "CD_GERRIT_PASSWORD"):
        monkeypatch.setenv(name, "s3cr3t")
    with process.asked(["env"], Deadline(5)) as answer:
        assert "s3cr3t" not in answer().stdout
    assert "s3cr3t" not in process.run(["env"], Deadline(5)).stdout
    assert "JENKINS_TOKEN=t" in process.run(["env"], Deadline(5), env={"JENKINS_TOKEN": "t"}).stdout
