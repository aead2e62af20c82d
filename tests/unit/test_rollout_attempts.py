"""Helm called for a deploy: what is worth another call, what is undone, and what has written nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusters import entry
from helms import BUSY, WEBHOOK, End, StandInHelm, a_lease, helms, made, statuses, warnings

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, RolledBack, Unavailable, UsageProblem
from cdlib.rollout import attempts, deploy, going_back
from cdlib.rollout.api import Object
from cdlib.rollout.attempts import TRIES
from cdlib.rollout.chart import Chart, Rendered
from cdlib.rollout.planning import Plan
from cdlib.rollout.record import DEPLOYING
from cdlib.rollout.release import Outcome, Release
from cdlib.rollout.verdict import State
from cdlib.service import Verify
from cdlib.streams import TooMuch
from cdlib.units import timestamp

GOOD = State(True, "")
UP = entry(1, helm_uid="uid-1")
AWAY = Unavailable("Helm was stopped, since the cluster could not be reached")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for, and what Helm has applied is good."""
    monkeypatch.setattr(attempts, "PAUSE", 0.0)
    monkeypatch.setattr(deploy, "PAUSE", 0.0)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.01)
    for module in (deploy, going_back):
        monkeypatch.setattr(module, "judge", lambda *_, **__: GOOD)


def rolled_out(release: Release, number: int) -> Outcome:
    """A deploy whose number is announced."""
    plan = Plan(cast(Any, SimpleNamespace(image=None)), Verify(), Chart(Path(), (), "", ""), (), Rendered((), ()), ())
    mine = entry(number, DEPLOYING, at=timestamp())
    budget = Deadline(60.0)
    release.mark(mine, budget)
    return deploy._apply_and_judge(release, plan, a_lease(), mine, (), Deadline(30.0), budget)


def announced(release: Release, helm: StandInHelm) -> Callable[[], list[int]]:
    """The numbers that Helm takes from now on, each of which the record must have before."""
    numbers: list[int] = []

    def check(number: int) -> None:
        assert (number, DEPLOYING) in statuses(release)
        numbers.append(number)

    helm.before = check
    return lambda: numbers


def test_a_webhook_that_fails_once_ends_nothing(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(WEBHOOK, "failed")]))
    release = made(tmp_path, helm, UP)
    numbers, told = announced(release, helm), warnings(release)
    assert rolled_out(release, 2).entry.revision == 3
    assert helm.calls == ["upgrade", "upgrade"] and numbers() == [2, 3]
    assert statuses(release) == [(1, "verified"), (3, "verified")]
    assert any("this may pass" in text for text in told)


@pytest.mark.parametrize(
    "said",
    [
        WEBHOOK,
        WEBHOOK.replace("context deadline exceeded", "dial tcp 127.0.0.1:1: connect: connection refused"),
        "UPGRADE FAILED: etcdserver: leader changed",
        "UPGRADE FAILED: etcdserver: request timed out",
        "UPGRADE FAILED: the server is currently unable to handle the request (patch deployments.apps web)",
    ],
)
def test_what_never_passes_is_undone_and_blames_no_image(tmp_path: Path, said: str) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(said, "failed")] * TRIES))
    release = made(tmp_path, helm, UP)
    numbers = announced(release, helm)
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == [*["upgrade"] * TRIES, "rollback 1"] and numbers() == [2, 3, 4, 5, 6]
    assert release.records.read(Deadline(5.0)).quarantine == {}
    assert statuses(release) == [(1, "verified"), (5, "failed"), (6, "verified")]


def test_what_does_not_pass_is_not_tried_again(tmp_path: Path) -> None:
    said = 'UPGRADE FAILED: admission webhook "w.test" denied the request: no team label'
    helm = StandInHelm(helms("deployed"), deque([End(said, "failed")]))
    release = made(tmp_path, helm, UP)
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "rollback 1"]
    assert list(release.records.read(Deadline(5.0)).quarantine) == [entry(2).digest]


def test_what_helm_could_not_even_mark_as_failed_is_undone_at_once(tmp_path: Path) -> None:
    """Helm refuses to upgrade what is pending."""
    helm = StandInHelm(helms("deployed"), deque([End("etcdserver: request timed out", "pending-upgrade")]))
    with pytest.raises(RolledBack):
        rolled_out(made(tmp_path, helm, UP), 2)
    assert helm.calls == ["upgrade", "rollback 1"]


def hook(events: str) -> Object:
    annotations = {"helm.sh/hook": events}
    return {"kind": "Job", "metadata": {"name": "migrate", "annotations": annotations}}


@pytest.mark.parametrize("hooks", [[], [hook("pre-install,pre-upgrade")], [hook("test")]])
def test_a_first_install_is_gone_on_with_and_nothing_is_removed(tmp_path: Path, hooks: list[Object]) -> None:
    """Helm takes over what was there before it, such as a volume, and would remove that as well."""
    helm = StandInHelm([], deque([End(WEBHOOK, "failed")]), of_hooks=hooks)
    release = made(tmp_path, helm)
    assert rolled_out(release, 1).entry.revision == 2
    assert helm.calls == ["upgrade", "upgrade"]
    assert statuses(release) == [(1, "interrupted"), (2, "verified")]


@pytest.mark.parametrize(
    "hooks", [[hook("post-install")], [hook("test"), hook("pre-install, test")], Unavailable("away")]
)
def test_an_install_whose_hooks_an_upgrade_leaves_out_is_not(tmp_path: Path, hooks: list[Object] | Exception) -> None:
    helm = StandInHelm([], deque([End(WEBHOOK, "failed")]), of_hooks=hooks)
    release = made(tmp_path, helm)
    with pytest.raises(NeedsPerson, match="failed calling webhook"):
        rolled_out(release, 1)
    assert helm.calls == ["upgrade"] and statuses(release) == [(1, "failed")]
    assert release.records.read(Deadline(5.0)).quarantine == {}


def test_a_first_install_that_is_gone_on_with_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    """Helm calls it superseded."""
    helm = StandInHelm([], deque([End(WEBHOOK, "failed"), End("no", "failed")]))
    helm.before = lambda number: helm.revisions.__setitem__(slice(None), helms("superseded")) if number == 2 else None
    with pytest.raises(NeedsPerson, match="no verified revision is there to go back to"):
        rolled_out(made(tmp_path, helm), 1)
    assert helm.calls == ["upgrade", "upgrade"]


def test_an_upgrade_is_tried_again_whatever_hooks_an_install_has(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(WEBHOOK, "failed")]), of_hooks=[hook("post-install")])
    assert rolled_out(made(tmp_path, helm, UP), 2).entry.revision == 3


def test_what_a_call_that_was_cut_off_has_left_late_is_undone(tmp_path: Path) -> None:
    """Its revision comes to be after it was looked for."""
    helm = StandInHelm(helms("deployed"), deque([End(raises=AWAY, status="")]))
    release = made(tmp_path, helm, UP)
    helm.late = helms("deployed", "pending-upgrade")[1]
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "rollback 1"]
    assert statuses(release) == [(1, "verified"), (2, "failed"), (3, "verified")]


def test_a_helm_that_works_after_a_call_that_was_cut_off_may_be_that_call(tmp_path: Path) -> None:
    """So the record keeps its number, and the next run clears it up."""
    helm = StandInHelm(helms("deployed"), deque([End(raises=AWAY, status=""), End(BUSY, "")]))
    release = made(tmp_path, helm, UP)
    with pytest.raises(Held, match="somebody else's Helm"):
        rolled_out(release, 2)
    assert statuses(release) == [(1, "verified"), (2, DEPLOYING)]


def test_somebody_elses_helm_between_two_calls_of_ours_needs_a_person(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(WEBHOOK, "failed"), End(BUSY, "")]))
    release = made(tmp_path, helm, UP)
    theirs = helms("deployed", "failed", "pending-upgrade")[2]
    helm.before = lambda number: helm.revisions.append(theirs) if number == 3 else None
    with pytest.raises(NeedsPerson, match="somebody else's Helm is at work: revision 3"):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "upgrade"] and statuses(release) == [(1, "verified"), (2, "failed")]


def test_what_others_have_set_is_set_again(tmp_path: Path) -> None:
    said = "UPGRADE FAILED: conflict occurred while applying object ns/web apps/v1, Kind=Deployment: .spec.replicas"
    helm = StandInHelm(helms("deployed"), deque([End(said, "failed")]))
    release = made(tmp_path, helm, UP)
    told = warnings(release)
    assert rolled_out(release, 2).entry.revision == 3
    assert helm.calls == ["upgrade", "upgrade --force-conflicts"]
    assert any("was changed by others" in text for text in told)


def test_a_cluster_that_was_away_before_anything_was_written_is_waited_for(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(status="", raises=AWAY)] * (TRIES + 2)))
    release = made(tmp_path, helm, UP)
    assert rolled_out(release, 2).entry.revision == 2
    assert helm.calls == ["upgrade"] * (TRIES + 3)


@pytest.mark.parametrize(
    "end",
    [
        End(raises=AWAY),
        End(raises=TooMuch("helm printed more than 1 bytes"), status="failed"),
        End(raises=CdError("helm was stopped")),
        End(raises=ValueError("whatever")),
        End(manifest="kind: !mine Deployment"),
    ],
    ids=["lease lost", "too much output", "stopped", "a defect", "YAML of Helm's alone"],
)
def test_whatever_goes_wrong_once_helm_has_written_is_undone(tmp_path: Path, end: End) -> None:
    helm = StandInHelm(helms("deployed"), deque([end]))
    release = made(tmp_path, helm, UP)
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "rollback 1"]
    assert statuses(release) == [(1, "verified"), (2, "failed"), (3, "verified")]
    assert bool(release.records.read(Deadline(5.0)).quarantine) == (end.raises is not AWAY)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (End("execution error at (web/templates/all.yaml)", ""), UsageProblem),
        (End(status="", raises=UsageProblem("helm is not installed")), UsageProblem),
        (End(status="", raises=ValueError("whatever")), ValueError),
    ],
)
def test_what_went_wrong_before_helm_has_written_is_only_told(tmp_path: Path, end: End, kind: type[Exception]) -> None:
    helm = StandInHelm(helms("deployed"), deque([end]))
    release = made(tmp_path, helm, UP)
    with pytest.raises(kind):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade"] and statuses(release) == [(1, "verified")]


def test_a_refusal_after_a_call_that_has_written_is_undone(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(WEBHOOK, "failed"), End("values don't meet the schema", "")]))
    release = made(tmp_path, helm, UP)
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "upgrade", "rollback 1"]
    assert statuses(release) == [(1, "verified"), (2, "failed"), (3, "verified")], "the second call took no number"


def test_where_somebody_elses_helm_was_faster_it_is_left_alone(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End(BUSY, "")]))
    release = made(tmp_path, helm, UP)
    helm.before = lambda _: helm.revisions.append(helms("deployed", "pending-upgrade")[1])
    with pytest.raises(Held, match="somebody else's Helm"):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade"] and statuses(release) == [(1, "verified")], "the number is theirs"


def test_a_rollback_meets_a_webhook_that_fails_once_and_a_cluster_that_is_away(tmp_path: Path) -> None:
    ends = [End("no", "failed"), End(WEBHOOK, "failed"), End(raises=AWAY, status="pending-rollback")]
    helm = StandInHelm(helms("deployed"), deque(ends))
    release = made(tmp_path, helm, UP)
    numbers = announced(release, helm)
    with pytest.raises(RolledBack):
        rolled_out(release, 2)
    assert helm.calls == ["upgrade", "rollback 1", "rollback 1", "rollback 1"] and numbers() == [2, 3, 4, 5]
    assert statuses(release) == [(1, "verified"), (2, "failed"), (5, "verified")]


def test_a_rollback_that_a_webhook_never_lets_through_needs_a_person(tmp_path: Path) -> None:
    helm = StandInHelm(helms("deployed"), deque([End("no", "failed"), *[End(WEBHOOK, "failed")] * TRIES]))
    with pytest.raises(NeedsPerson, match="failed calling webhook"):
        rolled_out(made(tmp_path, helm, UP), 2)
    assert helm.calls == ["upgrade", *["rollback 1"] * TRIES]


def test_an_api_server_that_knows_no_roles_yet_keeps_nobody_from_going_back(tmp_path: Path) -> None:
    said = 'ROLLBACK FAILED: secrets is forbidden: User "cd" cannot list resource "secrets"'
    helm = StandInHelm(helms("deployed"), deque([End("no", "failed"), End(said, "")]))
    with pytest.raises(RolledBack):
        rolled_out(made(tmp_path, helm, UP), 2)
    assert helm.calls == ["upgrade", "rollback 1", "rollback 1"]
