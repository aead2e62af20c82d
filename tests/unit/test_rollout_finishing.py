"""A run that may not deploy, after one that died on its way back: what that has left is brought to its end first."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusters import entry
from helms import End, StandInHelm, a_lease, helms, made, statuses, warnings

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import Interrupted, NeedsPerson, OutOfTime, Refused, RolledBack
from cdlib.reference import parse
from cdlib.rollout import deploy as deploying
from cdlib.rollout import going_back, undoing
from cdlib.rollout.planning import Plan, Wish
from cdlib.rollout.record import DEPLOYING, FAILED, INTERRUPTED, UNJUDGED, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.undoing import undo
from cdlib.rollout.verdict import OUTAGE, Fault, State

BAD = State(False, "", (Fault("", "", "CrashLoop", "ended 3 times"),))
UP, BROKEN = entry(1, helm_uid="uid-1"), entry(2, DEPLOYING)
HOLD = {"since": "now", "by": "ann", "reason": "freeze", "to": ""}


@pytest.fixture(autouse=True)
def _judged_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(going_back, "judge", lambda *_, **__: State(True, ""))


def killed_on_the_way_back(folder: Path, when: str, state: State = BAD, **more: Any) -> Release:
    """A release whose run died after it had recorded the failure of revision 2."""
    helm = StandInHelm(helms("superseded", "deployed"))
    release = made(folder, helm, UP, BROKEN, **more)
    with pytest.MonkeyPatch.context() as patch:
        if when == "before Helm":

            def dies(*_: Any) -> None:
                raise Interrupted(9)

            patch.setattr(undoing, "end_hooks", dies)
        else:
            helm.ends = deque([End(raises=Interrupted(9))])
        with pytest.raises(Interrupted):
            undo(release, a_lease(), BROKEN, state, Deadline(60.0))
    helm.calls.clear()
    return release


def run_again(release: Release, wished: Revision = BROKEN, budget: Deadline | None = None) -> None:
    """Deploy, under the lease, what `wished` is of."""
    source = SimpleNamespace(commit=wished.commit, short=wished.commit[:12], is_before=lambda _: False)
    wish = Wish(cast(Any, source), cast(Any, None), cast(Any, None), parse(wished.image))
    chart = cast(Any, SimpleNamespace(digest="chart", values_digest="values"))
    plan = Plan(wish, cast(Any, None), chart, (), cast(Any, None), ())
    deploying._under_lease(release, plan, a_lease(), None, (), budget or Deadline(60.0))


def calls(release: Release) -> list[str]:
    return cast(StandInHelm, release.helm).calls


def hold(release: Release, **more: str) -> None:
    release.records.update(lambda record: setattr(record, "hold", {**HOLD, **more}), Deadline(5.0))


@pytest.mark.parametrize("when", ["before Helm", "in Helm"])
def test_the_same_run_again_goes_back_to_the_end_and_the_one_after_is_refused(tmp_path: Path, when: str) -> None:
    release = killed_on_the_way_back(tmp_path, when)
    with pytest.raises(RolledBack) as caught:
        run_again(release)
    assert "back on revision 1" in caught.value.message and "ended 3 times" in caught.value.details[0]
    assert (caught.value.made["failed_revision"], caught.value.made["rolled_back_to"]) == (2, 1)
    record, history = release.read(Deadline(5.0))
    assert record.live_revision is not None and record.live_revision.verified
    assert (record.live_revision.commit, history[-1].status) == (UP.commit, "deployed")
    assert (2, FAILED) in statuses(release) and BROKEN.digest in record.quarantine
    calls(release).clear()
    with pytest.raises(Refused, match="quarantined"):
        run_again(release)
    assert not calls(release), "there is nothing to be finished any more"


@pytest.mark.parametrize("when", ["before Helm", "in Helm"])
def test_a_hold_that_was_set_meanwhile_keeps_nothing_half_done(tmp_path: Path, when: str) -> None:
    release = killed_on_the_way_back(tmp_path, when)
    hold(release)
    with pytest.raises(Refused, match="on hold") as caught:
        run_again(release, entry(9))
    assert "back on revision 1" in caught.value.details[0]
    assert release.read(Deadline(5.0))[0].live_revision.verified  # type: ignore[union-attr]


def test_a_rollback_by_hand_that_is_half_done_is_left_to_it(tmp_path: Path) -> None:
    release = killed_on_the_way_back(tmp_path, "in Helm")
    hold(release, to="1")
    told = warnings(release)
    with pytest.raises(Refused, match="on hold"):
        run_again(release)
    assert not calls(release) and "helm-rollback --to 1" in told[0]


def test_what_was_kept_on_purpose_is_kept(tmp_path: Path) -> None:
    release = made(tmp_path, StandInHelm(helms("superseded", "deployed")), UP, replace(BROKEN, status=FAILED),
                   inconclusive="keep")  # fmt: skip
    hold(release)
    with pytest.raises(Refused):
        run_again(release)
    assert not calls(release)


def test_a_failed_first_deploy_has_nowhere_to_go_and_stays_refused(tmp_path: Path) -> None:
    release = made(tmp_path, StandInHelm(helms("deployed")), entry(1, FAILED))
    hold(release)
    with pytest.raises(Refused):
        run_again(release, entry(1))
    assert not calls(release)


def test_a_rollback_that_failed_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "deployed"), deque([End("cannot", "failed")]))
    release = made(tmp_path, helm, UP, BROKEN)
    assert isinstance(undo(release, a_lease(), BROKEN, BAD, Deadline(60.0)), NeedsPerson)
    helm.ends = deque([End("cannot", "failed")])
    with pytest.raises(NeedsPerson, match="so did the rollback"):
        run_again(release)
    with pytest.raises(RolledBack, match="rollout of revision 2 failed"):
        run_again(release)


def test_where_no_time_is_left_to_deploy_what_was_begun_is_undone(tmp_path: Path) -> None:
    outage = State(False, "", (Fault("", "", OUTAGE, "gone"),))  # which quarantines nothing
    release = killed_on_the_way_back(tmp_path, "in Helm", outage)
    late = Deadline(60.0)
    late.seconds = 1000.0  # of which 40 % are kept
    with pytest.raises(OutOfTime) as caught:
        run_again(release, entry(9), late)
    assert "back on revision 1" in caught.value.details[0]
    assert release.read(Deadline(5.0))[0].live_revision.verified  # type: ignore[union-attr]


def test_beside_somebody_elses_helm_nothing_is_finished(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "deployed", "pending-upgrade"))
    release = made(tmp_path, helm, UP, replace(BROKEN, status=FAILED), quarantine={BROKEN.digest: {"reason": "why"}})
    with pytest.raises(Refused, match="quarantined"):
        run_again(release)
    assert not helm.calls and statuses(release) == [(1, "verified"), (2, FAILED)]


def test_a_step_on_the_way_back_is_judged_too(tmp_path: Path) -> None:
    """The run that healed was killed in its turn, after Helm had gone back."""
    back = replace(UP, revision=3, status=UNJUDGED, rollback_of=1, helm_uid="")
    release = made(tmp_path, StandInHelm(helms("superseded", "superseded", "deployed")), UP,
                   replace(BROKEN, status=FAILED, reason="ended 3 times"), back,
                   quarantine={BROKEN.digest: {"reason": "why"}})  # fmt: skip
    with pytest.raises(RolledBack, match="rollout of revision 2 failed"):
        run_again(release)
    assert statuses(release)[-1] == (4, "verified")


def test_one_that_was_interrupted_under_a_hold_goes_back(tmp_path: Path) -> None:
    release = made(tmp_path, StandInHelm(helms("superseded", "deployed")), UP, replace(BROKEN, status=INTERRUPTED))
    hold(release)
    with pytest.raises(Refused, match="on hold") as caught:
        run_again(release)
    assert "back on revision 1" in caught.value.details[0] and calls(release) == ["rollback 1"]
