"""All that is needed to judge some commits, read from the mirror in a few batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdlib.trust.history import History, origin, replay
from cdlib.trust.notedb import Refs, Server, read_chains, read_refs
from cdlib.trust.objects import Commit, Malformed, Repository
from cdlib.trust.replay import Merged, Question, compute, question


@dataclass(frozen=True)
class Records:
    """The commits with their changes, patchsets, recomputed trees and Gerrit's own results.

    `holders` has the changes and patchsets that each commit is; `histories` every such change, or what is
    wrong with it.
    """

    commits: Mapping[str, Commit]
    holders: Mapping[str, Sequence[tuple[int, int]]]
    histories: Mapping[int, History | Malformed]
    trees: Mapping[Question, str]
    results: Mapping[int, list[dict[str, Any]]]


def read_records(repository: Repository, wanted: Sequence[str], server: Server) -> Records:
    """What Gerrit and git know of the `wanted` commits."""
    refs = read_refs(repository.refs("refs/changes/"))
    every = refs.holders
    holders = {commit: every[commit] for commit in wanted if commit in every}
    histories = _histories(repository, refs, {change for held in holders.values() for change, _ in held}, server)
    sound = [history for history in histories.values() if isinstance(history, History)]
    patchsets = [patchset.commit for history in sound for patchset in history.patchsets.values()]
    commits = repository.commits([*wanted, *patchsets])
    questions = list(_questions(wanted, commits, sound))
    parents = {parent for commit in commits.values() for parent in commit.parents}
    commits |= repository.commits(parents - commits.keys())
    return Records(commits, holders, histories, compute(repository, questions, commits), _results(repository, sound))


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


def _replays(history: History) -> Iterator[tuple[str, str]]:
    """What should be the same change on two bases: as reviewed and as merged, as voted on and as copied to."""
    merged, reviewed = history.merged, history.reviewed
    if not merged or not reviewed:
        return
    yield reviewed.commit, merged.commit
    for vote in history.votes.values():
        if vote.copied and vote.patchset == reviewed.number and (cast := origin(history, vote)):
            yield history.patchsets[cast.patchset].commit, reviewed.commit


def _results(repository: Repository, histories: Sequence[History]) -> dict[int, list[dict[str, Any]]]:
    """What Gerrit wrote down of its submit requirements as each change merged: by reviewed or merged commit."""
    names = {name: history.change for history in histories for name in _notes(history)}
    found: dict[int, list[dict[str, Any]]] = {}
    for name, raw in repository.read(names, "blob"):
        results = _parse(raw)
        if results:
            found.setdefault(names[name], []).extend(results)
    return found


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
