"""Which votes and which signatures count for a change: those of people who are on the list, and had no other part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdlib.trust.case import ANSWER, Case, Finding, Law, Problem
from cdlib.trust.history import Patchset, Vote, origin
from cdlib.trust.identity import People
from cdlib.trust.notedb import NOBODY
from cdlib.trust.replay import is_replay, same_code
from cdlib.trust.signed import Signing


@dataclass(frozen=True)
class Ballot:
    """The votes on one label."""

    case: Case
    law: Law
    reviewed: Patchset
    label: str
    needed: int
    involved: Mapping[str, str]

    def votes(self) -> list[Vote]:
        """Those on the reviewed patchset that are high enough."""
        votes = self.case.history.votes.values()
        return [vote for vote in votes if (vote.patchset, vote.label) == (self.reviewed.number, self.label)
                and vote.value >= self.needed]  # fmt: skip

    def why_not(self, vote: Vote) -> str:
        """Why a vote does not count; empty where it does."""
        people, name = self.law.people, self.law.people.name(vote.account)
        if vote.account == NOBODY or name not in self.law.policy.voters(self.label):
            return f"{name} is not on the list"
        if vote.on_behalf:
            return f"{people.name(vote.real)} cast it in {name}'s name"
        if (done := self.involved.get(people.person(vote.account))) is not None:
            return f"{name} {done}"
        if not people.active(vote.account):
            return f"{name}'s account is disabled"
        return self._why_not_for_this(vote)

    def _why_not_for_this(self, vote: Vote) -> str:
        """Why a vote does not mean this patchset on this branch."""
        history = self.case.history
        cast = origin(history, vote) if vote.copied else vote
        if cast is None:
            return "it is a copy of a vote that nobody cast so"
        if cast.branch != history.branch:
            return f"it was cast for {cast.branch}, before the change was moved to {history.branch}"
        old, new = (self.case.commits[history.patchsets[n].commit] for n in (cast.patchset, self.reviewed.number))
        machine = self.label in self.law.policy.verifications and self.label not in self.law.policy.approvals
        if is_replay(old, new, self.case.trees) or (machine and same_code(old, new)):
            return ""
        return f"it was cast on patchset {cast.patchset}, and patchset {vote.patchset} is not that on another base"


def count(ballot: Ballot, found: Finding) -> None:
    """Add to `found` the first vote that counts, or why none does."""
    people, wanted = ballot.law.people, f"{ballot.label} {ballot.needed:+d}"
    reasons = []
    for vote in ballot.votes():
        name = people.name(vote.account)
        if reason := ballot.why_not(vote):
            reasons.append(f"{name}'s {vote.value:+d} does not count, since {reason}")
        else:
            found.voters.append(f"{ballot.label}{vote.value:+d} {name}")
            return
    said = "; ".join(reasons) or f"nobody has voted so on patchset {ballot.reviewed.number}"
    fit = sorted(n for n in ballot.law.policy.voters(ballot.label) if _person(people, n) not in ballot.involved)
    who = ", ".join(fit) or "somebody else, who must first be added to the list in targets.yaml"
    found.problems.append(
        Problem("votes", f"{wanted} is missing: {said}", f"it needed {wanted} of {who}; now {ANSWER}")
    )


def require_signature(case: Case, law: Law, signing: Signing, involved: Mapping[str, str], found: Finding) -> None:
    """Add to `found` one signature by an approver who had nothing else to do with the change, or why there is none."""
    reasons = []
    for name, problem in case.approvals.items():
        if reason := problem or _no_signer(law, name, involved):
            reasons.append(f"{name}'s does not count, since it {reason}" if problem else f"{name} {reason}")
        else:
            found.voters.append(f"signed {name}")
            return
    said = "; ".join(reasons) or "nobody has signed it"
    fit = sorted(name for name in set(signing.signers.names.values()) if not _no_signer(law, name, involved))
    act = f"cd-approve {case.history.change} -e {signing.environment}"
    remedy = f"let {' or '.join(fit) or 'somebody'} run: {act}; then run this again, and the deploy"
    found.problems.append(
        Problem("signature", f"a signed approval for {signing.environment} is missing: {said}", remedy)
    )


def _no_signer(law: Law, name: str, involved: Mapping[str, str]) -> str:
    """Why somebody's signature does not count, whatever it says; empty where it does."""
    account = law.people.named(name)
    if name not in law.policy.approvers:
        return "is not on the list"
    if account is None or not account.active:
        return "has no account, or a disabled one"
    return involved.get(law.people.person(account.id), "")


def _person(people: People, username: str) -> str:
    account = people.named(username)
    return username if account is None else people.person(account.id)
