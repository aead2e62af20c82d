"""What a page has to show, reckoned from events.jsonl alone, in milliseconds; nothing here is the page maker's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

Event = dict[str, Any]
# Whose a stage's time is; a stage that is not here is the command's own.
ACTIVITY = {
    "queue": "queue", "fetch": "source", "checkout": "source", "plan": "plan", "build": "build", "test": "tests",
    "push": "publish", "promote": "publish", "render": "Helm", "helm upgrade": "Helm", "rollout": "rollout",
    "http": "verification", "helm test": "verification", "soak": "soak", "evidence": "rollback",
    "helm rollback": "rollback", "comment": "comments", "review": "authorize", "attestations": "authorize",
    "permit": "authorize", "sign": "authorize", "attest": "attest",
}  # fmt: skip
RUNNER = "jenkins-run"  # which only waits for the others
WAITING = {"queue": "queue", "push": "source"}
OURS, ELSEWHERE = "the commands themselves", "between the commands: Zuul, Gerrit, Jenkins"
_UNITS = {"h": 3600.0, "min": 60.0, "s": 1.0}


@dataclass
class Stage:
    """One stage; `end` is None where it has none."""

    name: str
    about: str
    start: int
    end: int | None = None
    outcome: str = ""


@dataclass
class Told:
    """One run of one command, as its events tell it."""

    command: str
    events: list[Event]
    start: int
    end: int
    outcome: str
    exit_code: int
    stages: list[Stage] = field(default_factory=list)


def events(files: Iterable[Path]) -> list[Event]:
    """All events in these files."""
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def of_page(folder: Path) -> list[Event]:
    """The events of a Jenkins build, which begins with none: all below the folder but cd-report's own."""
    return events(file for file in sorted(folder.rglob("events.jsonl")) if file.parent.name != "report")


def told(found: Sequence[Event]) -> list[Told]:
    """The runs, by when they began."""
    by_run: dict[str, list[Event]] = {}
    for event in found:
        by_run.setdefault(event["run"], []).append(event)
    return sorted((_told(of_run) for of_run in by_run.values()), key=lambda run: run.start)


def _told(of_run: list[Event]) -> Told:
    first, last = of_run[0], of_run[-1]
    assert (first["event"], last["event"]) == ("run_start", "run_end"), last
    start = at(first) - round(1000 * first["cpu_s"])
    run = Told(first["command"], of_run, start, at(last), last["outcome"], last["exit_code"])
    for event in of_run:
        if event["event"] == "stage_start":
            run.stages.append(Stage(event["stage"], event["about"], at(event)))
        elif event["event"] == "stage_end":
            named = [s for s in run.stages if (s.name, s.about, s.end) == (event["stage"], event["about"], None)]
            named[-1].end, named[-1].outcome = at(event), event["outcome"]
    return run


def at(event: Event) -> int:
    """When it happened."""
    return round(1000 * datetime.fromisoformat(event["t"]).timestamp())


def whole(runs: Sequence[Told]) -> tuple[int, int]:
    """From the first beginning to the last end."""
    return min(run.start for run in runs), max(run.end for run in runs)


def activities(runs: Sequence[Told]) -> dict[str, float]:
    """Seconds by activity: each piece of time belongs to the stage that began last of those that are open."""
    start, end = whole(runs)
    spans = [span for run in runs for span in _spans(run)]
    edges = sorted({start, end} | {edge for span in spans for edge in span[:2]})
    found: dict[str, float] = {}
    for left, right in pairwise(edges):
        here = [(depth, began, name) for began, ended, depth, name in spans if began <= left and ended >= right]
        name = max(here)[2] if here else ELSEWHERE
        found[name] = found.get(name, 0.0) + (right - left) / 1000
    return found


def _spans(run: Told) -> list[tuple[int, int, int, str]]:
    """From when to when, how deep, and whose: the run itself, and each of its stages."""
    waits = run.command == RUNNER
    own = "authorize" if run.command == "authorize-deploy" else OURS
    names = {s.name: WAITING.get(s.name, ELSEWHERE) if waits else ACTIVITY.get(s.name, OURS) for s in run.stages}
    inner = [(s.start, run.end if s.end is None else s.end, 1 if waits else 3, names[s.name]) for s in run.stages]
    return [(run.start, run.end, 0 if waits else 2, own), *inner]


def lanes(runs: Sequence[Told]) -> dict[str, tuple[int, list[tuple[str, float | None]]]]:
    """By pod: how often its containers ended, and its states with how many seconds they took."""
    found: dict[str, tuple[int, list[tuple[str, float | None]]]] = {}
    for run in runs:
        pods = [event for event in run.events if event["event"] == "pod"]
        for pod in dict.fromkeys(event["pod"] for event in pods):
            mine = [event for event in pods if event["pod"] == pod]
            ends = [at(event) for event in mine[1:]] + [run.end]
            states = [
                (e["state"], None if e["state"] == "gone" else (end - at(e)) / 1000)
                for e, end in zip(mine, ends, strict=True)
            ]
            found[pod] = max(event.get("restarts", 0) for event in mine), states
    return found


def judged(run: Told) -> Stage | None:
    """The stage whose end a verdict has called a failure: the last one before the evidence was gathered."""
    verdicts = [at(event) for event in run.events if event["event"] == "verdict" and event["outcome"] == "failed"]
    before = [s for s in run.stages if verdicts and s.end and s.end <= verdicts[0] and s.name != "evidence"]
    return before[-1] if before else None


def last(found: Iterable[Event], kind: str, key: str, **wanted: Any) -> Any:
    """What the last event of a kind says under a key; None where none does."""
    said = [e for e in found if e["event"] == kind and key in e and wanted.items() <= e.items()]
    return said[-1][key] if said else None


def seconds(text: str) -> float:
    """`1 min 5 s` as a number."""
    parts = re.findall(r"([\d.]+)\s(h|min|s)\b", text)
    assert parts, text
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def states(text: str) -> list[tuple[str, float | None]]:
    """`Pending 0.1 s, Ready 2 min 5 s, gone` as pairs."""
    found = []
    for part in text.split(", "):
        name = re.sub(r"( [\d.]+ (h|min|s))+$", "", part)
        found.append((name, seconds(part.removeprefix(name)) if part != name else None))
    return found
