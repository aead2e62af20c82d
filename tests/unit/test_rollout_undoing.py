"""A rollout that failed: where it goes back to, and what keeps it from that."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusters import entry
from clusters import record as a_record
from helms import StandInHelm, a_lease, helms, made, statuses, warnings

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NeedsPerson, Refused, RegistryRefused, RolledBack, Unavailable, UsageProblem
from cdlib.rollout import going_back
from cdlib.rollout.drift import Standing
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.planning import Wish, check_order
from cdlib.rollout.record import DEPLOYING, FAILED, INTERRUPTED, Record, Revision
from cdlib.rollout.release import Outcome, Release
from cdlib.rollout.rollback import roll_back
from cdlib.rollout.undoing import undo
from cdlib.rollout.verdict import INCONCLUSIVE, Fault, State
from cdlib.rollout.verify import Request
from cdlib.service import HttpCheck, Verify

BAD = State(False, "", (Fault("", "", "CrashLoop", "ended 3 times"),))
UP = entry(1, helm_uid="uid-1")
DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Verify, list[Request]]]:
    """By what each rollback is judged, which then is good."""
    found: list[Any] = []
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.01)

    def judge(_release: Any, _lease: Any, _entry: Any, verify: Verify, rendered: Any, requests: Any, *_: Any,
              **__: Any) -> State:  # fmt: skip
        found.append((verify, list(requests)))
        return State(True, "")

    monkeypatch.setattr(going_back, "judge", judge)
    return found


def undone(release: Release, number: int, state: State = BAD) -> CdError:
    """What an undo of this revision, which is announced already, says."""
    mine = entry(number, DEPLOYING)
    release.mark(mine, Deadline(5.0))
    return undo(release, a_lease(), mine, state, Deadline(60.0))


def runs(*images: str) -> list[dict[str, Any]]:
    """The manifest of a Deployment that runs these."""
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    spec = {"template": {"spec": {"containers": containers}}}
    return [{"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}]


def by_hand(folder: Path, *images: str, **more: Any) -> tuple[StandInHelm, Release]:
    """A release that somebody has installed without us, and on which our first deploy has just failed."""
    helm = StandInHelm(helms("superseded", "deployed"), manifests={1: runs(*images)})
    return helm, made(folder, helm, **more)


def test_the_evidence_comes_first_and_then_the_last_good_revision(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "deployed"))
    release = made(tmp_path, helm, UP)

    def look(_number: int) -> None:
        verdict = json.loads((tmp_path / "evidence" / "verdict.json").read_text())
        assert verdict["faults"][0]["message"] == "ended 3 times"
        assert (2, FAILED) in statuses(release), "and so does the record"

    helm.before = look
    found = undone(release, 2)
    assert isinstance(found, RolledBack) and found.made["rolled_back_to"] == 1, found.message
    assert helm.calls == ["rollback 1"]
    assert list(release.records.read(Deadline(5.0)).quarantine) == [entry(2).digest]


def test_an_outage_as_it_begins_is_waited_for(tmp_path: Path) -> None:
    away = [Unavailable("cluster unreachable")] * (retry.ATTEMPTS + 3)
    helm = StandInHelm(helms("superseded", "deployed"), away=deque(away))
    release = made(tmp_path, helm, UP)
    looks = iter(away)

    def history(*_: Any) -> list[HelmRevision]:
        if problem := next(looks, None):
            raise problem
        return list(helm.revisions)

    helm.history = history  # type: ignore[method-assign]
    found = undone(release, 2)
    assert isinstance(found, RolledBack), found.message


@pytest.mark.parametrize(
    ("entries", "gone", "says"),
    [
        ((), (), "no verified revision is there"),
        ((UP,), (UP.image,), "the images of all verified revisions are gone"),
    ],
)
def test_where_there_is_nowhere_to_go_nothing_is_touched(
    tmp_path: Path, entries: tuple[Revision, ...], gone: tuple[str, ...], says: str
) -> None:
    helm = StandInHelm(helms("superseded", "deployed") if entries else helms("deployed"))
    found = undone(made(tmp_path, helm, *entries, gone=gone), 2 if entries else 1)
    assert isinstance(found, NeedsPerson) and says in found.message
    assert helm.calls == []


def test_what_cannot_be_judged_is_kept_where_operators_say_so(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "deployed"))
    state = State(False, "", (Fault("", "", INCONCLUSIVE, "no data"),))
    found = undone(made(tmp_path, helm, UP, inconclusive="keep"), 2, state)
    assert found.exit_code == 10 and helm.calls == []


def test_a_release_that_was_there_before_us_gets_back_what_it_had(tmp_path: Path, asked: list[Any]) -> None:
    helm, release = by_hand(tmp_path, f"r/hello@{DIGEST}", "sidecar:1", verify=Verify(http=(HttpCheck("/floor"),)))
    found = undone(release, 2)
    assert isinstance(found, RolledBack), found.message
    assert "made by Helm, by none of our runs, nor verified before" in found.message
    assert helm.calls == ["rollback 1"]
    assert asked == [(Verify(soak=0.0), [])], "it is judged by its own objects"
    back = release.records.read(Deadline(5.0)).find(3)
    assert back is not None
    assert (back.commit, back.image, back.status, back.rollback_of) == (
        "",
        f"docker.io/r/hello@{DIGEST}",
        "verified",
        1,
    )
    helm.revisions.append(HelmRevision(4, "deployed", "uid-4", "x"))
    again = undone(release, 4)
    assert isinstance(again, RolledBack) and again.made["rolled_back_to"] == 3, "and that counts from then on"


@pytest.mark.parametrize(
    "more", [{"quarantine": {DIGEST: {"reason": "bad"}}}, {"gone": (f"docker.io/r/side@{DIGEST}",)}]
)
def test_but_not_where_its_images_are_gone_or_quarantined(tmp_path: Path, more: dict[str, Any]) -> None:
    helm, release = by_hand(tmp_path, f"r/hello@{OTHER}", f"r/side@{DIGEST}", **more)
    found = undone(release, 2)
    assert isinstance(found, NeedsPerson) and helm.calls == []


def test_what_failed_of_ours_is_passed_over_and_what_was_good_of_ours_is_not(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "superseded", "deployed"))
    assert isinstance(undone(made(tmp_path, helm, entry(2, FAILED, helm_uid="uid-2")), 3), RolledBack)
    assert helm.calls == ["rollback 1"]
    good = entry(2, helm_uid="uid-2")
    helm = StandInHelm(helms("superseded", "superseded", "deployed"))
    release = made(tmp_path, helm, good, quarantine={good.digest: {"reason": "bad"}})
    assert isinstance(undone(release, 3), NeedsPerson) and helm.calls == []


def test_what_others_have_made_is_no_commit_to_be_older_than() -> None:
    wish = SimpleNamespace(source=SimpleNamespace(commit="c" * 40, is_before=lambda _: None), unrelated=False)
    check_order(a_record(entry(3, commit="")), cast(Wish, wish))
    with pytest.raises(Refused):
        check_order(a_record(entry(3)), cast(Wish, wish))


def test_nobody_goes_back_over_somebody_elses_helm(tmp_path: Path) -> None:
    helm = StandInHelm(helms("superseded", "deployed", "pending-upgrade"))
    found = undone(made(tmp_path, helm, UP), 2)
    assert isinstance(found, NeedsPerson) and "somebody else's Helm is at work" in found.message
    assert helm.calls == []


def test_checks_that_a_newer_version_has_written_are_asked_as_far_as_they_are_understood(
    tmp_path: Path, asked: list[Any]
) -> None:
    checks: list[Any] = [
        {"path": "/a", "method": "POST"},
        {"status": 200},
        {"path": "/b", "status": "ok"},
        "odd",
        {"path": "/c"},
    ]
    helm = StandInHelm(helms("superseded", "deployed"))
    release = made(tmp_path, helm, replace(UP, checks=checks))
    told = warnings(release)
    assert isinstance(undone(release, 2), RolledBack)
    assert [check.path for check in asked[0][0].http] == ["/a", "/b", "/c"]
    assert len([text for text in told if "not all of the check" in text]) == 4


@pytest.fixture
def at_will(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Goes back to a revision by hand, with no cluster around."""
    monkeypatch.setattr("cdlib.rollout.rollback.require_namespace", lambda *_: None)

    def go(helm: StandInHelm, *entries: Revision, to: int | None = 1, unverified: bool = False, **more: Any) -> Any:
        release = made(tmp_path, helm, *entries, **more)

        class Taken:
            waited = False
            require = staticmethod(lambda: False)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: Any) -> None:
                pass

        monkeypatch.setattr(release, "lease", lambda *_, **__: Taken(), raising=False)
        return release, lambda: roll_back(release, to, "why", unverified=unverified)

    return go


def test_by_hand_to_what_only_helm_knows_takes_insisting(at_will: Any) -> None:
    helm = StandInHelm(helms("superseded", "deployed"), manifests={1: runs(f"r/hello@{DIGEST}")})
    _, go = at_will(helm, entry(2, helm_uid="uid-2"))
    with pytest.raises(Refused, match="only Helm knows it"):
        go()
    release, go = at_will(helm, entry(2, helm_uid="uid-2"), unverified=True)
    assert go().entry.rollback_of == 1
    assert helm.calls == ["rollback 1"]
    record: Record = release.records.read(Deadline(5.0))
    assert record.hold is not None and record.hold["to"] == "1"


def test_by_hand_another_version_of_the_same_image_is_not_what_is_live(
    at_will: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unchanged = Standing(Outcome("unchanged", entry(1)))
    monkeypatch.setattr("cdlib.rollout.rollback.stands", lambda *_: unchanged)
    same = runs(f"r/hello@{DIGEST}")
    helm = StandInHelm(helms("superseded", "superseded", "deployed"), manifests={1: same, 2: same})
    release, go = at_will(helm, unverified=True)
    assert isinstance(undone(release, 3), RolledBack)
    assert go().outcome == "done"
    assert helm.calls == ["rollback 2", "rollback 1"]


def test_by_hand_a_rollback_that_was_cut_short_is_gone_on_with(at_will: Any) -> None:
    helm = StandInHelm(helms("superseded", "deployed"), manifests={1: runs(f"r/hello@{DIGEST}")})
    release, go = at_will(helm, entry(2, helm_uid="uid-2"), to=None, unverified=True)

    def held(record: Record) -> None:
        record.hold = {"to": "1", "since": "", "by": "", "reason": ""}

    release.records.update(held, Deadline(5.0))
    assert go().entry.rollback_of == 1


def test_by_hand_an_image_that_is_gone_or_a_number_that_nobody_knows_is_refused(at_will: Any) -> None:
    helm = StandInHelm(helms("superseded", "deployed"), manifests={1: runs(f"r/hello@{DIGEST}")})
    image = f"docker.io/r/hello@{DIGEST}"
    _, go = at_will(helm, entry(2, INTERRUPTED, helm_uid="uid-2"), unverified=True, gone=(image,))
    with pytest.raises(RegistryRefused):
        go()
    _, go = at_will(helm, entry(2, helm_uid="uid-2"), to=9, unverified=True)
    with pytest.raises(UsageProblem, match="no revision 9"):
        go()
    assert helm.calls == []
