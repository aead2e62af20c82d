"""Which signed approvals lie on the changes that are judged, and who gave them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cdlib.sidebyside import side_by_side
from cdlib.trust.approval import Approval, Signature, Signers, comments_in, find, signer, why_not, worth_verifying
from cdlib.trust.encoding import Unsound
from cdlib.trust.history import History
from cdlib.trust.objects import TOO_LARGE, Repository
from cdlib.trust.records import Records

Approvals = Mapping[str, str]  # by username: why it does not count, empty where it does


@dataclass(frozen=True)
class Signing:
    """That every change needs an approver's signature as well: for this project and environment."""

    project: str
    environment: str
    signers: Signers


def read_approvals(repository: Repository, records: Records, signing: Signing) -> dict[int, Approvals]:
    """What was signed on each change, by its newest records: a signature counts also where it came after the merge."""
    wanted: dict[int, list[Approval]] = {}
    for approval in _wanted(records, signing):
        wanted.setdefault(approval.change, []).append(approval)
    names = {name: change for change, each in wanted.items() for approval in each for name in _notes(approval)}
    texts: dict[int, list[str]] = {}
    for name, raw in repository.read(names, "blob"):
        texts.setdefault(names[name], []).extend(comments_in([raw]))
    found = [
        (change, signature)
        for change, said in texts.items()
        for signature in worth_verifying(find(said), wanted[change], signing.signers)
    ]

    def who(each: tuple[int, Signature]) -> str | Unsound:
        try:
            return signer(each[1], signing.signers, repository.deadline)
        except Unsound as problem:
            return problem

    # Each is a program that runs for some milliseconds, nearly all of which it computes.
    signed = zip(found, side_by_side(who, found, workers=(os.cpu_count() or 1) + 1), strict=True)
    judged: dict[int, dict[str, str]] = {change: {} for change in texts}
    for name in repository.too_large(names, "blob"):
        judged.setdefault(names[name], {})["somebody"] = f"cannot be read: {TOO_LARGE}"
    for (change, signature), whose in signed:
        _judge(judged[change], signature.approval, whose, wanted[change])
    return {**judged}


def _wanted(records: Records, signing: Signing) -> Iterator[Approval]:
    """What may have been signed: each change as it was reviewed, or as it merged, which is judged to be the same."""
    now = datetime.now(UTC)
    histories = [history for history in records.histories.values() if isinstance(history, History)]
    for history in histories:
        for patchset in dict.fromkeys(filter(None, (history.reviewed, history.merged))):
            if patchset.commit in records.commits:
                tree = records.commits[patchset.commit].tree
                yield Approval(signing.project, history.change, patchset.number, patchset.commit, tree,
                               signing.environment, now)  # fmt: skip


def _notes(approval: Approval) -> Iterator[str]:
    """Where Gerrit keeps the comments on the patchset; git spreads notes over folders where there are very many."""
    tip, commit = f"refs/changes/{approval.change % 100:02}/{approval.change}/meta", approval.commit
    yield f"{tip}:{commit}"
    yield f"{tip}:{commit[:2]}/{commit[2:]}"


def _judge(judged: dict[str, str], approval: Approval, name: str | Unsound, wanted: Sequence[Approval]) -> None:
    """Add a signer's word to `judged`, where the best one stays: one that counts before any that does not."""
    if isinstance(name, Unsound):
        judged.setdefault("somebody", str(name))
        return
    reasons = [why_not(approval, each) for each in wanted]
    why = reasons[0] if all(reasons) else ""
    judged[name] = why if judged.get(name, why) else ""
