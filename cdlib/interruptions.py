"""SIGINT, SIGTERM and SIGHUP: what they become, and how they are held back for a moment; and what keeps Ctrl-Z away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from cdlib.errors import Interrupted

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        for signum in INTERRUPTIONS:
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
    """Turn the first SIGINT, SIGTERM or SIGHUP into Interrupted; later ones must not break the cleaning up.

    A hang-up ends us as SIGTERM does, and with its exit status: a terminal that is gone is no reason to leave a lease
    and a half-done rollout behind. What was told to ignore it, as by nohup, goes on.
    """
    heeded = [n for n in INTERRUPTIONS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]

    def handler(signum: int, _frame: FrameType | None) -> None:
        for number in heeded:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum)

    for number in heeded:
        signal.signal(number, handler)


class Unstopped:
    """Keeps terminals from stopping this process, by Ctrl-Z or for output in the background, from `begin` to `end`.

    `told` is called once where one has tried, by `tell` or `end`: a handler may interrupt what it would call.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._tried = False
        self._handlers: dict[int, Any] = {}

    def begin(self) -> None:
        """Heed none of these signals from now on, where we are the main thread, which alone may say so."""
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        # A handler would be called again and again for the same output, which passes where the signal is ignored.
        for signum, handler in ((signal.SIGTSTP, self._try), (signal.SIGTTOU, signal.SIG_IGN)):
            self._handlers[signum] = signal.signal(signum, handler)

    def tell(self) -> None:
        """Say that somebody has tried, if so, and not twice."""
        if self._tried:
            self._tried, told, self._told = False, self._told, lambda: None
            told()

    def end(self) -> None:
        """Heed them again."""
        handlers, self._handlers = self._handlers, {}
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        self.tell()

    def _try(self, _signum: int, _frame: FrameType | None) -> None:
        self._tried = True
