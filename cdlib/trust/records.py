"""All that is needed to judge some commits, read from the mirror in a few batches."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from cdlib.errors import Refused
from cdlib.trust.history import History, origin, replay
from cdlib.trust.notedb import Refs, Server, read_chains, read_refs
from cdlib.trust.objects import TOO_LARGE, Commit, Malformed, Repository
from cdlib.trust.replay import Merged, Question, compute, question

_ANSWER = "review.accept in targets.yaml takes a commit out of them, and a newer review.since all before it"
_MOST = 128 * 2**20  # bytes of commits that are kept at once; ten thousand usual ones have less than a tenth


@dataclass(frozen=True)
class Records:
    """The commits with their changes, patchsets, recomputed trees and Gerrit's own results.

    `commits` has those wanted, and the patchsets that are compared; `outlines` have every patchset up to the reviewed
    one, without its message. `holders` has the changes and patchsets that each commit is; `histories` every such
    change, or what is wrong with it; so has `results`.
    """

    commits: Mapping[str, Commit]
    outlines: Mapping[str, Commit]
    holders: Mapping[str, Sequence[tuple[int, int]]]
    histories: Mapping[int, History | Malformed]
    trees: Mapping[Question, str]
    results: Mapping[int, list[dict[str, Any]] | Malformed]


def read_records(repository: Repository, wanted: Sequence[str], server: Server) -> Records:
    """What Gerrit and git know of the `wanted` commits."""
    refs = read_refs(repository.refs("refs/changes/"))
    every = refs.holders
    holders = {commit: every[commit] for commit in wanted if commit in every}
    histories = _histories(repository, refs, {change for held in holders.values() for change, _ in held}, server)
    merged = [history for history in histories.values() if isinstance(history, History) and history.submission]
    whole = {*wanted, *(name for history in merged for name in _compared(history))}
    patchsets = [patchset.commit for history in merged for patchset in history.seen]
    commits, outlines = _read_commits(repository, whole, patchsets)
    questions = list(_questions(wanted, commits, merged))
    bases = {base for asked in questions for base in _bases(asked, commits)} - outlines.keys()
    trees = compute(repository, questions, outlines | _read_commits(repository, (), bases)[1])
    return Records(commits, outlines, holders, histories, trees, _results(repository, merged))


def _read_commits(
    repository: Repository, whole: Collection[str], others: Iterable[str]
) -> tuple[dict[str, Commit], dict[str, Commit]]:
    """The commits that are wanted whole, and the outlines of them all, which have no message.

    A change has up to a thousand patchsets, each with as long a message as its author likes. Raises Refused where
    even what has to be kept is too much.
    """
    found, outlines, left = dict[str, Commit](), dict[str, Commit](), _MOST
    for commit in repository.commits([*whole, *others]):
        outlines[commit.id] = replace(commit, message=b"", more=())
        if commit.id in whole:
            found[commit.id] = commit
        left -= _weight(found.get(commit.id, outlines[commit.id]))
        if left < 0:
            text = f"the commits to be judged, and their patchsets, have more than {_MOST // 2**20} MiB of text"
            raise Refused(text, hint=f"{commit.short} is one of them: look at its change, and answer for it; {_ANSWER}")
    return found, outlines


def _weight(commit: Commit) -> int:
    """How many bytes are kept of a commit, about; the id of a parent takes 100."""
    return sum(map(len, (commit.author, commit.committer, commit.message, *commit.more))) + 100 * len(commit.parents)


def _histories(
    repository: Repository, refs: Refs, changes: Iterable[int], server: Server
) -> dict[int, History | Malformed]:
    wanted = sorted(changes)
    chains = read_chains(repository, [refs.metas[change] for change in wanted if change in refs.metas], server)
    return {change: _history(refs, chains, change, server) for change in wanted}


def _history(refs: Refs, chains: Mapping[str, Any], change: int, server: Server) -> History | Malformed:
    chain = chains.get(refs.metas.get(change, ""), Malformed("there are none"))
    if isinstance(chain, Malformed):
        return chain
    try:
        return replay(change, chain, refs.patchsets[change], server)
    except Malformed as problem:
        return problem


def _questions(
    wanted: Sequence[str],
    commits: Mapping[str, Commit],
    histories: Sequence[History],
) -> Iterator[Question]:
    """Every merge, rebase and cherry-pick that the verdicts depend on."""
    for name in wanted:
        if name in commits and len(commits[name].parents) == 2:
            yield Merged(*commits[name].parents)
    for history in histories:
        for old, new in _replays(history):
            if old in commits and new in commits and (found := question(commits[old], commits[new])):
                yield found


def _compared(history: History) -> Iterator[str]:
    """The patchsets that have to be the same change on two bases, and so are read whole."""
    yield from (patchset.commit for patchset in (history.reviewed, history.merged) if patchset)
    yield from (name for pair in _replays(history) for name in pair)


def _bases(asked: Question, commits: Mapping[str, Commit]) -> tuple[str, ...]:
    """The commits that answering takes beside the ones that are compared."""
    return astuple(asked) if isinstance(asked, Merged) else (asked.onto, *commits[asked.commit].parents)


def _replays(history: History) -> Iterator[tuple[str, str]]:
    """What should be the same change on two bases: as reviewed and as merged, as voted on and as copied to."""
    merged, reviewed = history.merged, history.reviewed
    if not merged or not reviewed:
        return
    yield reviewed.commit, merged.commit
    for vote in history.votes.values():
        if vote.copied and vote.patchset == reviewed.number and (cast := origin(history, vote)):
            yield history.patchsets[cast.patchset].commit, reviewed.commit


def _results(repository: Repository, histories: Sequence[History]) -> dict[int, list[dict[str, Any]] | Malformed]:
    """What Gerrit wrote down of its submit requirements as each change merged: by reviewed or merged commit."""
    names = {name: history.change for history in histories for name in _notes(history)}
    found: dict[int, list[dict[str, Any]]] = {}
    for name, raw in repository.read(names, "blob"):
        results = _parse(raw)
        if results:
            found.setdefault(names[name], []).extend(results)
    return {**found, **{names[name]: Malformed(TOO_LARGE) for name in repository.too_large(names, "blob")}}


def _notes(history: History) -> Iterator[str]:
    if history.submission is None:
        return
    for patchset in (history.reviewed, history.merged):
        if patchset:
            yield f"{history.submission.record}:{patchset.commit}"
            # git spreads notes over folders where there are very many
            yield f"{history.submission.record}:{patchset.commit[:2]}/{patchset.commit[2:]}"


def _parse(raw: bytes) -> list[dict[str, Any]]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return [{}]  # it says nothing that could pass
    results = document.get("submitRequirementResults") if isinstance(document, dict) else None
    if results is None:
        return []
    return results if isinstance(results, list) and all(isinstance(each, dict) for each in results) else [{}]
