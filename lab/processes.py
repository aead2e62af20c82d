"""Processes by what cannot be recycled: a pid together with the moment at which it started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cdlib.errors import UsageProblem

_PROC = Path("/proc")
_STARTED = 19  # field 22 of proc(5)'s stat, counted after the command's closing parenthesis
_PARENT = 1


@dataclass(frozen=True)
class Process:
    """One process of this machine. `start` is in clock ticks since boot, as the kernel has it."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[_STARTED]) == self.start and fields[0] not in "ZX"

    def send(self, signum: signal.Signals) -> None:
        """Signal it, and never a later process of the same pid; nothing where it is gone."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(handle, signum)
            finally:
                os.close(handle)


def require_root(what: str) -> None:
    """Raise UsageProblem unless this process is root's."""
    if os.geteuid() != 0:
        raise UsageProblem(f"{what} needs root", hint="the lab makes namespaces, bridges and cgroups: run it as root")


def known(pid: int) -> Process | None:
    """The process that has this pid now."""
    fields = _stat(pid)
    return Process(pid, int(fields[_STARTED])) if fields else None


def boot() -> str:
    """What the kernel calls this boot: pids, links and rules that were noted in another one mean nothing."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def everyone() -> Iterator[Process]:
    """Every process that /proc shows."""
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (process := known(int(entry))):
            yield process


def children(parent: int) -> list[Process]:
    """The processes whose parent is `parent`."""
    return [p for p in everyone() if (fields := _stat(p.pid)) and int(fields[_PARENT]) == parent]


def namespace(pid: int | str) -> str:
    """The pid namespace of a process, such as `pid:[4026531836]`; empty where it is gone."""
    try:
        return os.readlink(_PROC / str(pid) / "ns" / "pid")
    except OSError:
        return ""


def inhabitants(space: str) -> dict[int, Process]:
    """The processes of a pid namespace, by the pid that they have inside of it."""
    found = {}
    for process in everyone():
        if space and namespace(process.pid) == space:
            inner = re.search(r"^NSpid:.*?(\d+)$", _text(process.pid, "status"), re.MULTILINE)
            found[int(inner[1]) if inner else process.pid] = process
    return found


def command(pid: int) -> str:
    """What a process runs, for people: its arguments, or its name where it has none."""
    words = _text(pid, "cmdline").replace("\0", " ").strip()
    return words or _text(pid, "comm").strip() or "a process that is gone"


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether `done` came true within `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _stat(pid: int) -> list[str] | None:
    # The command may hold blanks and parentheses; only what follows the last one is in columns.
    _, closed, rest = _text(pid, "stat").rpartition(")")
    return rest.split() if closed else None


def _text(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
