"""One command at a time: `up`, `down` and `install` exclude each other."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock in `path`, waiting for whoever has it; the kernel lets go of it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another lab command is at work on this machine: waiting for it to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
