"""SIGINT and SIGTERM: what they become, and how they are held back for a moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from cdlib.errors import Interrupted

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


class Later:
    """Holds interruptions back from when it is made until `now`.

    A signal that raised while a child is being made would leave the child to itself. Blocking it would not do:
    another thread takes it then, and Python still runs the handler in this one.
    """

    def __init__(self) -> None:
        self._came: list[tuple[int, FrameType | None]] = []
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        if threading.current_thread() is not threading.main_thread():
            return  # Python runs handlers in the main thread only
        for signum in _INTERRUPTIONS:
            handler = signal.getsignal(signum)
            if callable(handler):
                self._handlers[signum] = handler
                signal.signal(signum, lambda number, frame: self._came.append((number, frame)))

    def now(self) -> None:
        """Let interruptions through again, the first that came meanwhile at once."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        if self._came:
            number, frame = self._came[0]
            self._handlers[number](number, frame)


def raise_once() -> None:
    """Turn the first SIGINT or SIGTERM into Interrupted; later ones must not break the cleaning up."""

    def handler(signum: int, _frame: FrameType | None) -> None:
        for number in _INTERRUPTIONS:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum)

    for number in _INTERRUPTIONS:
        signal.signal(number, handler)
