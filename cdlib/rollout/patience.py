"""Time as a judge may count it: only while the cluster can be seen, and its controllers have had time to act."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cdlib.errors import CdError
from cdlib.rollout.causes import UNASKED, Cause, Question

# Seconds that controllers need after an API server was away. client-go asks again after 30 s at most, and as much more
# by chance (jitter), and a server that has just begun answers the first of them with 403 (seen: 29 s, and 54 s).
SETTLING = 60.0
BLINK = 3.0  # seconds; a connection that was only opened anew is no restarted server
FLICKER = 3.0  # seconds in which something that has gone and come again counts as the same
AGAIN = 2.0  # seconds until a question is asked again that could not be asked

# Whether the object `kind` `name` is there, with the `key` in its data; None where we may not look. Raises CdError
# where it cannot be asked just now.
Exists = Callable[[str, str, str], bool | None]


class SeenTime:
    """Seconds in which the cluster could be seen, and its controllers acted, from the injected clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._last = self._settled = clock()
        self._lost: float | None = None  # since when it cannot be seen
        self.now = 0.0

    @property
    def missed(self) -> float:
        """The seconds until the last tick that do not count."""
        return self._last - self._began - self.now

    def tick(self, seen: bool) -> float:
        """Go on; returns the time. `seen` is whether the cluster can be seen at this moment, and acts."""
        last, self._last = self._last, self._clock()
        if not seen:
            self._lost = last if self._lost is None else self._lost
            return self.now
        if self._lost is not None:  # since the last look at which it could be seen, nothing counts
            self._settled = self._last + (SETTLING if self._last - self._lost > BLINK else 0.0)
            self._lost = None
        self.now += max(0.0, self._last - max(last, self._settled))
        return self.now


@dataclass
class _Since:
    began: float
    seen: float
    proven: bool = False


class Patience:
    """For how long each cause has held, and whether it has held long enough."""

    def __init__(self, exists: Exists) -> None:
        self._exists = exists
        self._since: dict[tuple[str, ...], _Since] = {}

    def sort(self, causes: Iterable[Cause], now: float) -> tuple[list[Cause], list[Cause]]:
        """The causes that are failures by now, and those that may still go away."""
        failures: list[Cause] = []
        waiting: list[Cause] = []
        for cause in causes:
            since = self._since.setdefault(cause.key, _Since(now, now))
            since.began += cause.stands * (now - since.seen)
            since.seen = now
            (failures if self._over(cause, since, now) else waiting).append(cause)
        self._since = {key: since for key, since in self._since.items() if now - since.seen <= FLICKER}
        return failures, waiting

    def _over(self, cause: Cause, since: _Since, now: float) -> bool:
        if now - since.began < cause.after:
            return False
        if cause.question is not None and not since.proven:
            since.proven = self._proven(cause, cause.question, since, now)
            return since.proven
        return True

    def _proven(self, cause: Cause, question: Question, since: _Since, now: float) -> bool:
        """Whether our own look confirms the cause; where it does not, the time begins anew."""
        try:
            there = self._exists(question.kind, question.name, question.key)
        except CdError:
            since.began = now - cause.after + AGAIN  # not an answer: the cluster cannot be seen just now
            return False
        if there is None:
            return now - since.began >= cause.after * UNASKED
        if there != question.there:
            since.began = now
        return there == question.there
