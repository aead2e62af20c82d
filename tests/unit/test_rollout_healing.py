"""What a run that died has left, and what somebody else's Helm is at work on: the one is cleared up, the other is not."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from clusters import entry
from helms import WEBHOOK, End, StandInHelm, a_lease, helms, made, statuses, warnings

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import Held, Interrupted, NeedsPerson, Unavailable
from cdlib.rollout import attempts, healing
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, FAILED, INTERRUPTED, UNJUDGED
from cdlib.rollout.release import Release, new_entry
from cdlib.units import timestamp

UP = entry(1, helm_uid="uid-1")
NOW = timestamp(datetime.now(UTC) + timedelta(hours=1))  # when the tests that are collected now may run at last


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSE", 0.0)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(healing, "OTHERS", 0.05)
    monkeypatch.setattr(healing, "LOOK_EVERY", 0.01)


def healed(release: Release) -> healing.Known:
    budget = Deadline(60.0)
    return healing.heal(release, a_lease(), release.read(budget), budget)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_wrong_makes_no_stranger_of_a_run_of_ours(
    tmp_path: Path, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = timedelta(minutes=minutes)  # of the server's clock, by which Helm's record is dated
    release = made(tmp_path, helm := StandInHelm([]), UP)
    monkeypatch.setattr(release.api, "ahead", ahead)
    entry_ = new_entry(release, 2, commit="c", image="i", digest="d", chart="c", values="v")
    release.mark(entry_, Deadline(5.0))
    helm.revisions = helms("deployed", "pending-upgrade", created=timestamp(datetime.now(UTC) + ahead))
    healed(release)
    assert helm.calls == ["rollback 1"]


@pytest.mark.parametrize("status", [DEPLOYING, INTERRUPTED, FAILED])
def test_what_a_run_of_ours_has_begun_goes_back(tmp_path: Path, status: str) -> None:
    helm = StandInHelm(helms("deployed", "pending-upgrade"))
    release = made(tmp_path, helm, UP, entry(2, status, at=NOW))
    record, history = healed(release)
    assert helm.calls == ["rollback 1"]
    left = FAILED if status == FAILED else INTERRUPTED
    assert statuses(release) == [(1, "verified"), (2, left), (3, UNJUDGED)]
    assert (record.live, history[-1].status) == (3, "deployed")
    back = record.find(3)
    assert back is not None and (back.rollback_of, back.commit) == (1, UP.commit)


def test_a_first_install_of_ours_that_never_ended_is_removed(tmp_path: Path) -> None:
    helm = StandInHelm(helms("pending-install"))
    release = made(tmp_path, helm, entry(1, DEPLOYING, at=NOW))
    assert healed(release)[1] == []
    assert helm.calls == ["uninstall"] and statuses(release) == [(1, INTERRUPTED)]


def test_a_run_that_is_killed_while_it_heals_is_healed_by_the_next(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed", "pending-upgrade"), deque([End(raises=Interrupted(9))]))
    release = made(tmp_path, helm, UP, entry(2, DEPLOYING, at=NOW))
    with pytest.raises(Interrupted):
        healed(release)
    assert helm.revisions[-1].status == "pending-rollback" and (3, DEPLOYING) in statuses(release)
    healed(release)
    assert helm.calls == ["rollback 1", "rollback 1"]
    assert statuses(release) == [(1, "verified"), (2, INTERRUPTED), (3, INTERRUPTED), (4, UNJUDGED)]


@pytest.mark.parametrize(
    ("left", "entries", "command"),
    [
        (("deployed", "pending-upgrade"), [UP], "helm rollback web 1 -n ns"),
        (("deployed", "failed", "pending-upgrade"), [UP, entry(2, INTERRUPTED, at=NOW)], "helm rollback web 1 -n ns"),
        (("pending-install",), [], "helm uninstall web -n ns"),
        (
            ("deployed", "pending-upgrade"),
            [UP, entry(2, INTERRUPTED, at="2026-01-01T00:00:00Z")],
            "helm rollback web 1",
        ),
        (("deployed", "uninstalling"), [UP, entry(2, at=NOW)], "helm rollback web 1"),
        (
            ("deployed", "pending-upgrade"),
            [UP, entry(2, FAILED, at=NOW, helm_uid="of an earlier life")],
            "helm rollback",
        ),
    ],
    ids=[
        "upgrade",
        "upgrade after an attempt of ours",
        "first install",
        "number announced long ago",
        "a person's uninstall",
        "earlier life",
    ],
)
def test_somebody_elses_helm_is_left_alone(
    tmp_path: Path, left: tuple[str, ...], entries: list[healing.Revision], command: str
) -> None:
    since = timestamp(datetime.now(UTC) - timedelta(seconds=42))
    history = [*helms(*left[:-1]), replace(helms(*left)[-1], created=since)]
    helm = StandInHelm(history)
    release = made(tmp_path, helm, *entries)
    told = warnings(release)
    with pytest.raises(Held) as caught:
        healed(release)
    assert helm.calls == [] and helm.revisions == history
    assert f"is {left[-1]} since {since} (42 s)" in caught.value.message and command in caught.value.hint
    assert told == [f"waits for somebody else's Helm: revision {len(left)} is {left[-1]}"]


def test_it_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "OTHERS", 10.0)
    helm = StandInHelm(helms("deployed", "pending-upgrade"))
    release = made(tmp_path, helm, UP)
    looks = deque([*[helms("deployed", "pending-upgrade")] * 2, helms("superseded", "deployed")])
    helm.history = lambda *_: looks.popleft() if len(looks) > 1 else looks[0]  # type: ignore[method-assign]
    record, history = healed(release)
    assert [each.status for each in history] == ["superseded", "deployed"] and record.live == 2
    assert helm.calls == []


def test_a_webhook_or_a_cluster_that_is_away_for_a_moment_is_no_failure(tmp_path: Path) -> None:
    ends = [End(WEBHOOK, "failed"), End(status="", raises=Unavailable("the cluster is away"))]
    helm = StandInHelm(helms("deployed", "pending-upgrade"), deque(ends))
    release = made(tmp_path, helm, UP, entry(2, DEPLOYING, at=NOW))
    healed(release)
    assert helm.calls == ["rollback 1"] * 3
    assert statuses(release) == [(1, "verified"), (2, INTERRUPTED), (4, UNJUDGED)]


def test_what_cannot_be_cleared_up_needs_a_person_who_is_told_why(tmp_path: Path) -> None:
    end = End("UPGRADE FAILED: job web-pre failed: BackoffLimitExceeded", "pending-rollback")
    helm = StandInHelm(helms("deployed", "pending-upgrade"), deque([end]))
    release = made(tmp_path, helm, UP, entry(2, DEPLOYING, at=NOW))
    with pytest.raises(NeedsPerson, match="BackoffLimitExceeded"):
        healed(release)
    healed(release)
    assert helm.calls == ["rollback 1"] * 2, "and the next one may clear up what that has left"


def test_what_others_have_deployed_before_is_gone_back_to(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed", "pending-upgrade"))
    release = made(tmp_path, helm, entry(2, DEPLOYING, at=NOW))
    record, _ = healed(release)
    assert helm.calls == ["rollback 1"]
    assert record.live_revision is not None and record.live_revision.commit == ""


def test_where_the_server_goes_away_while_helm_clears_up_a_person_is_told_what_is_left(tmp_path: Path) -> None:
    gone = Unavailable("the lease cd-web has not been renewed", retryable=False)
    helm = StandInHelm(helms("deployed", "pending-upgrade"), deque([End(raises=Unavailable("Helm was stopped"))]))
    release = made(tmp_path, helm, UP, entry(2, DEPLOYING, at=NOW))

    def require() -> bool:
        if helm.calls:
            raise gone
        return False

    lease = cast(Lease, SimpleNamespace(require=require))
    with pytest.raises(NeedsPerson, match="could not be cleared up"):
        healing.heal(release, lease, release.read(Deadline(5.0)), Deadline(5.0))
    assert helm.revisions[-1].status == "pending-rollback"
