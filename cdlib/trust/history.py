"""A change's records replayed: its patchsets, the votes that stood when it merged, and how it merged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdlib.trust.notedb import NOBODY, Entry, Server
from cdlib.trust.objects import OBJECT, Malformed

_LABEL = re.compile(r"(?P<gone>-)?(?P<label>[A-Za-z][A-Za-z0-9-]*)(?:=(?P<value>[+-]?[0-9]{1,4}))?"
                    r"(?:, (?P<id>[0-9a-f]{40}))?(?: (?P<who>Gerrit User [^,>]*>))?\Z")  # fmt: skip
_COPIED = re.compile(r"(?P<gone>-)?(?P<label>[A-Za-z][A-Za-z0-9-]*)(?:=(?P<value>[+-]?[0-9]{1,4}))?"
                     r"(?:, (?P<id>[0-9a-f]{40}))? (?P<who>Gerrit User [^,>]*>)(?:,(?P<real>Gerrit User [^,>]*>))?"
                     r"(?: :\"(?P<tag>.*)\")?\Z", re.DOTALL)  # fmt: skip
_STATUSES = ("new", "abandoned", "merged")


@dataclass(frozen=True)
class Vote:
    """A vote on a patchset. `real` is who cast it, `branch` the change's at that time, `record` where it stands."""

    patchset: int
    label: str
    account: int
    value: int
    real: int
    id: str
    branch: str
    record: str
    copied: bool = False

    @property
    def on_behalf(self) -> bool:
        """Whether somebody else cast it in the account's name."""
        return self.real != self.account


@dataclass(frozen=True)
class Patchset:
    """A patchset's commit, and who uploaded it: in whose name, and really."""

    number: int
    commit: str
    uploader: int
    real: int


@dataclass(frozen=True)
class Submission:
    """How a change merged: as which patchset, and what Gerrit wrote of its conditions."""

    record: str
    patchset: int
    made: bool  # whether the merge itself made that patchset, by a rebase or a cherry-pick
    conditions: tuple[str, ...]

    @property
    def forced(self) -> bool:
        """Whether a push with `%submit` went past the conditions."""
        return "FORCED" in self.conditions


@dataclass
class History:
    """All of a change until it merged, or until now."""

    change: int
    change_id: str = ""
    branch: str = ""
    status: str = ""
    tip: str = ""
    patchsets: dict[int, Patchset] = field(default_factory=dict)
    votes: dict[tuple[int, str, int], Vote] = field(default_factory=dict)  # by patchset, label, account
    cast: dict[str, Vote] = field(default_factory=dict)  # every vote that was not copied, by its id
    submission: Submission | None = None

    @property
    def merged(self) -> Patchset | None:
        """The patchset that is on the branch."""
        return self.patchsets[self.submission.patchset] if self.submission else None

    @property
    def seen(self) -> list[Patchset]:
        """Every patchset up to the reviewed one."""
        last = self.reviewed.number if self.reviewed else 0
        return [patchset for patchset in self.patchsets.values() if patchset.number <= last]

    @property
    def reviewed(self) -> Patchset | None:
        """The patchset that people and tests saw: what merged, or the one that the merge made that from."""
        if not self.submission or not self.submission.made:
            return self.merged
        before = [number for number in self.patchsets if number < self.submission.patchset]
        return self.patchsets[max(before)] if before else None


def replay(change: int, entries: Sequence[Entry], commits: Mapping[int, str], server: Server) -> History:
    """The history that these records tell, oldest first; `commits` are the patchsets' refs. Raises Malformed.

    What was written after the merge changes nothing: votes may still be cast and deleted then.
    """
    history = History(change)
    for entry in entries:
        _Step(history, entry, commits, server).apply()
        history.tip = entry.id
        if history.submission:
            return history
    return history


@dataclass(frozen=True)
class _Step:
    """One record on its way into the history."""

    history: History
    entry: Entry
    commits: Mapping[int, str]
    server: Server

    def apply(self) -> None:
        entry, history = self.entry, self.history
        status = entry.one("Status")
        if status is not None and status not in _STATUSES:
            raise self._wrong(f"Status {status!r}")
        number = self._number()
        if (commit := entry.one("Commit")) is not None:
            self._patchset(number, commit)
        elif number not in history.patchsets:
            raise self._wrong(f"patchset {number}, which does not exist by then")
        self._branch()
        history.status = status or history.status
        if status == "merged":
            self._merge(number)
            return  # the votes that it writes down are those that stood before
        self._votes(number)

    def _number(self) -> int:
        said = self.entry.one("Patch-set") or ""
        if not re.fullmatch(r"[1-9][0-9]{0,5}", said):
            raise self._wrong(f"patchset {said!r}")
        return int(said)

    def _patchset(self, number: int, commit: str) -> None:
        known = self.history.patchsets
        if number <= max(known, default=0) or not OBJECT.match(commit):
            raise self._wrong(f"{commit[:40]!r} as patchset {number}")
        if self.commits.get(number) != commit:
            ref = self.commits.get(number, "")[:12] or "missing"
            raise self._wrong(f"{commit[:12]} is patchset {number}, whose ref is {ref}")
        self._require_person("uploads a patchset")
        known[number] = Patchset(number, commit, self.entry.account, self.entry.real)

    def _branch(self) -> None:
        branch = self.entry.one("Branch")
        if branch is not None:
            self.history.branch = branch
        if (change_id := self.entry.one("Change-id")) is not None:
            self.history.change_id = change_id
        if not self.history.branch:
            raise self._wrong("no branch")

    def _merge(self, number: int) -> None:
        self._require_person("submits")
        made = self.entry.one("Commit") is not None
        self.history.submission = Submission(self.entry.id, number, made, tuple(self.entry.all("Submitted-with")))

    def _votes(self, number: int) -> None:
        for removed in self.entry.all("Removed"):
            account = self.server.account(removed)
            for key in [key for key in self.history.votes if key[2] == account]:
                del self.history.votes[key]
        for text in self.entry.all("Label"):
            self._vote(number, text)
        for text in self.entry.all("Copied-Label"):
            self._copied(number, text)

    def _vote(self, number: int, text: str) -> None:
        found, account = self._read("vote", _LABEL, number, text)
        if found["gone"]:
            return
        self._require_person("votes")
        if account != self.entry.account:
            raise self._wrong(f"a vote of account {account}, written by account {self.entry.account}")
        vote = Vote(number, found["label"], account, int(found["value"]), self.entry.real, found["id"] or "",
                    self.history.branch, self.entry.id)  # fmt: skip
        self.history.votes[(number, vote.label, account)] = vote
        if vote.id:
            self.history.cast.setdefault(vote.id, vote)

    def _copied(self, number: int, text: str) -> None:
        found, account = self._read("copied vote", _COPIED, number, text)
        if found["gone"]:
            return
        real = self.server.account(found["real"]) if found["real"] else account
        vote = Vote(number, found["label"], account, int(found["value"]), real, found["id"] or "",
                    self.history.branch, self.entry.id, copied=True)  # fmt: skip
        self.history.votes[(number, vote.label, account)] = vote

    def _read(self, what: str, pattern: re.Pattern[str], number: int, text: str) -> tuple[re.Match[str], int]:
        """What a record says of a vote, and whose it is; one that is gone is out of the history by then."""
        found = pattern.match(text)
        if not found or bool(found["gone"]) == (found["value"] is not None):
            raise self._wrong(f"the {what} {text[:80]!r}")
        account = self.server.account(found["who"]) if found["who"] else self.entry.account
        if found["gone"]:
            self.history.votes.pop((number, found["label"], account), None)
        return found, account

    def _require_person(self, does: str) -> None:
        if self.entry.account == NOBODY:
            raise self._wrong(f"nobody {does}")

    def _wrong(self, what: str) -> Malformed:
        return Malformed(f"its record {self.entry.id[:12]} says {what}")


def origin(history: History, vote: Vote) -> Vote | None:
    """The vote that a copied one was copied from: by the same person, with the same value, on an older patchset."""
    cast = history.cast.get(vote.id)
    if cast is None or cast.patchset >= vote.patchset:
        return None
    same = replace(cast, patchset=vote.patchset, branch=vote.branch, record=vote.record, copied=True)
    return cast if same == vote else None
