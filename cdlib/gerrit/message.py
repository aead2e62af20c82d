"""The comment for one outcome: what happened first, then what proves it, and where to read on.

A key is added as its last line. By it a rerun of the same job finds that all has been said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cdlib.gerrit.report import DEPLOYS, JENKINS_RUN, KILLED, ROLLBACK, Report, commit_of
from cdlib.gerrit.words import quoted, sentence

_ROLLED_BACK, _NEEDS_PERSON, _INCONCLUSIVE = 7, 8, 10
_INTERRUPTED = (130, 143)
_LINK = re.compile(r"https?://[\w.~:/?#@!$&*+,;=%-]{1,500}\Z", re.ASCII)
_NO_WORD = re.compile(r"[^\w./,-]+", re.ASCII)


@dataclass(frozen=True)
class Key:
    """Which outcome a comment tells: `about` what, and `state`, how that ended."""

    about: str
    state: str

    def __str__(self) -> str:
        return f"cd: {self.about}: {self.state}"

    def is_said_by(self, messages: tuple[str, ...]) -> bool:
        """Whether the newest of `messages` about the same says the same. What changed meanwhile is said again."""
        last_lines = [message.rstrip().rpartition("\n")[2] for message in messages]
        same = [line for line in last_lines if line.startswith(f"cd: {self.about}: ")]
        return bool(same) and same[-1] == str(self)


@dataclass(frozen=True)
class Comment:
    """What is said of one outcome of `subject`, a commit or a patchset (`number,patchset`).

    `url` is the build, which has the log, and `page` the run's page among its artifacts.
    `again` is a rollback by hand to what is newer than what was live: what it concerns is live again.
    """

    report: Report
    subject: str
    url: str = ""
    again: bool = False
    page: str = ""

    @property
    def key(self) -> Key:
        """What tells this outcome from others: of what, where, and how it ended as which revision."""
        report = self.report
        if report.is_check:
            return Key(f"check of {_word(self._short)}", _word("passed" if report.good else report.outcome))
        kind = "rollback" if report.command == ROLLBACK else "deploy"
        place = _word("/".join(filter(None, (report.environment, report.release)))) or "somewhere"
        state = "live" if report.good else _word(report.outcome)
        revision = f", revision {report.revision}" if report.revision else ""
        return Key(f"{kind} of {_word(self._short)} to {place}", state + revision)

    def text(self, *, mine: bool = True, others: int = 0) -> str:
        """The comment on a change that is the subject itself (`mine`), or is carried by it, as `others` are."""
        report = self.report
        glass = f"BREAK GLASS: nobody has checked review, build or tests of this: {sentence(report.broken_glass)}"
        parts = [self._lead(), glass if report.broken_glass else "", "\n".join(self._facts(mine, others))]
        if not report.good:
            lines = [line for line in report.details if line != report.cause]
            parts.append("\n".join(quoted(lines, first=report.outcome == "tests-failed")))
            parts.append(f"Next: {sentence(report.hint)}" if report.hint else "")
        parts.append("\n".join(self._links()))
        return "\n\n".join(filter(None, parts))

    def _links(self) -> Iterator[str]:
        """Where to read on: the page first, which leads with the cause."""
        if self.url and self.page:
            page = f"{self.url.rstrip('/')}/artifact/{self.page}"
            yield from [f"Report: {page}"] if _LINK.match(page) else []
        yield from [f"Log: {self.url}"] if _LINK.match(self.url) else []

    @property
    def _short(self) -> str:
        return self.subject[:12] if commit_of(self.subject) else self.subject

    def _place(self, preposition: str) -> str:
        environment = sentence(self.report.environment)
        return f" {preposition} {environment}" if environment else ""

    def _lead(self) -> str:
        """The outcome in one sentence."""
        report = self.report
        why = sentence(report.cause or report.message)
        if report.is_check:
            return self._check_lead()
        if report.good:
            return self._good_lead()
        if report.exit_code == _ROLLED_BACK:
            return f"Rolled back{self._place('in')}: {why}"
        if report.exit_code == _NEEDS_PERSON:
            return f"Failed{self._place('in')}, and a person is needed: {sentence(report.message)}"
        if report.exit_code == _INCONCLUSIVE:
            return f"Deployed{self._place('to')}, but it cannot be judged: {why}"
        what = "rollback" if report.command == ROLLBACK else "deploy"
        if report.command == JENKINS_RUN or (report.command in DEPLOYS and report.outcome == KILLED):
            return f"Nobody knows how the {what} ended: {why}"  # the job itself could say nothing, or was killed at it
        if report.exit_code in _INTERRUPTED:
            why = "the job was interrupted; the next one goes on, or takes back what was begun"
        verb, where = ("Not rolled back", "in") if report.command == ROLLBACK else ("Not deployed", "to")
        return f"{verb}{self._place(where)}: {why}"

    def _good_lead(self) -> str:
        report = self.report
        name = sentence(report.service or report.release)
        if report.command == ROLLBACK:
            was = f", as it was in revision {report.rolled_back_to}" if report.rolled_back_to else ""
            return (f"Rolled back by hand{self._place('in')}: {name} runs the commit {report.commit[:12]} "
                    f"as revision {report.revision}{was}")  # fmt: skip
        since = "live already" if report.outcome == "unchanged" else f"serving after {report.seconds:.0f} s"
        image = f"image {sentence(report.digest)[:19]}…, " if report.digest else ""
        return f"Deployed{self._place('to')}: {name} revision {report.revision}, {image}{since}"

    def _check_lead(self) -> str:
        report, tests = self.report, self.report.tests or {}
        if report.good and report.command == "run-tests":
            return f"Tests passed: {tests.get('passed', 0)} passed, {tests.get('skipped', 0)} skipped"
        if report.good:
            return "The image was built"
        what = {"build-failed": "The build failed", "tests-failed": "Tests failed"}
        return f"{what.get(report.outcome, f'{report.command} did not get to its end')}: {sentence(report.message)}"

    def _facts(self, mine: bool, others: int) -> list[str]:
        """What was deployed, what came with it, and what is live now."""
        report = self.report
        if report.is_check:
            return []
        more = f"{others} other change{'s' if others > 1 else ''}" if others else ""
        if report.command == ROLLBACK:
            return self._rollback_facts(mine, more)
        brought = " and ".join(filter(None, ["" if mine else "this change", more]))
        facts = [f"Commit: {self._short}" + (f", which brings {brought}" if brought else "")]
        if report.good and report.digest:
            repository = report.image.partition("@")[0]
            facts.append(f"Image: {sentence(f'{repository}@{report.digest}' if repository else report.digest)}")
        if report.exit_code == _ROLLED_BACK:
            again = f"revision {report.rolled_back_to} (commit {report.commit[:12]})"
            facts.append(f"Live again: {sentence(report.release)} {again}, as revision {report.revision}")
        return facts

    def _rollback_facts(self, mine: bool, more: str) -> list[str]:
        """What a rollback by hand took or brought back, why, and what keeps it there."""
        report = self.report
        moved = "Live again" if self.again else "Not live any more"
        facts = [f"{moved}: this change{f' and {more}' if more else ''}"] if self.again or not mine else []
        if report.held_for:
            facts.append(f"Reason: {sentence(report.held_for)}")
        if report.held:
            job = f"the Jenkins job {sentence(report.service)}-hold, or " if report.service else ""
            facts.append(
                f"On hold: what is merged is not deployed until an operator lifts the hold, by {job}cd-hold --lift"
            )
        return facts


def _word(text: str) -> str:
    """`text` as part of a key: no character in it can end the key, or look like its mark."""
    return _NO_WORD.sub("-", text)
