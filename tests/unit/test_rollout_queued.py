"""The budget of a run that may queue for the lease: it bounds the lease in any case, and begins anew only whole."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from clusters import entry
from helms import StandInHelm, helms, made, warnings

from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime
from cdlib.rollout import deploy as deploying
from cdlib.rollout import rollback as rolling
from cdlib.rollout.lease import Lease
from cdlib.rollout.release import Outcome, Release, require_whole_budget

GOOD = entry(1, helm_uid="uid-1")


class Queue:
    """A lease that is had at once, or after a live holder has given it back."""

    def __init__(self, deadline: Deadline, waited: bool) -> None:
        self.deadline, self.waited, self.lost = deadline, waited, threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def require(self) -> bool:
        return False


def placed(folder: Path, monkeypatch: pytest.MonkeyPatch, *, waited: bool, time: float) -> Release:
    """A release of a budget of 60 s, in a run that has `time` seconds."""
    release = made(folder, StandInHelm(helms("superseded", "deployed")), GOOD, entry(2, helm_uid="uid-2"))
    release.run.deadline = Deadline(time, "helm-rollback")
    monkeypatch.setattr(release, "lease", lambda deadline, wait: Queue(deadline, waited), raising=False)
    for module in (deploying, rolling):
        monkeypatch.setattr(module, "require_namespace", lambda *_: None)
    return release


@pytest.mark.parametrize("waited", [False, True])
def test_the_lease_is_bound_by_the_budget_whoever_may_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: bool
) -> None:
    release, bounds = placed(tmp_path, monkeypatch, waited=waited, time=600.0), []

    def go(_release: Any, lease: Queue, _wish: Any, _guard: Any, budget: Deadline) -> Any:
        bounds.extend([lease.deadline.left, budget.left])
        return Outcome("done", GOOD), GOOD

    monkeypatch.setattr(rolling, "_under_lease", go)
    rolling.roll_back(release, 1, "why", wait=True)
    assert max(bounds) <= 60.0 and min(bounds) > 50.0


def test_a_deploy_that_has_queued_too_long_ends_with_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = placed(tmp_path, monkeypatch, waited=True, time=30.0)
    before = release.records.read(Deadline(5.0))
    plan: Any = SimpleNamespace(
        wish=SimpleNamespace(source=SimpleNamespace(commit="c"), image="i"),
        chart=SimpleNamespace(digest="", values_digest=""),
    )
    lease = cast(Lease, release.lease(Deadline(60.0), wait=True))
    budget = release.budget_under(lease, Deadline(60.0, "the budget of a deploy"))
    assert budget.left <= 30.0
    with pytest.raises(OutOfTime, match="nothing was written"):
        deploying._under_lease(release, plan, lease, None, (), budget)
    with pytest.raises(OutOfTime, match="nothing was written"):
        rolling.roll_back(release, 1, "why", wait=True)
    assert release.records.read(Deadline(5.0)) == before
    assert not cast(StandInHelm, release.helm).calls


def test_a_run_that_did_not_queue_goes_on_with_what_its_budget_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = placed(tmp_path, monkeypatch, waited=False, time=600.0)
    lease = cast(Lease, release.lease(release.run.deadline, wait=True))
    used = Deadline(55.0, "the budget of a deploy")
    assert release.budget_under(lease, used) is used is lease.deadline
    require_whole_budget(release.environment, lease, used)


@pytest.mark.parametrize(("time", "cut"), [(600.0, False), (30.0, True)])
def test_a_budget_that_the_run_has_no_time_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: float, cut: bool
) -> None:
    release = placed(tmp_path, monkeypatch, waited=False, time=time)
    told = warnings(release)
    assert release.budget("a deploy").seconds <= min(60.0, time)
    assert bool(told) == cut
