"""One monotonic limit for a whole run; each step is given what is left of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cdlib.errors import OutOfTime


class Deadline:
    """A moment on the monotonic clock by which `what` must be over. Seconds throughout."""

    def __init__(self, seconds: float, what: str = "this run") -> None:
        self.seconds = seconds
        self.what = what
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left <= 0.0

    def require(self, doing: str) -> float:
        """Seconds left for `doing`. Raises OutOfTime where there are none."""
        left = self.left
        if left <= 0.0:
            raise OutOfTime(
                f"out of time while {doing}: the limit of {self.seconds:g} s for {self.what} has passed",
                hint="raise --timeout, or see in events.jsonl which stage took the time",
            )
        return left

    def part(self, seconds: float, what: str) -> Deadline:
        """A limit inside this one: `seconds` from now, or what is left where that is less."""
        return Deadline(min(seconds, self.left), what)


def within(seconds: float, call: Callable[[], None], doing: str) -> None:
    """Call `call`, and wait for it for so long. Raises what it raises, or OutOfTime.

    A call that does not come back is left to itself, in a thread that does not keep the process: for what may be lost.
    """
    raised = list[BaseException]()

    def run() -> None:
        try:
            call()
        except BaseException as problem:
            raised.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise OutOfTime(f"{doing} took longer than {seconds:g} s", hint="see what keeps it from answering")
    if raised:
        raise raised[0]
