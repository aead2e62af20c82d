"""Files that whoever starts a command names: read to a bound, whatever they turn out to be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cdlib.errors import UsageProblem

LARGEST = 2**20  # bytes, where nothing else is said
_HANDED = ("/dev/stdin", "/dev/fd/")  # pipes that we were handed open, as by bash's <(…)


def require_file(file: Path, what: str, *, hint: str = "check the path") -> Path:
    """`file`, which is `what` to whoever has named it, where reading it comes to an end.

    Of what is no file only a pipe that we were handed may be read: a device gives without end, and a FIFO that nobody
    writes to is waited for, whatever the run's limit is. Raises UsageProblem.
    """
    try:
        mode = file.stat().st_mode
    except OSError as problem:
        raise UsageProblem(f"{what} {file}: {problem.strerror}", hint=hint) from problem
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or os.fspath(file).startswith(_HANDED)):
        raise UsageProblem(f"{what} {file} is no file, but a device or a pipe", hint=hint)
    return file


def given_bytes(file: Path, what: str, *, hint: str = "check the path", most: int = LARGEST) -> bytes:
    """What is in the file, in at most `most` bytes. Raises UsageProblem, also as `require_file` does."""
    try:
        with require_file(file, what, hint=hint).open("rb") as opened:
            found = opened.read(most + 1)
    except OSError as problem:
        raise UsageProblem(f"{what} {file}: {problem.strerror}", hint=hint) from problem
    if len(found) > most:
        raise UsageProblem(f"{what} {file} is larger than {most} bytes", hint=hint)
    return found


def given_text(file: Path, what: str, *, hint: str = "check the path", most: int = LARGEST) -> str:
    """The same as text; the ends of lines become single. Raises UsageProblem."""
    try:
        text = given_bytes(file, what, hint=hint, most=most).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise UsageProblem(f"{what} {file}: is no UTF-8 text", hint=hint) from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")
