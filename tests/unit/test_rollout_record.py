"""The release record: what it keeps, and which revision it goes back to."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from clusters import OneObject, entry, record

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import ARCHIVED_AT_ONCE, KEPT, Records

BAD = "sha256:" + "b" * 64


def target_of(found: Record, present: set[int]) -> Revision | None:
    return next(found.rollback_targets(present), None)


def test_the_last_good_revision_is_not_simply_the_one_before() -> None:
    found = record(entry(1), entry(2, "failed"), entry(3, "interrupted"), entry(4, "failed"), live=4)
    target = target_of(found, {1, 2, 3, 4})
    assert target is not None
    assert target.revision == 1


def test_a_quarantined_digest_is_no_target() -> None:
    found = record(entry(1), entry(2, digest=BAD), entry(3), quarantine={BAD: {"reason": "crashed"}})
    target = target_of(found, {1, 2, 3})
    assert target is not None
    assert target.revision == 1


def test_a_revision_that_helm_has_dropped_is_no_target() -> None:
    assert target_of(record(entry(1), entry(2)), {2}) is None


def test_going_back_means_something_else_than_what_is_live() -> None:
    first = entry(1)
    again = replace(first, revision=3, rollback_of=1)
    assert target_of(record(first, entry(2), again), {1, 2, 3}) is None, "that would be forward again"
    found = record(entry(1), entry(2), entry(3), replace(entry(2), revision=4, rollback_of=2))
    target = target_of(found, {1, 2, 3, 4})
    assert target is not None
    assert target.revision == 1


def test_a_failed_rollout_goes_back_to_the_newest_verified() -> None:
    found = record(entry(1), entry(2), entry(3, "failed"))
    assert [e.revision for e in found.good({1, 2, 3})] == [2, 1]


def test_entries_of_an_earlier_life_are_left_out() -> None:
    """After helm uninstall the numbers begin at 1 again; an entry counts only for Helm's very own record of it."""
    found = record(entry(1, helm_uid="old-1"), entry(2, helm_uid="old-2"), entry(3, "failed", helm_uid="old-3"))
    found.forget_former({1: "new-1", 2: "old-2"})
    assert [e.revision for e in found.revisions] == [2]


def test_entries_that_helm_has_dropped_or_not_seen_yet_are_kept() -> None:
    found = record(entry(1, helm_uid="u1"), entry(2), entry(3, helm_uid="u3"), entry(4, "deploying"))
    found.forget_former({2: "u2", 3: "u3"})
    assert [e.revision for e in found.revisions] == [1, 2, 3, 4]
    found.forget_former({})
    assert [e.revision for e in found.revisions] == [4]


@pytest.fixture
def api() -> OneObject:
    return OneObject()


@pytest.fixture
def records(api: OneObject) -> Records:
    return Records(api, "ns", "hello", "hello")  # type: ignore[arg-type]


SOON = Deadline(5.0)


def test_what_is_written_is_read_back(records: Records) -> None:
    def change(found: Record) -> None:
        found.put(entry(1, reason='quotes " and \n lines and ü'))
        found.live = 1
        found.hold = {"since": "now", "by": "me", "reason": "freeze"}

    written = records.update(change, SOON)
    assert records.read(SOON) == written


def test_two_writers_do_not_lose_each_other(records: Records, api: OneObject) -> None:
    records.update(lambda found: found.put(entry(1)), SOON)
    api.interfere = lambda: records.update(lambda found: found.put(entry(2)), SOON)
    records.update(lambda found: found.put(entry(3)), SOON)
    assert [e.revision for e in records.read(SOON).revisions] == [1, 2, 3]


def test_the_oldest_go_to_an_immutable_archive_and_none_is_lost(records: Records, api: OneObject) -> None:
    for number in range(1, KEPT + 2 * ARCHIVED_AT_ONCE + 1):
        records.update(lambda found, n=number: found.put(entry(n)), SOON)  # type: ignore[misc]
    archives = [o for name, o in api.stored.items() if "archive" in name]
    archived = [e["revision"] for o in archives for e in json.loads(o["data"]["revisions.json"])]
    kept = [e.revision for e in records.read(SOON).revisions]
    assert all(o["immutable"] for o in archives)
    assert sorted(archived + kept) == list(range(1, KEPT + 2 * ARCHIVED_AT_ONCE + 1))
    assert len(kept) < KEPT + ARCHIVED_AT_ONCE


def test_a_full_record_stays_far_below_what_a_config_map_holds(records: Records, api: OneObject) -> None:
    long = {"reason": "x" * 600, "by": "y" * 250, "checks": [{"path": "/" + "z" * 100, "status": 200}] * 5}
    for number in range(1, KEPT + ARCHIVED_AT_ONCE):
        records.update(lambda found, n=number: found.put(entry(n, **long)), SOON)  # type: ignore[misc]
    assert len(api.stored["cd-hello"]["data"]["record.json"]) < 512 * 1024


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"schema": "cd-release/9"}', '{"schema": "cd-release/1"}', "[]", "[" * 3000 + "]" * 3000],
    ids=lambda text: text[:40] or "empty",
)
def test_a_record_that_cannot_be_read_is_never_taken_for_an_empty_one(
    records: Records, api: OneObject, text: str
) -> None:
    records.update(lambda found: found.put(entry(1)), SOON)
    api.stored["cd-hello"]["data"]["record.json"] = text
    with pytest.raises(UsageProblem, match="cannot be read"):
        records.read(SOON)


@pytest.mark.parametrize(
    ("reason", "readable"), [("\\ud800", False), ("\\udfff\\ud800", False), ("\\ud83d\\ude00 ü", True)]
)
def test_half_a_surrogate_pair_is_refused(records: Records, api: OneObject, reason: str, readable: bool) -> None:
    """Nobody can print it, or write it anywhere: it would end whatever shows all releases."""
    records.update(lambda found: found.put(entry(1, reason="because")), SOON)
    kept = api.stored["cd-hello"]["data"]
    kept["record.json"] = kept["record.json"].replace("because", reason)
    if readable:
        assert records.read(SOON).revisions[0].reason == "😀 ü"
        return
    with pytest.raises(UsageProblem, match="cannot be read") as caught:
        records.read(SOON)
    assert caught.value.message.isprintable()
