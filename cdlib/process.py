"""The one place that starts a program.

Argument lists only, never a shell. A child gets a session of its own, so that Ctrl-C reaches us alone and we
decide how it ends; and on Linux it dies with us, by the kernel's hand, even when we are killed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.interruptions import Later
from cdlib.streams import Stop, Stream, pump

GRACE = 3.0  # seconds between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG = 1
# Which repository a hook or an alias is about, in whose environment we may be: each git that we start is told its own.
_GIT_PLACES = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE",
})  # fmt: skip
# What proves who we are to Jenkins and Gerrit over HTTP: nothing that we start has a use for it.
_OURS_ALONE = frozenset({"JENKINS_TOKEN", "CD_GERRIT_PASSWORD"})
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its exit status, all of stdout, the last lines of stderr, and its seconds.

    `raw` is stdout as it came, for what counts bytes or is no UTF-8.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: tuple[str, ...]
    seconds: float
    raw: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.returncode == 0


def find(program: str, *, hint: str = "", env: Mapping[str, str] | None = None) -> str:
    """The program's path, by the PATH of `env` or ours. Raises UsageProblem, with `hint`, where it has none."""
    path = shutil.which(program, path=(env or {}).get("PATH"))
    if path is None:
        raise UsageProblem(f"{program} is not installed, or not on PATH", hint=hint or f"install {program}")
    return path


def run(
    argv: Sequence[str | Path],
    deadline: Deadline,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | IO[bytes] | None = None,
    on_line: Callable[[str], None] | None = None,
    stop: Stop | None = None,
    hint: str = "",
    tied: bool = True,
) -> Finished:
    """Run a program to its end, or to the deadline's.

    `on_line` is given each line of stdout and stderr as it comes; stdout is kept whole (32 MiB at most), of
    stderr the last 2000 lines. `env` is added to ours, less what tells git where to work and our own secrets.
    `stop`, once true, ends the program as a signal would.
    `tied` makes it die with us, which costs 4 ms; a program that only reads, and is over in a moment, can do without.
    Raises UsageProblem where the program is missing, OutOfTime where the deadline passes first, TooMuch; an exit
    status other than 0 raises nothing. Whatever is raised here or in `on_line`, the child is gone by then.
    """
    job = _Job(argv, deadline, on_line, stop)
    job.start(cwd, env, stdin, hint, tied)
    try:
        return job.finish(stdin)
    except BaseException:
        job.end()
        raise
    finally:
        job.close()


@contextmanager
def asked(
    argv: Sequence[str | Path], deadline: Deadline, *, env: Mapping[str, str] | None = None, hint: str = ""
) -> Iterator[Callable[[], Finished]]:
    """Start a program that only reads, and is over in a moment, and go on while it works.

    Yields what waits for its end, to be called once at most. As `run` with `tied` off; a program that still runs
    when the block is left is ended.
    """
    job = _Job(argv, deadline)
    job.start(None, env, None, hint, tied=False)
    try:
        job.release()
        yield job.finish
    finally:
        if job.child.returncode is None:
            job.end()
        job.close()


def start(
    argv: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a server that outlives this call, its output added to `log`, in a session of its own.

    `env` is added to ours. Unlike `run`'s children it does not die with us: who calls this ends it. Raises
    UsageProblem where the program is missing.
    """
    words = tuple(str(word) for word in argv)
    with log.open("ab") as output:
        return subprocess.Popen(
            (find(words[0], env=env), *words[1:]),
            env={**os.environ, **env} if env else None,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class _Job:
    """One program from its start to its end. Interruptions are held back from `start` until `release`."""

    child: subprocess.Popen[bytes]

    def __init__(
        self,
        argv: Sequence[str | Path],
        deadline: Deadline,
        on_line: Callable[[str], None] | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.words = tuple(str(word) for word in argv)
        self.deadline = deadline
        self.stop = stop
        self.out, self.err = Stream(on_line, keep=True), Stream(on_line, keep=False)
        self._started = time.monotonic()
        self._later: Later | None = None

    def start(
        self,
        cwd: Path | None,
        env: Mapping[str, str] | None,
        stdin: bytes | IO[bytes] | None,
        hint: str,
        tied: bool,
    ) -> None:
        """Start it; where that raises, interruptions pass again."""
        self.deadline.require(f"starting {self.words[0]}")
        self._later = Later()
        try:
            self.child = subprocess.Popen(
                (find(self.words[0], hint=hint, env=env), *self.words[1:]),
                cwd=cwd,
                env=_handed_on() | dict(env or {}),
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if _libc and tied else None,
            )
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let interruptions pass, those that came meanwhile first."""
        if self._later:
            later, self._later = self._later, None
            later.now()

    def finish(self, stdin: bytes | IO[bytes] | None = None) -> Finished:
        """Wait for its end, and hand on what it prints meanwhile."""
        self.release()
        if isinstance(stdin, bytes):
            threading.Thread(target=_feed, args=(self.child, stdin), daemon=True).start()
        pump(self.child, {self.child.stdout: self.out, self.child.stderr: self.err}, self.deadline, self.stop)
        raw = self.out.content(self.words[0])
        seconds = time.monotonic() - self._started
        lines = tuple(self.err.lines)
        return Finished(self.words, self.child.returncode, raw.decode("utf-8", "replace"), lines, seconds, raw)

    def end(self) -> None:
        """End it and all that it started."""
        _end(self.child)

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()


def _handed_on() -> dict[str, str]:
    """Our environment as far as a program that we start has a use for it."""
    return {name: value for name, value in os.environ.items() if name not in _GIT_PLACES | _OURS_ALONE}


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does between fork and exec: asks the kernel to be killed when its parent dies."""

    def ask() -> None:
        assert _libc is not None
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before we could ask
            os._exit(127)

    return ask


def _feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    with suppress(OSError):  # it ended without reading; its exit status tells
        try:
            child.stdin.write(data)
        finally:
            child.stdin.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and all that it started: SIGTERM, and SIGKILL after a grace, or for what outlives the child."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
