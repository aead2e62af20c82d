"""Holds of a release, as cd-hold changes them: each is in the audit record, and looking changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from permitted import Place, place, signers, template

from cdlib.errors import UsageProblem
from cdlib.promotion.deploying import Options, go_back_by_hand
from cdlib.promotion.holding import change_hold
from cdlib.report.audit import check
from cdlib.rollout.record import Revision
from cdlib.rollout.release import Outcome

__all__ = ["place", "signers", "template"]


def told(audit: Path) -> list[str]:
    return [str(entry["event"]) for entry, problem in check(audit) if not problem] if audit.exists() else []


def test_a_hold_is_set_seen_and_lifted(place: Place, tmp_path: Path) -> None:
    release, audit = place.permits().release, tmp_path / "audit.jsonl"
    assert change_hold(release, audit).hold is None and not told(audit)
    assert (change_hold(release, audit, reason="a freeze").hold or {})["reason"] == "a freeze"
    assert (place.record().hold or {})["reason"] == "a freeze"
    assert (change_hold(release, audit).hold or {})["reason"] == "a freeze", "looking lifts nothing"
    assert change_hold(release, audit, lift=True).hold is None and place.record().hold is None
    assert told(audit) == ["hold", "hold lifted"]


def test_a_digest_that_is_not_quarantined_cannot_be_released(place: Place) -> None:
    with pytest.raises(UsageProblem, match="not quarantined"):
        change_hold(place.permits().release, None, digest="sha256:" + "0" * 64)


def test_a_dry_run_changes_nothing(place: Place, tmp_path: Path) -> None:
    release, audit = place.permits().release, tmp_path / "audit.jsonl"
    release.run.dry_run = True
    assert change_hold(release, audit, reason="a freeze").hold is None
    assert place.record().hold is None and not told(audit)


@pytest.mark.parametrize(("outcome", "said"), [("done", True), ("unchanged", False)])
def test_who_goes_back_by_hand_is_told_what_that_does_not_undo(
    place: Place, monkeypatch: pytest.MonkeyPatch, outcome: str, said: bool
) -> None:
    entry = Revision(4, "c0ffee", "image", "digest", "", "", "verified", "", "", "", rollback_of=1)
    monkeypatch.setattr("cdlib.rollout.rollback.roll_back", lambda *_, **_more: Outcome(outcome, entry))
    release, notes = place.permits().release, list[str]()
    release.run.events.listen(lambda event: notes.append(event["text"]) if event["event"] == "note" else None)
    go_back_by_hand(release, place.base / "targets.yaml", Options(None, None, wait=False), 1, "why")
    assert any("CRDs, migrations and data are not undone" in note for note in notes) is said
