"""What a program prints, taken from its pipes as it comes."""

from __future__ import annotations

import codecs
import os
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime

KEPT_STDOUT = 32 * 2**20  # bytes; more than this is no answer that we ever ask for
KEPT_LINES = 2000
_CHUNK = 64 * 1024
_LOOK = 0.2  # seconds
_DRAIN = 1.0  # seconds of looks; a grandchild may hold the pipes open for ever after the child's own end
_LONGEST_LINE = 16 * 1024
Stop = Callable[[], bool]  # whether a program has to be ended; asked some times a second


class TooMuch(CdError):
    """A program has printed more than anybody asks for. What there is of it is not handed on: it would be cut."""


@dataclass
class Stream:
    """One pipe of a child, split into lines as they come."""

    on_line: Callable[[str], None] | None
    keep: bool
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    whole: list[bytes] = field(default_factory=list)
    size: int = 0
    partial: str = ""

    def __post_init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> None:
        """Take what came; nothing is its end."""
        self.size += len(data)
        if self.keep and self.size <= KEPT_STDOUT:
            self.whole.append(data)
        self.partial += self._decode(data, final=not data)
        *lines, self.partial = self.partial.replace("\r\n", "\n").split("\n")
        if not data or len(self.partial) > _LONGEST_LINE:
            lines, self.partial = [*lines, *filter(None, [self.partial])], ""
        for line in lines:
            self.lines.append(line)
            if self.on_line:
                self.on_line(line)

    def content(self, program: str) -> bytes:
        """All that came, of a stream that is kept. Raises TooMuch, by the name of the program."""
        if self.size > KEPT_STDOUT:
            raise TooMuch(
                f"{program} printed more than {KEPT_STDOUT} bytes",
                hint="look at what it was asked for in events.jsonl",
            )
        return b"".join(self.whole)


def pump(
    child: subprocess.Popen[bytes],
    streams: Mapping[IO[bytes] | None, Stream],
    deadline: Deadline,
    stop: Stop | None,
) -> None:
    """Move the child's output until it has ended and its pipes are drained."""
    name = Path(child.args[0]).name  # type: ignore[index,arg-type]
    with selectors.DefaultSelector() as selector:
        for pipe, stream in streams.items():
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, stream)
        quiet = 0  # looks in a row that were begun after its end: by the clock, we may have been halted meanwhile
        while selector.get_map() and quiet * _LOOK < _DRAIN:
            if stop is not None and stop():
                raise CdError(f"{name} was stopped", hint="run this again")
            _require_time(name, deadline)
            ended = child.poll() is not None
            quiet = 0 if _read_ready(selector, min(deadline.left, _LOOK)) or not ended else quiet + 1
    while child.poll() is None:
        _require_time(name, deadline)
        with suppress(subprocess.TimeoutExpired):
            child.wait(min(deadline.left, _LOOK))


def _read_ready(selector: selectors.BaseSelector, seconds: float) -> bool:
    """Hand on what the pipes have by then; whether there was anything."""
    ready = selector.select(seconds)
    for key, _ in ready:
        data = os.read(key.fd, _CHUNK)
        key.data.feed(data)
        if not data:
            selector.unregister(key.fileobj)
    return bool(ready)


def _require_time(name: str, deadline: Deadline) -> None:
    if deadline.over:
        raise OutOfTime(
            f"{name} did not end within {deadline.seconds:g} s ({deadline.what})",
            hint="raise --timeout, or look at its last lines above",
        )
