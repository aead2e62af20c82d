"""A cluster whose clock is a tape's: a follower, its checks and its soak see it as they see a real one, in no time."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cdlib import deadline, retry
from cdlib.rollout import verify, workloads
from cdlib.rollout.api import Api
from cdlib.rollout.lease import Lease
from cdlib.rollout.progress import pod_ready
from cdlib.rollout.verdict import Judge
from cdlib.rollout.watch import Watch
from cdlib.rollout.workloads import KINDS as READ
from cdlib.rollout.workloads import Follower
from cdlib.run import Run
from tests.traces.replay import KINDS, Object, Tape

ANSWER = 0.4  # seconds that a service takes to answer
_OF = {plural: kind for kind, plural, _ in READ.values()}


class Cluster:
    """Plays a tape as time passes: `time`, the API, the watch and the lease at once."""

    listed, trouble = True, ""

    def __init__(self, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
        self._tape, self._changes, self.now = tape, list(tape.changes), 0.0
        self._found: dict[str, dict[str, Object]] = {kind: {} for kind in KINDS}
        self._go_to(0.0)
        for module in (deadline, retry, verify, workloads):
            monkeypatch.setattr(module, "time", self)

    def follower(self, run: Run) -> Follower:
        """One that follows what the tape shows."""
        made = Follower(run, cast(Api, self), "ns", self._tape.workloads, cast(Lease, self), cast(Watch, self))
        made._judge = Judge(self._tape.workloads, made._lookup, self.monotonic)
        return made

    def monotonic(self) -> float:
        """The tape's second."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._go_to(self.now + seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass, to the next change at most."""
        following = self._changes[0].t if self._changes else self.now + seconds
        self._go_to(min(self.now + seconds, max(following, self.now)))

    def objects(self) -> dict[str, list[Object]]:
        """All that is there."""
        return {kind: list(objects.values()) for kind, objects in self._found.items()}

    def get(self, where: str, _deadline: object, **_params: str) -> Object | None:
        """A list, or one object."""
        plural, _, name = where.partition("/namespaces/ns/")[2].partition("/")
        items = list(self._found[_OF[plural]].values())
        if not name:
            return {"items": items}
        return next((o for o in items if o["metadata"]["name"] == name), None)

    def fetch(self, _where: str, _deadline: object) -> tuple[int, str]:
        """What the service answers, after ANSWER seconds: a Service without endpoints answers 503."""
        self.sleep(ANSWER)
        return (200, "ok") if any(map(pod_ready, self._found["Pod"].values())) else (503, "no endpoints")

    def require(self) -> bool:
        """The lease is held."""
        return False

    def _go_to(self, moment: float) -> None:
        self.now = moment
        while self._changes and self._changes[0].t <= moment:
            change = self._changes.pop(0)
            objects: dict[str, Any] = self._found[change.kind]
            if change.gone:
                objects.pop(change.uid, None)
            else:
                objects[change.uid] = change.o
