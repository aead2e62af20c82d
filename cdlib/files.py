"""Files written whole or not at all: whoever reads one finds what was there before, or all of what is new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PRIVATE = 0o600  # the mode of a key


def replace_file(file: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all, and never through a link. Raises OSError.

    Its mode is `mode` less what the umask forbids, whatever it was before.
    """
    with scratch(file, mode) as opened:
        opened.write(content)
        take_place(opened, file)


@contextmanager
def scratch(file: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A new file beside `file`, open for writing and reading; gone with the block, unless it has taken its place.

    No other process has it, nor another thread of ours. Its name has nothing of the file's, which may be as long as a
    name can be, and ends in nothing that anybody looks for. Errors speak of `file`.
    """
    name = file.with_name(f".{os.urandom(8).hex()}.new")
    with _speaking_of(file):
        opened = open(name, "xb+", opener=lambda path, flags: os.open(path, flags, mode))  # noqa: SIM115
    try:
        with opened:
            yield opened
    finally:
        with suppress(FileNotFoundError):
            name.unlink()


def take_place(opened: IO[bytes], file: Path) -> None:
    """Let what was written to a scratch file be `file` from now on. Raises OSError."""
    opened.flush()
    with _speaking_of(file):
        os.replace(opened.name, file)


@contextmanager
def _speaking_of(file: Path) -> Iterator[None]:
    """Errors name the file that somebody knows, and not its scratch file."""
    try:
        yield
    except OSError as problem:
        problem.filename, problem.filename2 = str(file), None
        raise
