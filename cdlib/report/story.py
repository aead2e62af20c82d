"""What a report tells, taken out of runs and results: how it ended, why, where the time went, what the pods did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cdlib.report.timeline import CommandRun, Event, Span, at, number, sweep, text

# How much a command's outcome says of the whole: what a deploy brought before what was told of it.
_ASIDE = {"cd-report": 0, "cd-status": 0, "cd-rights": 0, "cd-hold": 0, "cd-approve": 0, "gerrit-comment": 1,
          "cd-checkout": 2}  # fmt: skip
_DECIDES = 3
OURS, BETWEEN = "the commands themselves", "between the commands: Zuul, Gerrit, Jenkins"
RUNNER = "jenkins-run"
# What is going on in a stage of a command, in the words of people who wait for it.
ACTIVITIES = {
    (RUNNER, "push"): "source", (RUNNER, "queue"): "queue", (RUNNER, "build"): BETWEEN,
    (RUNNER, "artifacts"): BETWEEN, (RUNNER, "abort"): BETWEEN,
    ("", "fetch"): "source", ("", "checkout"): "source",
    ("", "plan"): "plan", ("", "build"): "build", ("", "test"): "tests", ("", "attest"): "attest",
    ("", "push"): "publish", ("", "promote"): "publish", ("", "render"): "Helm", ("", "helm upgrade"): "Helm",
    ("", "rollout"): "rollout", ("", "http"): "verification", ("", "helm test"): "verification", ("", "soak"): "soak",
    ("", "review"): "authorize", ("", "attestations"): "authorize", ("", "permit"): "authorize",
    ("", "sign"): "authorize",
    ("", "evidence"): "rollback", ("", "helm rollback"): "rollback", ("", "comment"): "comments",
}  # fmt: skip
_WHOLE = {"authorize-deploy": "authorize"}  # commands that have no stages, and are an activity of their own
SAID = {"note": "text", "warning": "text", "would": "action", "verdict": "reason", "defect": "traceback"}


@dataclass
class Lane:
    """One pod: when it came into which state, in seconds since the epoch, and how often its containers ended."""

    pod: str
    states: list[tuple[float, str]] = field(default_factory=list)
    restarts: int = 0
    end: float = 0.0


@dataclass(frozen=True)
class Tests:
    """What JUnit files say beyond the counts: the tests that failed, and files that are none."""

    __test__ = False
    failures: Sequence[str] = ()
    unreadable: Sequence[str] = ()


@dataclass
class Story:
    """All that a page shows. `ended` says that what has no end was killed, and is not running any more.

    `links` are addresses by what they lead to: `change`, `commit`, `build`; `evidence` are paths from the page to
    files, ready for a link. `about` is what the trigger knows.
    """

    runs: list[CommandRun]
    results: list[dict[str, Any]]
    deciding: list[CommandRun]  # among the runs, those whose end may be the outcome
    ended: bool = False
    tests: Tests = field(default_factory=Tests)
    links: Mapping[str, str] = field(default_factory=dict)
    evidence: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def main(self) -> CommandRun:
        """The run whose end is the outcome."""
        return self.open[-1] if self.open else max(self.deciding, key=lambda run: (weight(run.command), run.last))

    @cached_property
    def open(self) -> list[CommandRun]:
        """Runs that go on, as far as anybody knows: a command only begins where the one before it has ended."""
        if self.ended:
            return []
        last = max(run.start for run in self.runs)
        return [run for run in self.runs if run.end is None and (run.start == last or run.command == RUNNER)]

    @property
    def state(self) -> str:
        """`good`, `bad` or `running`."""
        if self.open:
            return "running"
        return "good" if self.main.exit_code == 0 else "bad"

    @property
    def outcome(self) -> str:
        """The outcome in a word or two."""
        if self.open:
            return "running"
        if self.main.end is None:
            return "killed"
        command, outcome = self.main.command, self.main.outcome
        return "serving" if (command, outcome) == ("helm-deploy", "done") else outcome.replace("-", " ")

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the results say together, the later and weightier over the earlier."""
        ends = {run.id: (run in self.deciding, weight(run.command), run.last) for run in self.runs}
        known = [result for result in self.results if result.get("run") in ends]
        order = sorted(known, key=lambda result: ends[result["run"]])
        told = [result for result in order if ends[result["run"]][1] > 1]
        return {key: value for each in told for key, value in each.items() if value not in ("", None, [], {})}

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong: message, hint, details; empty where nothing did, or where nobody wrote it down."""
        bad = [result for result in self.results if result.get("exit_code") == self.main.exit_code]
        errors = [found for result in bad if isinstance(found := result.get("error"), dict)]
        return max(errors, key=lambda error: len(error.get("details") or ()), default={}) if self.state == "bad" else {}

    @property
    def cause(self) -> str:
        """Why it failed, in one sentence."""
        verdicts = [text(e, "reason") for _, e in self.events("verdict") if text(e, "outcome") == "failed"]
        said = text(self.result, "cause") or (verdicts[-1] if verdicts else "") or text(self.error, "message")
        if not said and self.main.end is None:
            return f"{self.main.command} has no end: it was killed, or its machine was lost"
        return said or f"{self.main.command} ended with exit code {self.main.exit_code}"

    @property
    def start(self) -> float:
        """When the first run began, in seconds since the epoch."""
        return min(run.start for run in self.runs)

    @property
    def end(self) -> float:
        """When the last thing happened."""
        return max(run.last for run in self.runs)

    def events(self, *kinds: str) -> Iterator[tuple[CommandRun, Event]]:
        """The events of these kinds, run by run."""
        for run in self.runs:
            yield from ((run, event) for event in run.events if event["event"] in kinds)

    def shares(self) -> list[tuple[str, float]]:
        """Seconds by activity, the longest first; together they are the whole time."""
        found = sweep(self.start, self.end, (span for run in self.runs for span in _spans(run)), BETWEEN)
        return sorted(found.items(), key=lambda item: -item[1])

    def counts(self) -> dict[str, int]:
        """How many tests ran to which end, as the last stage of tests says; empty where none ran."""
        stages = [stage for run in self.runs for stage in run.stages if stage.name == "test" and "total" in stage.told]
        names = ("total", "passed", "failed", "skipped")
        return {name: int(number(stages[-1].told, name)) for name in names} if stages else {}

    def lanes(self) -> list[Lane]:
        """The pods in the order in which they were seen."""
        found: dict[tuple[str, str], Lane] = {}
        for run, event in self.events("pod"):
            lane = found.setdefault((run.id, text(event, "pod")), Lane(text(event, "pod"), end=run.last))
            lane.states.append((at(event), text(event, "state")))
            lane.restarts = max(lane.restarts, int(number(event, "restarts")))
        return list(found.values())


def _spans(run: CommandRun) -> Iterator[Span]:
    outermost = 0 if run.command == RUNNER else 2
    yield Span(run.start, run.last, outermost, _WHOLE.get(run.command, OURS))
    for stage in run.stages:
        share = ACTIVITIES.get((run.command, stage.name)) or ACTIVITIES.get(("", stage.name), OURS)
        yield Span(stage.start, run.last if stage.end is None else stage.end, outermost + 1, share)


def weight(command: str) -> int:
    """How much the outcome of a command says of the whole."""
    return _ASIDE.get(command, _DECIDES)
