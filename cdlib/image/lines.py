"""Lines out of a stream of bytes, as much of them as a person may want to read."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable

LONGEST = 4000  # characters of a line


class Lines:
    """Hands on each line as it comes, up to `limit` bytes in all, and keeps the last `kept`."""

    def __init__(self, on_line: Callable[[str], None], *, limit: int, kept: int = 30) -> None:
        self._on_line = on_line
        self._left = limit
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._partial = ""
        self.last: deque[str] = deque(maxlen=kept)

    def feed(self, data: bytes) -> None:
        """Take the next bytes; none at all means the end."""
        *lines, self._partial = (self._partial + self._decode(data, final=not data)).split("\n")
        if self._partial and (not data or len(self._partial) > LONGEST):
            lines, self._partial = [*lines, self._partial], ""
        for line in lines:
            self._take(line.rstrip("\r")[:LONGEST])

    def _take(self, line: str) -> None:
        self.last.append(line)
        if self._left <= 0:
            return
        self._left -= len(line.encode()) + 1
        self._on_line(line if self._left > 0 else "… the rest of the output is left out here")
