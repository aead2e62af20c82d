"""Whether a merged change was reviewed as the policy asks: judged from its replayed history, never by Gerrit's word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdlib.review_policy import ReviewPolicy
from cdlib.trust.history import History, Patchset, Vote, origin
from cdlib.trust.identity import People
from cdlib.trust.notedb import NOBODY, Server
from cdlib.trust.objects import Commit, Malformed
from cdlib.trust.replay import SUBMIT_TRAILERS, Question, is_replay, same_code
from cdlib.trust.signed import Approvals, Signing

ANSWER = "look at it, and answer for it by adding the commit to the service's review.accept in targets.yaml"
_UNMET = ("NOT_READY", "CLOSED", "RULE_ERROR", "NEED", "REJECT", "IMPOSSIBLE")  # of Gerrit's submit records
_VETO = 2  # a vote as far below zero stops a change, where its label is not asked for


@dataclass(frozen=True)
class Problem:
    """A link that broke: which, in what way, and what would satisfy it."""

    link: str
    text: str
    remedy: str = ANSWER


@dataclass(frozen=True)
class Law:
    """What a change is judged by. With `signing` it needs an approver's signature as well."""

    policy: ReviewPolicy
    people: People
    server: Server
    signing: Signing | None = None


@dataclass(frozen=True)
class Case:
    """A change that merged as `history.merged`.

    `commits` has every patchset up to that one, `trees` what replays must give, and `results` what Gerrit wrote of
    its submit requirements; None where it wrote nothing. `approvals` are those that were signed.
    """

    history: History
    commits: Mapping[str, Commit]
    trees: Mapping[Question, str]
    results: Sequence[Mapping[str, Any]] | None = None
    approvals: Approvals = field(default_factory=dict)


@dataclass
class Finding:
    """What a judgement found."""

    voters: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def judge(case: Case, law: Law) -> Finding:
    """Every way in which the change falls short, and whose votes counted."""
    found = Finding()
    reviewed = case.history.reviewed
    if reviewed is None:
        found.problems.append(Problem("records", "no patchset of it was there before the merge made one"))
        return found
    try:
        involved, strangers = _involved(case, reviewed, law)
    except (KeyError, Malformed) as problem:
        found.problems.append(Problem("records", f"a patchset cannot be read: {problem}"))
        return found
    found.problems += [*_submission(case.history), *strangers, *_replayed(case, reviewed), *_requirements(case)]
    found.problems += _vetoes(case.history, reviewed, law)
    for label, needed in law.policy.votes.items():
        _count(_Ballot(case, law, reviewed, label, needed, involved), found)
    if law.signing is not None:
        _require_signature(case, law, law.signing, involved, found)
    return found


def _submission(history: History) -> Iterator[Problem]:
    assert history.submission is not None
    conditions = history.submission.conditions
    unmet = [line for line in conditions if line.partition(" ")[0].rstrip(":") in _UNMET]
    if not conditions:
        yield Problem("submission", "it was not submitted: somebody pushed it to the branch, and Gerrit closed it")
    elif history.submission.forced:
        yield Problem("submission", "it was forced: somebody pushed it with %submit, past the conditions")
    elif unmet or conditions[0] != "OK":
        said = (unmet or conditions)[0]
        yield Problem("submission", f"Gerrit submitted it as {said[:40]!r}, not as OK")


def _involved(case: Case, reviewed: Patchset, law: Law) -> tuple[dict[str, str], list[Problem]]:
    """What everybody had to do with it who may not vote, up to the reviewed patchset; and mails that are nobody's."""
    involved, strangers = dict[str, str](), list[Problem]()
    for patchset in case.history.patchsets.values():
        if patchset.number > reviewed.number:
            continue
        commit = case.commits[patchset.commit]
        for account in (patchset.uploader, patchset.real):
            involved.setdefault(law.people.person(account), f"uploaded patchset {patchset.number}")
        for role, line in (("author", commit.author), ("committer", commit.committer)):
            mail = commit.person(line).mail
            if role == "committer" and mail == law.server.mail:
                continue  # Gerrit itself, as it makes a revert
            owners = law.people.owners(mail)
            for owner in owners:
                involved.setdefault(owner, f"is the {role} of patchset {patchset.number}")
            if not owners:
                strangers.append(_stranger(role, patchset.number, mail))
    return involved, strangers


def _stranger(role: str, number: int, mail: str) -> Problem:
    return Problem(
        "identity",
        f"the {role} of patchset {number} is nobody's mail: {mail[:100]!r}. Anybody could be that, its approver too",
        "add the mail to its owner's account in Gerrit, and export the table of accounts again",
    )


def _replayed(case: Case, reviewed: Patchset) -> Iterator[Problem]:
    """Whether what merged is what was reviewed, put on top of the branch."""
    merged = case.history.merged
    assert merged is not None
    if merged.number == reviewed.number:
        return
    trailers = {*SUBMIT_TRAILERS, *(label for _, label, _ in case.history.votes)}
    if not is_replay(case.commits[reviewed.commit], case.commits[merged.commit], case.trees, trailers):
        yield Problem(
            "replay",
            f"patchset {merged.number}, which merged, is not patchset {reviewed.number}, which was reviewed, on a "
            "newer base: computed again, it comes out as something else",
        )


def _requirements(case: Case) -> Iterator[Problem]:
    """What Gerrit's own requirements say beyond votes: whether somebody went past one."""
    if case.results is None:
        yield Problem("requirements", "Gerrit has written down no result of its submit requirements")
        return
    for result in case.results:
        name = str(_part(result, "submitRequirement").get("name", "?"))[:80]
        if _part(result, "forced").get("value"):
            yield Problem("requirements", f"the submit requirement {name!r} was forced")
        elif _status(result, "applicability") != "FAIL" and _status(result, "submittability") != "PASS":
            how = "overridden" if _status(result, "override") == "PASS" else "not met"
            yield Problem("requirements", f"the submit requirement {name!r} was {how}")


def _status(result: Mapping[str, Any], kind: str) -> object:
    """What became of an expression. Gerrit writes what may be missing as `{}`, or else below `value`."""
    found = _part(result, f"{kind}ExpressionResult")
    return (_part(found, "value") or found).get("status")


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _vetoes(history: History, reviewed: Patchset, law: Law) -> Iterator[Problem]:
    for (number, label, account), vote in history.votes.items():
        if number == reviewed.number and vote.value <= -law.policy.votes.get(label, _VETO):
            text = f"{law.people.name(account)} has vetoed it by {label} {vote.value:+d}"
            yield Problem("veto", text)


@dataclass(frozen=True)
class _Ballot:
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


def _count(ballot: _Ballot, found: Finding) -> None:
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


def _require_signature(case: Case, law: Law, signing: Signing, involved: Mapping[str, str], found: Finding) -> None:
    """One signature by an approver who had nothing else to do with the change."""
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
    account = next((each.id for each in law.people.accounts.values() if each.username == name), None)
    if name not in law.policy.approvers:
        return "is not on the list"
    if account is None or not law.people.active(account):
        return "has no account, or a disabled one"
    return involved.get(law.people.person(account), "")


def _person(people: People, username: str) -> str:
    account = next((each.id for each in people.accounts.values() if each.username == username), None)
    return username if account is None else people.person(account)
