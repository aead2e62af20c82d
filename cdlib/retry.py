"""The one retry policy: what is worth another try, how often, and how long between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable

T = TypeVar("T")
ATTEMPTS = 5
FIRST_WAIT = 0.2  # seconds, doubled from try to try, and as much again by chance
LONGEST_WAIT = 5.0  # seconds; a server that asks for more by Retry-After gets at most RETRY_AFTER_CAP
RETRY_AFTER_CAP = 20.0
FORBIDDEN = 20.0  # seconds; an API server that has just begun knows no roles yet, and answers 403
_ENDLESS = 1_000_000  # attempts; the deadline is what ends them


def retrying(call: Callable[[], T], deadline: Deadline, *, attempts: int = ATTEMPTS) -> T:
    """What `call` returns, tried again while it raises a retryable Unavailable.

    Waits 0.2 s, doubling with jitter, or what the server asks for. The last error is raised as it is, once
    the attempts are used up or `deadline` leaves no room for the next.
    """
    try:
        return call()
    except Unavailable as problem:
        if attempts <= 1 or not problem.retryable or deadline.over:
            raise
        first = problem
    return _again(call, deadline, attempts, first)


def patiently(call: Callable[[], T], deadline: Deadline, told: Callable[[Unavailable], None] = lambda _: None, *,
              allowed: bool = False) -> T:  # fmt: skip
    """What `call` returns, tried again as long as there is time: a server that restarts is worth waiting for.

    `told` hears of the first trouble, so that nobody wonders what is waited for. `allowed` says that the server has
    allowed the same before: that it does not now is trouble, too, for FORBIDDEN seconds on end.
    """
    troubles = 0
    refused: float | None = None  # since when

    def asked() -> T:
        nonlocal refused
        try:
            return call()
        except NotAllowed as problem:
            refused = time.monotonic() if refused is None else refused
            if not allowed or time.monotonic() - refused > FORBIDDEN:
                raise
            raise Unavailable(problem.message, hint=problem.hint) from problem
        except Unavailable:
            refused = None
            raise

    def once() -> T:
        nonlocal troubles
        try:
            return asked()
        except Unavailable as problem:
            troubles += 1
            if troubles == 1 and problem.retryable:
                told(problem)
            raise

    return retrying(once, deadline, attempts=_ENDLESS)


def _again(call: Callable[[], T], deadline: Deadline, attempts: int, first: Unavailable) -> T:
    """The tries after the first, which failed with `first`. Most calls never come here, nor need tenacity's import."""
    import tenacity

    failed = [first]

    def try_again() -> T:
        if failed:
            raise failed.pop()
        return call()

    backoff = tenacity.wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT) + tenacity.wait_random(0, FIRST_WAIT)

    def wait(state: tenacity.RetryCallState) -> float:
        problem = state.outcome.exception() if state.outcome else None
        asked = problem.retry_after if isinstance(problem, Unavailable) else 0.0
        return max(backoff(state), min(asked, RETRY_AFTER_CAP))

    def enough(state: tenacity.RetryCallState) -> bool:
        # A wait that would use up the deadline ends in OutOfTime, which says less than the error at hand.
        return state.attempt_number >= attempts or state.upcoming_sleep >= deadline.left

    def worth_it(problem: BaseException) -> bool:
        return isinstance(problem, Unavailable) and problem.retryable and not deadline.over

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(worth_it),
        stop=enough,
        wait=wait,
        reraise=True,
    )(try_again)
