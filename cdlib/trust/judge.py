"""Whether a merged change was reviewed as the policy asks: judged from its replayed history, never by Gerrit's word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cdlib.trust.ballot import Ballot, count, require_signature
from cdlib.trust.case import Case, Finding, Law, Problem
from cdlib.trust.history import History, Patchset
from cdlib.trust.objects import Malformed
from cdlib.trust.replay import CONFLICT, SUBMIT_TRAILERS, is_replay, question

_UNMET = ("NOT_READY", "CLOSED", "RULE_ERROR", "NEED", "REJECT", "IMPOSSIBLE")  # of Gerrit's submit records
_VETO = 2  # a vote as far below zero stops a change, where its label is not asked for


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
        count(Ballot(case, law, reviewed, label, needed, involved), found)
    if law.signing is not None:
        require_signature(case, law, law.signing, involved, found)
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
    for patchset in case.history.seen:
        commit = case.outlines[patchset.commit]
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
    old, new = case.commits[reviewed.commit], case.commits[merged.commit]
    if not is_replay(old, new, case.trees, trailers):
        asked = question(old, new)
        clean = asked is None or asked in case.trees
        yield Problem(
            "replay",
            f"patchset {merged.number}, which merged, is not patchset {reviewed.number}, which was reviewed, on a "
            f"newer base: computed again, it {'comes out as something else' if clean else f'is {CONFLICT}'}",
        )


def _requirements(case: Case) -> Iterator[Problem]:
    """What Gerrit's own requirements say beyond votes: whether somebody went past one."""
    if case.results is None:
        yield Problem("requirements", "Gerrit has written down no result of its submit requirements")
        return
    if isinstance(case.results, Malformed):
        yield Problem("requirements", f"Gerrit's results of its submit requirements cannot be read: {case.results}")
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
