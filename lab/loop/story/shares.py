"""Whose time it was: what people wait for, taken apart by the events that commands left behind.

At each moment the innermost thing that was open gets the time. Ours is what a command does while no stage of its own
is open, its start included, and `plan`, which asks registries but also thinks; and what jenkins-run takes to notice
that its build has ended. The other stages wait for a program or a server. What nothing accounts for is Zuul's and
Gerrit's, which includes Ansible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.report import timeline
from cdlib.report.timeline import Span, at, sweep

OURS, JENKINS, QUEUE, REVIEW = "ours", "Jenkins", "Jenkins' queue", "Zuul and Gerrit"
GIT, BUILD, REGISTRY, ROLLOUT = "git", "build and test", "registry", "rollout"
ALL = (OURS, REVIEW, QUEUE, JENKINS, GIT, BUILD, REGISTRY, ROLLOUT)
_RUNNER = "jenkins-run"
# Who is waited for in a stage of a command.
WAITED_FOR = {
    (_RUNNER, "push"): GIT, (_RUNNER, "queue"): QUEUE, (_RUNNER, "artifacts"): JENKINS, (_RUNNER, "abort"): JENKINS,
    ("cd-checkout", "fetch"): GIT, ("cd-checkout", "checkout"): GIT,
    ("build-image", "build"): BUILD, ("run-tests", "build"): BUILD, ("run-tests", "test"): BUILD,
    ("publish-tag", "push"): REGISTRY, ("publish-tag", "promote"): REGISTRY,
    ("build-image", "attest"): REGISTRY, ("run-tests", "attest"): REGISTRY,
    ("authorize-deploy", "attestations"): REGISTRY, ("authorize-deploy", "permit"): REGISTRY,
    ("helm-deploy", "permit"): REGISTRY,
    ("helm-deploy", "render"): ROLLOUT, ("helm-deploy", "helm upgrade"): ROLLOUT, ("helm-deploy", "rollout"): ROLLOUT,
    ("helm-deploy", "http"): ROLLOUT, ("helm-deploy", "helm test"): ROLLOUT, ("helm-deploy", "soak"): ROLLOUT,
    ("helm-deploy", "helm rollback"): ROLLOUT, ("gerrit-comment", "comment"): REVIEW,
}  # fmt: skip
_RUN_OF_RUNNER, _STAGE_OF_RUNNER, _BUILD, _RUN, _STAGE = range(5)  # what is within what, the outermost first


@dataclass(frozen=True)
class Shares:
    """Seconds by whose they were; together, all of the time. `cpu` is what our commands computed meanwhile."""

    seconds: dict[str, float]
    cpu: float

    def as_dict(self) -> dict[str, Any]:
        """For loop.json."""
        return {
            "shares": {name: round(value, 2) for name, value in self.seconds.items()},
            "our_cpu": round(self.cpu, 2),
        }


def shares(start: float, end: float, spans: Iterable[Span], cpu: float = 0.0) -> Shares:
    """Whose each moment from `start` to `end` was."""
    found = {**dict.fromkeys(ALL, 0.0), **sweep(start, end, spans, REVIEW)}
    return Shares(found, cpu)


def read_events(folder: Path) -> list[list[dict[str, Any]]]:
    """The events below `folder`, those of one run together, oldest first."""
    return [run for file in sorted(folder.rglob("events.jsonl")) for run in timeline.read_events(file)]


def spans_of(run: list[dict[str, Any]]) -> Iterator[Span]:
    """The spans of one run of one command, its start before the first event included."""
    command, first, last = run[0]["command"], run[0], run[-1]
    of_runner = command == _RUNNER
    # Python's start and its imports only compute, so the time that they took is what they computed.
    yield Span(at(first) - first.get("cpu_s", 0.0), at(last), _RUN_OF_RUNNER if of_runner else _RUN, OURS)
    begun: dict[tuple[str, str], float] = {}
    for event in run:
        key = (event.get("stage", ""), event.get("about", ""))
        if event["event"] == "stage_start":
            begun[key] = at(event)
        elif event["event"] == "stage_end" and key in begun:
            share = WAITED_FOR.get((command, key[0]), OURS)
            yield Span(begun.pop(key), at(event), _STAGE_OF_RUNNER if of_runner else _STAGE, share)


def build_span(start: float, seconds: float) -> Span:
    """A Jenkins build, as Jenkins says."""
    return Span(start, start + seconds, _BUILD, JENKINS)


def computed(run: list[dict[str, Any]], start: float, end: float) -> float:
    """What a run of a command computed, in seconds, where it began between `start` and `end`."""
    return float(run[-1].get("cpu_s", 0.0)) if start <= at(run[0]) < end else 0.0
