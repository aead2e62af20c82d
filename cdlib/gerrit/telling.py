"""Who is told of an outcome, and telling them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.errors import CdError, OutOfTime, Unavailable
from cdlib.gerrit.changes import Change, Discussion, Gerrit
from cdlib.gerrit.commits import carried, head, is_ancestor
from cdlib.gerrit.message import Comment
from cdlib.gerrit.report import ROLLBACK, Report, commit_of
from cdlib.run import Run
from cdlib.trigger import Trigger


@dataclass(frozen=True)
class Letter:
    """A comment on its way to a change. `revision` is a commit, or a patchset's number."""

    change: Change
    revision: str
    text: str

    @property
    def takes_votes(self) -> bool:
        """Whether a vote counts: on the newest patchset of an open change."""
        return self.change.is_open and self.revision in self.change.newest


@dataclass(frozen=True)
class Told:
    """One change, and what it was told; `new` is false where it had been told before."""

    change: Change
    text: str
    new: bool
    vote: int | None = None
    lead_time: float | None = None  # seconds from its +2 until it served, where this deploy is what brought it


def tell(run: Run, gerrit: Gerrit, report: Report, trigger: Trigger, folder: Path, label: str = "",
         page: str = "") -> list[Told]:  # fmt: skip
    """Comment on each change that `report` concerns, once, and vote `label` where one is given.

    `page` is where the run's page is among the build's artifacts, for a link.
    A change that cannot be told does not keep the others from it; what went wrong is raised at the end.
    """
    if report.is_check and not label:
        run.note("nothing is told: of checks Zuul tells; where it does not, give --vote LABEL")
        return []
    if not report.worth_telling:
        run.note(f"nothing is told: {report.command} ended as {report.outcome}")
        return []
    gerrit.log_in()
    comment, letters = (_check if report.is_check else _deploy)(run, gerrit, report, trigger, folder, page)
    told, problems = list[Told](), list[CdError]()
    for letter in letters:
        try:
            told.append(_tell_once(run, gerrit, comment, letter, label))
        except (Unavailable, OutOfTime) as problem:  # the next change would meet the same
            problems.append(problem)
            break
        except CdError as problem:
            problems.append(problem)
    if problems:
        problems[0].made["comments"] = shown(told)["comments"]
        raise problems[0]
    return told


def shown(told: Sequence[Told], *, whole: bool = False) -> dict[str, Any]:
    """The result: who was told; with `whole`, the text shows what."""
    new = [each for each in told if each.new]
    lines = [f"{each.text}\n" for each in new if whole]
    lines += [f"{each.change.url} {'told' if each.new else 'unchanged'}" for each in told]
    comments = [
        {"project": each.change.project, "change": each.change.number, "url": each.change.url, "new": each.new}
        | ({} if each.vote is None else {"vote": each.vote})
        | ({} if each.lead_time is None else {"lead_time_s": each.lead_time})
        for each in told
    ]
    leads = [each.lead_time for each in told if each.lead_time is not None]
    lead = {"lead_time_s": leads[0]} if leads else {}  # that of the newest change, which began the deploy
    return {"outcome": "done" if new else "unchanged", "comments": comments, **lead, "text": "\n".join(lines)}


Written = tuple[Comment, list[Letter]]


def _check(run: Run, gerrit: Gerrit, report: Report, trigger: Trigger, folder: Path, page: str) -> Written:
    """What is said of a change that waits for its vote."""
    commit = report.commit or commit_of(trigger.commit)
    if trigger.change:
        found: Change | None = gerrit.numbered(trigger.change, trigger.project)
        subject, revision = f"{trigger.change},{trigger.patchset}", trigger.patchset
    else:
        subject = revision = commit
        found = gerrit.of_commits([commit], trigger.project, trigger.branch)[commit] if commit else None
    comment = Comment(report, subject, trigger.url, page=page)
    if found is None:
        run.warn(f"nobody is told: {gerrit.url} has no change for {commit[:12] or 'this run'}")
        return comment, []
    return comment, [Letter(found, revision, _signed(run, comment, comment.text()))]


def _deploy(run: Run, gerrit: Gerrit, report: Report, trigger: Trigger, folder: Path, page: str) -> Written:
    """What is said of a deploy or a rollback, to each change that it brings or takes."""
    commit = report.failed_commit or report.commit or commit_of(trigger.commit)
    if not commit and report.command not in (ROLLBACK, "cd-checkout"):  # those leave the folder as it was
        commit = head(run, folder)
    newer, older, again = _span(run, report, trigger, folder, commit)
    comment = Comment(report, commit, trigger.url, again, page)
    found = _concerned(gerrit, trigger, carried(run, folder, newer, older)) if commit else {}
    if not found:
        run.warn(f"nobody is told: {gerrit.url} has no change for {commit[:12] or 'this run'}")
    letters = []
    for change, revision in found.items():
        mine = revision in (commit, trigger.patchset)
        text = comment.text(mine=mine, others=len(found) - 1)
        letters.append(Letter(change, revision, _signed(run, comment, text)))
    return comment, letters


def _span(run: Run, report: Report, trigger: Trigger, folder: Path, commit: str) -> tuple[str, str, bool]:
    """A newer and an older commit, between which the changes concerned are; and whether a person brought them back.

    A rollback takes out what was live and is not any more, save where it goes to what is newer.
    """
    before = report.previous or commit_of(trigger.oldrev)
    if report.command != ROLLBACK:
        return commit, before, False
    if not commit or not report.good or before in ("", commit):
        return commit, commit, False
    again = is_ancestor(run, folder, before, commit)
    return (commit, before, True) if again else (before, commit, False)


def _concerned(gerrit: Gerrit, trigger: Trigger, commits: Sequence[str]) -> dict[Change, str]:
    """The changes of `commits`, each with the revision to comment on, newest first."""
    found: dict[Change, str] = {}
    for each, change in gerrit.of_commits(commits, trigger.project, trigger.branch).items():
        if change is not None:
            found.setdefault(change, each)
    if trigger.change and trigger.patchset and not any(str(each.number) == trigger.change for each in found):
        found[gerrit.numbered(trigger.change, trigger.project)] = trigger.patchset
    return found


def _signed(run: Run, comment: Comment, text: str) -> str:
    """The text without secrets, and the key, which has none, as its last line."""
    return f"{run.redactor.text(text)}\n\n{comment.key}"


def _tell_once(run: Run, gerrit: Gerrit, comment: Comment, letter: Letter, label: str) -> Told:
    """Comment on one change, unless it has been told.

    Each try looks first: an answer that was lost does not mean that the comment was.
    """
    good, change = comment.report.good, letter.change
    value = (1 if good else -1) if label and letter.takes_votes else None

    def attempt() -> Told:
        discussion = gerrit.discussion(change)
        votes: dict[str, int] = {}
        if value is not None:
            discussion.require_vote(label, value)
            votes = {} if discussion.vote(label) == value else {label: value}
        said = comment.key.is_said_by(discussion.ours)
        if said and not votes:
            return Told(change, letter.text, new=False, vote=value)
        what = f"comment on {change.url}" + "".join(f", {name}{vote:+d}" for name, vote in votes.items())
        if not run.would(what):
            quiet = good and comment.report.command != ROLLBACK  # to be taken out of production is news
            notify = "NONE" if quiet else "OWNER" if comment.report.is_check else "OWNER_REVIEWERS"
            gerrit.review(change, letter.revision, "" if said else letter.text, notify=notify, votes=votes)
        return Told(change, letter.text, new=True, vote=value, lead_time=_lead_time(comment.report, discussion))

    with run.stage("comment", change.url):
        return gerrit.patiently(attempt)


def _lead_time(report: Report, discussion: Discussion) -> float | None:
    """Seconds from the +2 until it served; None where this run is not what made it serve, or clocks disagree."""
    if report.command != "helm-deploy" or report.outcome != "done" or not discussion.approved:
        return None
    found = round(report.ended - discussion.approved, 3)
    return found if found >= 0 else None
