"""Whether every commit that a deploy brings was reviewed: each between what is live and what is to come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cdlib.errors import Refused, UsageProblem
from cdlib.trust.case import ANSWER, Case, Finding, Law, Problem
from cdlib.trust.history import History
from cdlib.trust.judge import judge
from cdlib.trust.objects import OBJECT, Commit, Malformed, Repository
from cdlib.trust.records import Records, read_records
from cdlib.trust.replay import CONFLICT, Merged
from cdlib.trust.signed import Approvals, read_approvals
from cdlib.trust.tampering import Alarm

_TOLD = 20  # problems that a refusal lists; the verdicts have them all


@dataclass(frozen=True)
class Request:
    """What is to be authorized: `commit` of the branch, where `live` is what runs now; empty where nothing does.

    `authorized` are commits that were authorized before, and stay so.
    """

    commit: str
    live: str = ""
    authorized: Collection[str] = ()


@dataclass(frozen=True)
class Verdict:
    """What became of one commit.

    `basis` is `change`, `merge` (of two commits that are judged themselves), `authorized` (before), `accepted` (by the
    operators) or, where it is refused, empty. `voters` are those whose votes counted, `records` the tips of Gerrit's
    records by which another mirror can judge again.
    """

    commit: str
    basis: str
    change: int = 0
    patchset: int = 0
    voters: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether it may not be deployed."""
        return not self.basis

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"verdict": "refused" if self.refused else "accepted", **asdict(self)}


def authorize(repository: Repository, request: Request, law: Law, alarms: Sequence[Alarm] = ()) -> list[Verdict]:
    """The verdicts on every commit of the request, oldest first. Raises Refused where any is refused.

    `alarms` are what the mirror has found changed that never changes. Reads the mirror as it is.
    """
    verdicts = review(repository, request, law, alarms)
    require(verdicts)
    return verdicts


def review(repository: Repository, request: Request, law: Law, alarms: Sequence[Alarm] = ()) -> list[Verdict]:
    """As `authorize`, and refused commits are among the verdicts. Raises Refused where there is nothing to judge by."""
    for name in filter(None, (request.commit, request.live)):
        if not OBJECT.match(name):
            raise UsageProblem(f"{name!r} is no whole commit id", hint="give all of its 40 characters")
    for alarm in alarms:
        if alarm.stops:
            raise Refused(alarm.text, hint=alarm.remedy)
    commits = carried(repository, request, law)
    known = {*request.authorized, *law.policy.accept}
    records = read_records(repository, [each for each in commits if each not in known], law.server)
    approvals = read_approvals(repository, records, law.signing) if law.signing else {}
    court = Court(records, law, request, {alarm.change: alarm for alarm in alarms}, approvals)
    return [court.verdict(commit) for commit in commits]


def require(verdicts: Sequence[Verdict]) -> None:
    """Raise Refused where a commit is refused; it tells of the first, and lists the others."""
    lines = [f"{_name(verdict)}: {problem.text}" for verdict in verdicts for problem in verdict.problems]
    if not lines:
        return
    first = next(verdict for verdict in verdicts if verdict.problems)
    remedies = dict.fromkeys(problem.remedy for problem in first.problems)
    more = [f"and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    raise Refused(lines[0], hint="; ".join(remedies), details=[*lines[:_TOLD], *more])


def _name(verdict: Verdict) -> str:
    change = f" (change {verdict.change}, patchset {verdict.patchset})" if verdict.change else ""
    return f"commit {verdict.commit[:12]}{change}"


def carried(repository: Repository, request: Request, law: Law) -> list[str]:
    """Every commit after what is live, or after the first that is believed, up to the one wanted; parents first."""
    since = law.policy.since
    if since and not repository.ask("cat-file", "-e", f"{since}^{{commit}}").ok:
        raise UsageProblem(
            f"review.since, {since[:12]}, is no commit of the project",
            hint=f"name a commit on the branch {law.policy.branch} in the service's review.since in targets.yaml",
        )
    known = [start for start in (request.live, since) if start]
    if not known:
        raise Refused(
            f"nothing is live, and no commit is named from which on reviews count before {request.commit[:12]}",
            hint="set the service's review.since in targets.yaml to a commit that an operator answers for",
        )
    for older, newer, text in [
        (request.commit, f"refs/heads/{law.policy.branch}", f"is not on the branch {law.policy.branch}"),
        *(
            (start, request.commit, f"does not follow {start[:12]}, from which on reviews are checked")
            for start in known
        ),
    ]:
        if not repository.ask("merge-base", "--is-ancestor", "--end-of-options", older, newer).ok:
            raise Refused(
                f"commit {request.commit[:12]} {text}", hint="deploy what is on the branch, or roll back by hand"
            )
    names = "".join(f"{name}\n" for name in (request.commit, *(f"^{start}" for start in known)))
    listed = repository.git("rev-list", "--topo-order", "--reverse", "--stdin", stdin=names.encode())
    return listed.decode().split()


@dataclass(frozen=True)
class Court:
    """Gives the verdict on each commit."""

    records: Records
    law: Law
    request: Request
    alarms: Mapping[int, Alarm]
    approvals: Mapping[int, Approvals] = field(default_factory=dict)

    def verdict(self, commit: str) -> Verdict:
        if commit in self.request.authorized:
            return Verdict(commit, "authorized")
        if commit in self.law.policy.accept:
            return Verdict(commit, "accepted")
        found = self.records.commits.get(commit)
        if found is None:
            return self._refused(commit, Problem("commit", "it is larger than a commit may be, or cannot be read"))
        holders = self.records.holders.get(commit, [])
        merged = [change for change, _ in holders if self._merged_as(change, commit)]
        unreadable = [c for c, _ in holders if isinstance(self.records.histories[c], Malformed)]
        if merged:
            # Anybody may push the commit again, and make that unreadable: of no account where one change suffices.
            here = [change for change in merged if self._may_be_here(self.records.histories[change])]
            return self._changes(commit, here or [*unreadable, *merged])
        if len(found.parents) == 2 and self.records.trees.get(Merged(*found.parents)) == found.tree:
            return Verdict(commit, "merge")  # what Gerrit makes as it submits; both sides are judged themselves
        if unreadable:
            return self._changes(commit, unreadable)
        if len(found.parents) == 2 and not holders:
            return self._refused(commit, self._merge(found))
        change, patchset = min(holders, key=lambda held: held[0] not in self.alarms, default=(0, 0))
        return self._refused(commit, self._unreviewed(change, patchset), change, patchset)

    def _merged_as(self, change: int, commit: str) -> bool:
        """Whether the change merged as this commit, by records that can be read."""
        history = self.records.histories[change]
        return isinstance(history, History) and history.merged is not None and history.merged.commit == commit

    @property
    def _branches(self) -> list[str]:
        return [f"refs/heads/{name}" for name in (self.law.policy.branch, *self.law.policy.merged_from)]

    def _may_be_here(self, history: History | Malformed) -> bool:
        """Whether the change was for this branch; the same commit may have been reviewed for another one as well."""
        return isinstance(history, Malformed) or history.branch in self._branches

    def _changes(self, commit: str, changes: Sequence[int]) -> Verdict:
        """The verdict by the changes that merged as this commit; nearly always one."""
        findings = [self._finding(change) for change in changes]
        history = self.records.histories[changes[0]]
        reviewed = history.reviewed if isinstance(history, History) else None
        problems = tuple(problem for finding in findings for problem in finding.problems)
        return Verdict(
            commit=commit,
            basis="" if problems else "change",
            change=changes[0],
            patchset=reviewed.number if reviewed else 0,
            voters=() if problems else tuple(voter for finding in findings for voter in finding.voters),
            records=tuple(self._tips(changes)),
            problems=problems,
        )

    def _tips(self, changes: Sequence[int]) -> Iterator[str]:
        for change in changes:
            history = self.records.histories[change]
            if isinstance(history, History):
                yield history.tip

    def _finding(self, change: int) -> Finding:
        history = self.records.histories[change]
        if isinstance(history, Malformed):
            text = f"Gerrit's records of it cannot be used: {history}"
            return Finding(problems=[*self._alarmed(change), Problem("records", text)])
        assert history.submission is not None
        known, results = self.records, self.records.results.get(change)
        approvals = self.approvals.get(change, {})
        found = judge(Case(history, known.commits, known.outlines, known.trees, results, approvals), self.law)
        if not self._may_be_here(history):
            text = f"it was reviewed for {history.branch}, not for {self._branches[0]}"
            found.problems.insert(0, Problem("branch", text))
        found.problems[:0] = self._alarmed(change)
        return found

    def _alarmed(self, change: int) -> list[Problem]:
        """What has been found changed in its records, and how to take that over."""
        alarm = self.alarms.get(change)
        return [Problem("records", alarm.text, alarm.remedy)] if alarm else []

    def _merge(self, commit: Commit) -> Problem:
        clean = Merged(*commit.parents) in self.records.trees
        why = "its files are not what merging its two sides gives" if clean else f"its two sides are {CONFLICT}"
        return Problem("replay", f"it is a merge in no change, and {why}")

    def _unreviewed(self, change: int, patchset: int) -> Problem:
        if not change:
            return Problem("commit", "it is in no change: it was pushed past review")
        if alarmed := self._alarmed(change):
            return alarmed[0]  # what the mirror has is then not the newest
        history = self.records.histories[change]
        assert isinstance(history, History)
        if history.merged:
            return Problem("commit", f"its change merged as patchset {history.merged.number}, not as {patchset}")
        text = f"its change is {history.status or 'new'}, not merged: it was pushed past review"
        return Problem("commit", text, f"run this again where the mirror was behind; else {ANSWER}")

    def _refused(self, commit: str, problem: Problem, change: int = 0, patchset: int = 0) -> Verdict:
        return Verdict(commit, "", change, patchset, problems=(problem,))
