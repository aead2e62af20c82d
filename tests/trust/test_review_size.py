"""How much of what anybody may push is kept in memory while commits are judged."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from histories import POLICY
from notedb import ACCOUNTS, SID, Branch, Change, World

from cdlib.deadline import Deadline
from cdlib.errors import Refused
from cdlib.trust import objects, records
from cdlib.trust.case import Law
from cdlib.trust.identity import Account, People
from cdlib.trust.notedb import Server
from cdlib.trust.objects import Repository
from cdlib.trust.records import read_records
from cdlib.trust.review import Request, authorize

SERVER = Server(SID, "gerrit@example.com")
PEOPLE = People({n: Account(n, name, frozenset([f"{name}@example.com"]), True) for name, n in ACCOUNTS.items()})
LAW = Law(POLICY, PEOPLE, SERVER)
LONG, MANY = 100_000, 60  # bytes of each message, and how many patchsets have one


def push_much(branch: Branch, commit: str, *, merge: bool) -> Change:
    """What a contributor may: the commit again for another branch, then patchsets with as long messages as they like."""
    elsewhere = branch.world.branch("sandbox")
    made = Change(elsewhere, branch.world.number(), "I1")
    made.upload(commit, "dave", [f"Branch: {elsewhere.ref}", "Status: new"])
    for number in range(MANY):
        text = f"{number}{'x' * LONG}"
        message = f"{text}\n\n{text}\n"
        made.upload(branch.world.commit({}, [branch.base], message=message), "dave", [f"Subject: {text}"])
    if merge:
        made.submit("dave")
    return made


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    branch = World(tmp_path / "hello.git").branch("master")
    branch.change({"a": "1\n"}).approve().submit()
    return branch


def repository(branch: Branch) -> Repository:
    branch.world.save()
    return Repository(branch.world.folder, Deadline(60))


@pytest.mark.parametrize("merge", [False, True])
def test_messages_that_nobody_compares_are_not_kept(
    branch: Branch, merge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who may push changes, and nothing else, could exhaust the authorizer's memory by them."""
    monkeypatch.setattr(objects, "_BATCH", 2 * LONG)
    other = push_much(branch, branch.head, merge=merge)
    mirror, request = repository(branch), Request(branch.head, branch.base)
    tracemalloc.start()
    try:
        found = authorize(mirror, request, LAW)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [verdict.basis for verdict in found] == ["change"] and other.number not in {v.change for v in found}
    assert peak < MANY * LONG / 2, f"{peak} bytes at a time, of {3 * MANY * LONG} that were pushed"


def test_what_has_to_be_kept_is_not_more_than_fits(branch: Branch, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, request = repository(branch), Request(branch.head, branch.base)
    kept = read_records(mirror, [branch.head], SERVER).commits[branch.head]
    size = len(kept.message) + len(kept.author) + len(kept.committer) + 100
    monkeypatch.setattr(records, "_MOST", size)
    assert authorize(mirror, request, LAW)
    monkeypatch.setattr(records, "_MOST", size - 1)
    with pytest.raises(Refused, match="have more than") as caught:
        authorize(mirror, request, LAW)
    assert branch.head[:12] in caught.value.hint and "review.accept" in caught.value.hint


def test_a_commit_of_more_than_a_megabyte(branch: Branch) -> None:
    base = branch.head
    made = branch.change({"b": "1\n"}, subject="x" * 2**20).approve()
    made.submit()
    with pytest.raises(Refused, match="larger than a commit may be"):
        authorize(repository(branch), Request(branch.head, base), LAW)
