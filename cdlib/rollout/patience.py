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
MOST = 5  # questions of one look, however many pods there are: the others have their turn at the next

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


class Sight:
    """Seconds in which nothing could be seen, from look to look: nobody has watched in them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self.clear = True  # at the last look
        self.blind = 0.0

    def begin(self) -> None:
        """Look again from now on: what was before is nobody's matter."""
        self._last = self._clock()

    def look(self, seen: bool) -> None:
        """Take a look in. What lies between two counts as seen where both could see."""
        last, self._last = self._last, self._clock()
        if not (seen and self.clear):
            self.blind += self._last - last
        self.clear = seen


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
        self._again = 0.0  # when it may be asked again, after it could not be

    def sort(self, causes: Iterable[Cause], now: float) -> tuple[list[Cause], list[Cause]]:
        """The causes that are failures by now, and those that may still go away.

        One failure is enough: nothing more is asked for the others then.
        """
        failures: list[Cause] = []
        waiting: list[Cause] = []
        doubtful: list[tuple[Cause, Question, _Since]] = []
        for cause in causes:
            since = self._since.setdefault(cause.key, _Since(now, now))
            since.began += cause.stands * (now - since.seen)
            since.seen = now
            if now - since.began < cause.after:
                waiting.append(cause)
            elif cause.question is None or since.proven:
                failures.append(cause)
            else:
                doubtful.append((cause, cause.question, since))
        asking = _Asking(self._exists)
        for cause, question, since in doubtful:
            may_ask = not failures and now >= self._again
            since.proven = self._proven(asking, may_ask, cause, question, since, now)
            (failures if since.proven else waiting).append(cause)
        self._since = {key: since for key, since in self._since.items() if now - since.seen <= FLICKER}
        return failures, waiting

    def _proven(self, asking: _Asking, may_ask: bool, cause: Cause, question: Question, since: _Since,
                now: float) -> bool:  # fmt: skip
        """Whether our own look confirms the cause; where it does not, the time begins anew."""
        try:
            answer = asking.answer(question, may_ask)
        except CdError:
            self._again = now + AGAIN  # not an answer: the cluster cannot be seen just now
            return False
        if answer is None:
            return False
        if answer.there is None:
            return now - since.began >= cause.after * UNASKED
        if answer.there != question.there:
            since.began = now
        return answer.there == question.there


@dataclass(frozen=True)
class _Answer:
    there: bool | None  # None where we may not look


class _Asking:
    """The questions of one look: each is asked once, MOST of them, and none more once one could not be asked."""

    def __init__(self, exists: Exists) -> None:
        self._exists, self._left = exists, MOST
        self._answers: dict[tuple[str, str, str], _Answer] = {}
        self._closed = set[str]()  # kinds that we may not look at

    def answer(self, question: Question, may_ask: bool) -> _Answer | None:
        """The answer; None where it is not asked now. Raises CdError where it cannot be."""
        if question.kind in self._closed:
            return _Answer(None)
        asked = (question.kind, question.name, question.key)
        if asked not in self._answers:
            if not may_ask or not self._left:
                return None
            self._left -= 1
            self._answers[asked] = self._ask(*asked)
        return self._answers[asked]

    def _ask(self, kind: str, name: str, key: str) -> _Answer:
        there = self._exists(kind, name, key)
        if there is None:
            self._closed.add(kind)
        return _Answer(there)
