"""Harmless trouble through all that judges: followed to its end, and through a soak, on a virtual clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cdlib.deadline import Deadline
from cdlib.rollout import workloads
from cdlib.rollout.verdict import Judge
from cdlib.rollout.workloads import Follower
from cdlib.run import Run
from tests.traces.corpus import HARMLESS
from tests.traces.replay import KINDS, Tape

SOAK = 20.0  # seconds


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.now += max(0.0, seconds)


class Lease:
    """One that is held."""

    def require(self) -> None:
        """Nothing to say."""


class NoLogs:
    """An API that has none."""

    def text(self, *_: object, **_asked: str) -> None:
        """Nothing."""


class Taped:
    """A watch that shows a tape."""

    listed = True

    def __init__(self, tape: Tape, clock: Clock) -> None:
        self._tape, self._clock, self._changes = tape, clock, list(tape.changes)
        self._found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}

    @property
    def trouble(self) -> str:
        """Whether the API server is away."""
        return "refused" if any(a <= self._clock() < b for a, b in self._tape.away) else ""

    def objects(self) -> dict[str, list[Any]]:
        """All objects as they are by now."""
        while self._changes and self._changes[0].t <= self._clock():
            change = self._changes.pop(0)
            if change.gone:
                self._found[change.kind].pop(change.uid, None)
            else:
                self._found[change.kind][change.uid] = change.o
        return {kind: list(found.values()) for kind, found in self._found.items()}

    def wait(self, seconds: float) -> None:
        """To the next change, at most so long."""
        next_one = self._changes[0].t - self._clock() if self._changes else seconds
        self._clock.sleep(min(seconds, max(0.0, next_one)))


def applied(tape: Tape) -> float:
    """The second from which it is judged: Helm has applied it by then, and no list is older than that."""
    made = [(c.t, c.o["metadata"]["generation"]) for c in tape.changes if c.kind == "Deployment"]
    before = [generation for t, generation in made if t < 0.0][-1:]
    return next((t for t, generation in made if t >= 0.0 and [generation] != before), 0.0)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_trouble_ends_neither_the_rollout_nor_its_soak(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = HARMLESS[name]
    tape = case.tape()
    clock = Clock(max(case.start, applied(tape)))
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    watch = Taped(tape, clock)
    follower = Follower(Run("helm-deploy", Deadline(600.0)), NoLogs(), "ns", tape.workloads, Lease(), watch)  # type: ignore[arg-type]
    follower._judge = Judge(tape.workloads, lambda kind, name, _key: case.there(kind, name, clock()), clock)
    monkeypatch.setattr(workloads, "look", lambda *_: Judge(tape.workloads, clock=clock).look(watch.objects()))
    up = follower.until_up(Deadline(200.0))
    assert up.complete and up.faults == ()
    assert follower.soak(SOAK, Deadline(100.0)).faults == ()
