"""An API server that is away while a rollout is watched: what nobody has seen does not count as watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from cdlib.deadline import Deadline
from cdlib.rollout import verdict, workloads
from cdlib.rollout.verdict import INCONCLUSIVE, Judge
from cdlib.rollout.workloads import LAST_LOOK, Follower
from cdlib.run import Run
from tests.traces.replay import Line, Tape
from tests.traces.scripted import READY, container, deployment, pod, pod_steps, replicaset, rollout, second_pod
from tests.unit.test_rollout_followed import Clock, NoLogs, Taped, applied

UP = 2.1  # the second at which the rollout is complete
HOLD = 10.0
SOAK = 20.0
AGAIN = 1.5  # seconds after which a watch begins again once the API server is back
Away = tuple[float, float]


class Blind(Taped):
    """A watch whose objects stand still while the API server is away, and until it has begun again."""

    def __init__(self, tape: Tape, clock: Clock, away: Away) -> None:
        super().__init__(tape, clock)
        self._away = away
        self._stale: dict[str, list[Any]] | None = None

    @property
    def trouble(self) -> str:
        """Whether it is away, or the watch has not begun again."""
        return "refused" if self._away[0] <= self._clock() < self._away[1] + AGAIN else ""

    def objects(self) -> dict[str, list[Any]]:
        """As they were seen last."""
        found = self.listed_now()
        if not self.trouble:
            self._stale = found
        return self._stale or found

    def listed_now(self) -> dict[str, list[Any]]:
        """As the cluster has them."""
        return super().objects()


class Lease:
    """One that is lost ten seconds into an outage, and had again as it ends."""

    def __init__(self, clock: Clock, away: Away) -> None:
        self._clock, self._away = clock, away

    def require(self) -> bool:
        """Wait until it is held."""
        lost = self._away[0] + 10.0 <= self._clock() < self._away[1]
        if lost:
            self._clock.now = self._away[1]
        return lost


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(0.0)
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    return clock


def following(tape: Tape, clock: Clock, away: Away, monkeypatch: pytest.MonkeyPatch) -> Follower:
    """A follower of a rollout whose API server is away."""
    clock.now = applied(tape)
    watch = Blind(tape, clock, away)
    lease: Any = Lease(clock, away)
    follower = Follower(Run("helm-deploy", Deadline(600.0)), NoLogs(), "ns", tape.workloads, lease, watch)  # type: ignore[arg-type]
    follower._judge = Judge(tape.workloads, clock=clock)
    monkeypatch.setattr(workloads, "look", lambda *_: Judge(tape.workloads, clock=clock).look(watch.listed_now()))
    return follower


def tape(*lines: Line | list[Line]) -> Tape:
    """A rollout that is complete at UP, with these lines on top."""
    up = (pod_steps([(1.0, READY)]), second_pod(2.0), pod_steps([(UP, None)], "web-1-a"))
    return rollout(*up, *lines, done=UP, end=120.0)


def counts(t: float, available: int = 2) -> Sequence[Line | list[Line]]:
    return (replicaset(t, replicas=2, ready=available),
            deployment(t, replicas=2, updated=2, available=available))  # fmt: skip


def restarts(*moments: float) -> Sequence[Line | list[Line]]:
    """One container that is killed at each of these seconds, and runs again at once."""
    return (pod_steps([(t, pod(container(ready=True, rc=n, last=("Error", 137)))) for n, t in enumerate(moments, 1)]),)


def without_readiness_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "unproven", lambda *_: HOLD)


def test_an_outage_hides_no_crash_from_what_must_stay_complete(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    without_readiness_probe(monkeypatch)
    crashed = (pod_steps([(7.0, pod(container(ended=("Error", 1))))]), *counts(7.0, 1))
    follower = following(tape(*crashed), clock, (6.0, 13.0), monkeypatch)
    up = follower.until_up(Deadline(40.0))
    assert up.faults and not up.complete
    assert clock() > 6.0 + HOLD


def test_an_outage_hides_no_restarts_from_the_soak(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = following(tape(*restarts(10.0, 16.0, 22.0)), clock, (5.0, 29.0), monkeypatch)
    assert follower.until_up(Deadline(100.0)).complete
    soaked = follower.soak(SOAK, Deadline(90.0))
    assert [fault.reason for fault in soaked.faults] == ["CrashLoop"]
    assert "ended 3 times" in soaked.faults[0].message


def test_restarts_that_only_the_last_look_shows_begin_the_soak_anew(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = (UP + SOAK - 1.0, UP + SOAK + 0.5)
    follower = following(tape(*restarts(UP + SOAK - 0.5)), clock, away, monkeypatch)
    assert follower.until_up(Deadline(100.0)).complete
    monkeypatch.setattr(follower, "_sight", Unsighted())
    assert follower.soak(SOAK, Deadline(170.0)).faults == ()
    assert clock() >= UP + 2 * SOAK


class Unsighted:
    """Notices no outage, as where a connection is silent for less long than a lease takes to be lost."""

    clear, blind = True, 0.0

    def begin(self) -> None:
        """Nothing to do."""

    def look(self, seen: bool) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("long", [2.0, 6.0, 20.0])
def test_an_outage_at_any_moment_fails_no_good_rollout(
    long: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_readiness_probe(monkeypatch)
    for moment in range(0, int(UP + HOLD + SOAK) + 2, 2):
        follower = following(tape(), clock, (moment, moment + long), monkeypatch)
        share = Deadline(108.0)
        up = follower.until_up(share)
        assert up.complete and up.faults == (), moment
        held = clock()
        began = max(UP, moment + long) if moment <= UP else UP
        blind = max(0.0, min(moment + long, held) - max(moment, began))
        assert held >= began + HOLD + blind - 0.01, moment
        soaked = follower.soak(SOAK, share)
        assert soaked.complete and soaked.faults == (), moment
        blind = max(0.0, min(moment + long, clock()) - max(moment, held))
        assert clock() >= held + SOAK + blind - 0.01, moment
        assert clock() <= UP + HOLD + SOAK + long + AGAIN + 8.0, "no longer than it has to be"


def test_a_soak_of_which_too_little_was_seen_is_inconclusive(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    for long, reasons in ((25.0, [INCONCLUSIVE]), (14.0, [])):
        follower = following(tape(), clock, (UP + 1.0, UP + 1.0 + long), monkeypatch)
        share = Deadline(UP + 1.0 + 25.0 + AGAIN + 2.0 + LAST_LOOK)
        follower.until_up(share)
        soaked = follower.soak(SOAK, share)
        assert [fault.reason for fault in soaked.faults] == reasons
        assert soaked.pods, "what is known of them is kept"


def test_what_was_known_when_the_api_server_went_away_is_kept(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = pod_steps([(2.6, pod(container(ended=("Error", 1))))])
    follower = following(rollout(crashed, end=90.0), clock, (20.0, 24.0), monkeypatch)
    found = follower.until_up(Deadline(25.0))
    (fault,) = found.faults
    assert fault.reason == INCONCLUSIVE and "refused" in fault.message
    assert [p["metadata"]["name"] for p in found.pods] == ["web-2-a"]
    assert "web 1 of 2 updated" in found.summary
