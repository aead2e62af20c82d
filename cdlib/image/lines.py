"""Lines out of a stream of bytes, as much of them as a person may want to read."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable

LONGEST = 4000  # characters of a line
LOG = 8 * 2**20  # bytes of a build's or a test run's output that are shown


class Shown:
    """Hands on lines, each cut to LONGEST, up to `limit` bytes and `most` lines in all."""

    def __init__(self, on_line: Callable[[str], None], *, limit: int = LOG, most: int = 20_000) -> None:
        self._on_line = on_line
        self._left, self._lines_left = limit, most

    def __call__(self, line: str) -> None:
        if self._left <= 0 or self._lines_left <= 0:
            return
        line = line[:LONGEST]
        self._left -= len(line.encode()) + 1
        self._lines_left -= 1
        full = self._left <= 0 or self._lines_left <= 0
        self._on_line("… the rest of the output is left out here" if full else line)


class Lines:
    """Hands on each line as it comes, up to `limit` bytes and `most` lines in all, and keeps the last `kept`."""

    def __init__(self, on_line: Callable[[str], None], *, limit: int, most: int = 20_000, kept: int = 30) -> None:
        self._show = Shown(on_line, limit=limit, most=most)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial = ""
        self.last: deque[str] = deque(maxlen=kept)

    def feed(self, data: bytes) -> None:
        """Take the next bytes; none at all means the end."""
        *lines, self._partial = (self._partial + self._decode(data, final=not data)).split("\n")
        if self._partial and (not data or len(self._partial) > LONGEST):
            lines, self._partial = [*lines, self._partial], ""
        self.last.extend(line.rstrip("\r")[:LONGEST] for line in lines[-(self.last.maxlen or 0) :])
        for line in lines:
            self._show(line.rstrip("\r"))
