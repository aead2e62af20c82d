"""Which signed approvals lie on the changes that are judged, and who gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cdlib.trust.approval import Approval, Signature, Signers, comments_in, find, signer, why_not, worth_verifying
from cdlib.trust.encoding import Unsound
from cdlib.trust.history import History
from cdlib.trust.objects import Repository
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
    found = {change: worth_verifying(find(said), wanted[change], signing.signers) for change, said in texts.items()}
    return {change: _judged(said, wanted[change], signing.signers, repository) for change, said in found.items()}


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


def _judged(found: list[Signature], wanted: list[Approval], signers: Signers, repository: Repository) -> Approvals:
    """Each signer's best word: one that counts before any that does not."""
    judged: dict[str, str] = {}
    for signature in found:
        try:
            name = signer(signature, signers, repository.deadline)
        except Unsound as problem:
            judged.setdefault("somebody", str(problem))
            continue
        reasons = [why_not(signature.approval, each) for each in wanted]
        why = reasons[0] if all(reasons) else ""
        judged[name] = why if judged.get(name, why) else ""
    return judged
