"""What never changes in Gerrit, and has: records rewritten or gone, patchsets moved. Some of it is innocent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cdlib.errors import Unavailable
from cdlib.trust.history import History, replay
from cdlib.trust.notedb import Entry, Refs, Server, read_chains, read_refs
from cdlib.trust.objects import Malformed, Repository

ASIDE = "refs/cd/rewritten/"  # where a rewritten record is fetched to, by its change's number
_STATUS = "%H %P|%(trailers:key=Status,valueonly,unfold,separator=%x2C)"  # a record, those before it, and what it says
_ACCEPT = "find out who did it and why; once it is innocent, take it over into the mirror as docs/trust.md shows"


@dataclass(frozen=True)
class Alarm:
    """One such change. `kind` is one of `moved`, `gone`, `dropped`, `redacted`, `rewritten`.

    Where it `stops`, nothing of the project may be deployed until a person has looked: somebody has written into the
    server's repositories. The others concern their own change only.
    """

    change: int
    kind: str
    text: str
    stops: bool
    remedy: str = _ACCEPT


def find(repository: Repository, kept: Mapping[str, str], listed: Mapping[str, str], server: Server) -> list[Alarm]:
    """What differs between the mirror's refs (`kept`) and the server's (`listed`) in a way that Gerrit has no need of.

    Rewritten records have been fetched to ASIDE by then.
    """
    ours, theirs = read_refs(dict(kept)), read_refs(dict(listed))
    rewritten = [change for change, tip in theirs.metas.items() if ours.metas.get(change, tip) != tip]
    gone = [change for change in ours.metas if change not in theirs.metas]
    aside = {int(name.removeprefix(ASIDE)): tip for name, tip in repository.refs(ASIDE).items()}
    tips = [ours.metas[change] for change in (*rewritten, *gone)]
    chains = read_chains(repository, [*tips, *(aside[c] for c in rewritten if c in aside)], server)
    for change in rewritten:
        _require_fetched(change, ours.metas[change], chains.get(aside.get(change, "")))
    alarms = [_rewritten(change, chains[ours.metas[change]], chains.get(aside.get(change, ""))) for change in rewritten]
    histories = {change: _history(change, ours, chains[ours.metas[change]], server) for change in gone}
    said = _say_merged(repository, [ours.metas[change] for change, history in histories.items() if history is None])
    alarms += [
        _gone(change, history.submission is not None if history else ours.metas[change] in said)
        for change, history in histories.items()
    ]
    return [*alarms, *_moved(ours, theirs)]


def _require_fetched(change: int, old: str, new: list[Entry] | Malformed | None) -> None:
    if isinstance(new, list) and old in (entry.id for entry in new):
        raise Unavailable(f"the new records of change {change} did not arrive whole", hint="run this again")


def _rewritten(change: int, old: list[Entry] | Malformed, new: list[Entry] | Malformed | None) -> Alarm:
    """A comment that an administrator deleted leaves every footer as it was; anything else is an attack."""
    if isinstance(old, list) and isinstance(new, list) and _same(old, new):
        text = f"Gerrit's records of change {change} were rewritten, to all appearance to delete a comment"
        return Alarm(change, "redacted", text, stops=False)
    text = f"Gerrit's records of change {change} were rewritten: they say other things than they did"
    return Alarm(change, "rewritten", text, stops=True)


def _same(old: list[Entry], new: list[Entry]) -> bool:
    def said(entry: Entry) -> tuple[object, ...]:
        return entry.account, entry.real, entry.when, entry.footers, entry.others

    return [said(e) for e in old] == [said(e) for e in new[: len(old)]]


def _history(change: int, refs: Refs, chain: list[Entry] | Malformed, server: Server) -> History | None:
    """What the mirror has kept of a change; None where that cannot be read."""
    try:
        return None if isinstance(chain, Malformed) else replay(change, chain, refs.patchsets.get(change, {}), server)
    except Malformed:
        return None


def _gone(change: int, merged: bool) -> Alarm:
    """A change that never merged may be deleted, or hidden; one that did may not."""
    if merged:
        return Alarm(change, "gone", f"Gerrit's records of change {change}, which was merged, are gone", stops=True)
    return Alarm(change, "dropped", f"change {change}, which was not merged, is no longer to be seen", stops=False)


def _say_merged(repository: Repository, tips: Collection[str]) -> set[str]:
    """Those of the tips whose records, whatever else they say and however long they are, say that the change merged.

    git reads the last paragraph only, as Gerrit does: what people type stands before it, and may say anything.
    """
    if not tips:
        return set()
    listed = repository.git(
        "log",
        "--topo-order",
        "--reverse",
        f"--format={_STATUS}",
        "--stdin",
        stdin="".join(f"{tip}\n" for tip in tips).encode(),
    )
    merged = set[str]()
    for line in listed.decode("utf-8", "replace").split("\n")[:-1]:
        names, _, said = line.partition("|")
        record, *before = names.split()
        if "merged" in said.split(",") or merged & {*before}:
            merged.add(record)
    return merged & {*tips}


def _moved(ours: Refs, theirs: Refs) -> list[Alarm]:
    return [
        Alarm(
            change, "moved", f"patchset {number} of change {change} was {commit[:12]}, and is something else now", True
        )
        for change, patchsets in ours.patchsets.items()
        if change in theirs.metas
        for number, commit in patchsets.items()
        if theirs.patchsets.get(change, {}).get(number) != commit
    ]
