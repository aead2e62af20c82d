"""The processes of a build: all that carry its cookie in their environment, as Jenkins finds them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

COOKIE = "HUDSON_COOKIE"
SERVER_COOKIE = "HUDSON_SERVER_COOKIE"


def end(name: str, value: str, grace: float, *, gone: Callable[[], bool] = lambda: True) -> None:
    """End every process whose environment has `name`=`value`: SIGTERM, and SIGKILL after `grace` seconds.

    Returns once there is none left and `gone()` is true.
    """
    limit, signalled = time.monotonic() + grace, set[int]()
    while True:
        there = _carriers(f"{name}={value}".encode())
        if not there and gone():
            return
        late = time.monotonic() > limit
        for pid in there:
            if late or pid not in signalled:
                _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
                signalled.add(pid)
        time.sleep(0.02)


def _carriers(entry: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    carries = entry in file.read().split(b"\0")
                if carries and not _is_zombie(name):
                    found.append(int(name))
            except OSError:
                continue  # gone meanwhile, or somebody else's
    return found


def _is_zombie(pid: str) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return
