"""What Gerrit writes down about a change (NoteDb): one commit for each thing that happened, read strictly.

What counts stands in the footers, which are the last paragraph of the commit's message. Whatever people type stands
before it. Anything that Gerrit does not write makes the whole change unusable.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cdlib.trust.objects import Commit, Malformed, Person, Repository, parse_commit

NOBODY = 0  # Gerrit itself, as when it abandons what is old
_CLOCK = 60  # seconds that a record may be dated before the one that it follows
# In Gerrit 3.10's ChangeNoteUtil; these stand once in a record, the others as often as needed.
_ONCE = frozenset(["Assignee", "Branch", "Change-id", "Cherry-pick-of", "Commit", "Current", "Groups", "Patch-set",
                   "Patch-set-description", "Private", "Real-user", "Revert-of", "Status", "Subject", "Submission-id",
                   "Tag", "Topic", "Work-in-progress"])  # fmt: skip
_OFTEN = frozenset(["Attention", "CC", "CC-email", "Copied-Label", "Custom-Keyed-Value", "Hashtags", "Label", "Removed",
                    "Removed-email", "Reviewer", "Reviewer-email", "Submitted-with"])  # fmt: skip
# What the rules read; of all else, which people may make as long as they like, a digest is kept.
_READ = frozenset(["Branch", "Change-id", "Commit", "Copied-Label", "Label", "Patch-set", "Real-user", "Removed",
                   "Status", "Submitted-with"])  # fmt: skip
_FOOTER = re.compile(rb"([A-Za-z][A-Za-z-]*):(?: (.*))?\Z", re.DOTALL)
_META = re.compile(r"refs/changes/[0-9]{2}/([0-9]{1,18})/meta\Z")
_PATCHSET = re.compile(r"refs/changes/[0-9]{2}/([0-9]{1,18})/([0-9]{1,18})\Z")


@dataclass(frozen=True)
class Server:
    """The Gerrit whose records are believed: its id, and the mail that it commits by."""

    id: str
    mail: str

    def account(self, text: str) -> int:
        """The account in `Gerrit User N <N@id>`. Raises Malformed."""
        found = re.fullmatch(rf"Gerrit User ([0-9]{{1,18}}) <([0-9]{{1,18}})@{re.escape(self.id)}>", text)
        if not found or found[1] != found[2]:
            raise Malformed(f"{text[:80]!r} is no account of the Gerrit {self.id}")
        return int(found[1])


@dataclass(frozen=True)
class Entry:
    """One record. `when` in seconds since 1970; `real` is who acted, where that was in another's name.

    `footers` are those that the rules read, `others` is a digest of all others.
    """

    id: str
    account: int
    real: int
    when: int
    footers: tuple[tuple[str, str], ...]
    others: str

    def one(self, name: str) -> str | None:
        """The value of a footer that stands once at most."""
        return next((value for key, value in self.footers if key == name), None)

    def all(self, name: str) -> list[str]:
        """Every value of a footer, in order."""
        return [value for key, value in self.footers if key == name]


@dataclass(frozen=True)
class Refs:
    """Where everything about the changes of a project is."""

    metas: dict[int, str]
    patchsets: dict[int, dict[int, str]]

    @property
    def holders(self) -> dict[str, list[tuple[int, int]]]:
        """For each commit the changes and patchsets that it is."""
        found: dict[str, list[tuple[int, int]]] = {}
        for change, patchsets in self.patchsets.items():
            for number, commit in patchsets.items():
                found.setdefault(commit, []).append((change, number))
        return found


def read_refs(refs: dict[str, str]) -> Refs:
    """The changes among these refs."""
    metas, patchsets = dict[int, str](), dict[int, dict[int, str]]()
    for name, value in refs.items():
        if found := _META.match(name):
            metas[int(found[1])] = value
        elif found := _PATCHSET.match(name):
            patchsets.setdefault(int(found[1]), {})[int(found[2])] = value
    return Refs(metas, patchsets)


def read_chains(repository: Repository, tips: Iterable[str], server: Server) -> dict[str, list[Entry] | Malformed]:
    """The records that each tip ends, oldest first, or what is wrong with them."""
    wanted = list(dict.fromkeys(tips))
    if not wanted:
        return {}
    listed = repository.git("rev-list", "--stdin", stdin="".join(f"{tip}\n" for tip in wanted).encode())
    found = {name: _record(name, raw, server) for name, raw in repository.read(listed.decode().split(), "commit")}
    return {tip: _chain(found, tip) for tip in wanted}


def _record(name: str, raw: bytes, server: Server) -> tuple[Entry, str] | Malformed:
    """A record, and the one that it follows. Its text is not kept: people may write much, and push it often."""
    try:
        commit = parse_commit(name, raw)
        entry = parse_entry(commit, server)
        if len(commit.parents) > 1:
            raise Malformed(f"its record {commit.short} follows several")
    except Malformed as problem:
        return Malformed(str(problem))  # the one that was raised keeps the text
    return entry, commit.parents[0] if commit.parents else ""


def _chain(found: Mapping[str, tuple[Entry, str] | Malformed], tip: str) -> list[Entry] | Malformed:
    entries: list[Entry] = []
    try:
        while tip:
            if tip not in found:
                raise Malformed(f"its record {tip[:12]} is missing or too large")
            record = found[tip]
            if isinstance(record, Malformed):
                raise record
            entry, tip = record
            entries.append(entry)
        entries.reverse()
        _require_order(entries)
    except Malformed as problem:
        return problem
    return entries


def _require_order(entries: Sequence[Entry]) -> None:
    for before, after in itertools.pairwise(entries):
        if after.when < before.when - _CLOCK:
            raise Malformed(
                f"its record {after.id[:12]} is dated {before.when - after.when} s before the one that it follows"
            )


def parse_entry(commit: Commit, server: Server) -> Entry:
    """One record of a change. Raises Malformed where it is not as the server writes it."""
    author, committer = commit.person(commit.author), commit.person(commit.committer)
    if committer.mail != server.mail or commit.more:
        raise Malformed(f"its record {commit.short} was not written by Gerrit ({committer.mail[:100]})")
    footers, others = _footers(commit)
    account = _author(author, server)
    real = next((value for key, value in footers if key == "Real-user"), None)
    return Entry(commit.id, account, account if real is None else server.account(real), author.when, footers, others)


def _author(author: Person, server: Server) -> int:
    if author.mail == server.mail:
        return NOBODY
    return server.account(f"{author.name} <{author.mail}>")


def _footers(commit: Commit) -> tuple[tuple[tuple[str, str], ...], str]:
    """The footers that the rules read, and a digest of the others; all have to be such as Gerrit writes."""
    # Only b"\n" ends a line here: str.splitlines would also break at U+2028 and its like, which Gerrit lets through.
    text = commit.message.rstrip(b"\n").rpartition(b"\n\n")[2].lstrip(b"\n")
    footers, once, others = list[tuple[str, str]](), set[str](), hashlib.sha256()
    for line in text.split(b"\n"):
        found = _FOOTER.match(line)
        name = found[1].decode() if found else ""
        if not found or name not in _ONCE | _OFTEN:
            raise Malformed(f"its record {commit.short} has a line that Gerrit does not write: {line[:80]!r}")
        if name in once:
            raise Malformed(f"its record {commit.short} says {name} twice")
        once |= {name} & _ONCE
        try:
            value = (found[2] or b"").decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed(f"its record {commit.short} is no UTF-8") from None
        if name in _READ:
            footers.append((name, value))
        else:
            others.update(line + b"\n")
    return tuple(footers), others.hexdigest()
