"""What ran when: the commands' runs and their stages, out of events.jsonl, and whose each moment was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappop, heappush
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

Event = dict[str, Any]
LARGEST = 32 * 2**20  # bytes of one file; of a larger one its end is read
MOST_EVENTS = 50_000  # of one file; of more the last
_LINE = 2**20  # bytes of one event
_FIELDS = 40  # of one event
_YEARS = range(2000, 3000)  # in which an event can have been: others are no times that can be reckoned with
_ALWAYS = ("t", "run", "command", "event")
_COMPUTED = 3600  # seconds that a start can have computed before its first event


@dataclass(frozen=True)
class Span:
    """From `start` to `end`, seconds since the epoch; `depth` is higher for what is within."""

    start: float
    end: float
    depth: int
    share: str


@dataclass
class Stage:
    """A named part of a run. `end` is None while it is open; `about` and `told` come from outside."""

    name: str
    about: str
    start: float
    end: float | None = None
    outcome: str = ""
    told: Event = field(default_factory=dict)


@dataclass
class CommandRun:
    """One run of one command, in seconds since the epoch; `end` is None where nothing says that it has ended."""

    id: str
    command: str
    start: float
    last: float
    end: float | None = None
    outcome: str = ""
    exit_code: int | None = None
    stages: list[Stage] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def judged(self) -> Stage | None:
        """The stage that a verdict has called a failure, though it came to its end: the last before the evidence."""
        verdicts = [at(e) for e in self.events if e["event"] == "verdict" and e.get("outcome") == "failed"]
        before = [s for s in self.stages if s.end and verdicts and s.end <= verdicts[0] and s.name != "evidence"]
        return before[-1] if before else None


def sweep(start: float, end: float, spans: Iterable[Span], otherwise: str) -> dict[str, float]:
    """Seconds from `start` to `end` by share: each moment is that of the innermost span, or `otherwise`."""
    inside = sorted((span for span in spans if span.start < end and span.end > start), key=lambda span: span.start)
    edges = sorted({start, end, *(edge for s in inside for edge in (s.start, s.end) if start < edge < end)})
    found: dict[str, float] = {}
    coming, begun = enumerate(inside), list[tuple[int, float, int]]()  # a heap: the innermost first
    following = next(coming, None)
    for left, right in pairwise(edges):
        while following and following[1].start <= left:
            place, span = following
            heappush(begun, (-span.depth, -span.start, place))
            following = next(coming, None)
        while begun and inside[begun[0][2]].end <= left:
            heappop(begun)
        share = inside[begun[0][2]].share if begun else otherwise
        found[share] = found.get(share, 0.0) + right - left
    return found


def read_events(file: Path, most: int = LARGEST, count: int = MOST_EVENTS) -> list[list[Event]]:
    """The events in `file`, those of one run together, oldest first. What is no event is left out.

    Of more than `most` bytes, or `count` lines, the last are read. A file that is still written to may end in half a
    line. Raises OSError.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - most))
        lines = opened.read(most).rsplit(b"\n", count + 1)
    runs: dict[str, list[Event]] = {}
    for event in filter(None, map(_event, lines[-count - 1 :])):
        runs.setdefault(event["run"], []).append(event)
    return list(runs.values())


def at(event: Event) -> float:
    """When it happened, in seconds since the epoch."""
    return datetime.fromisoformat(event["t"]).timestamp()


def command_run(events: list[Event]) -> CommandRun:
    """What the events of one run say."""
    first, last = events[0], events[-1]
    # Python's start and its imports only compute, so the time that they took is what they computed.
    start = at(first) - min(max(number(first, "cpu_s"), 0.0), _COMPUTED)
    found = CommandRun(first["run"], first["command"], start, at(last), events=events)
    if last["event"] == "run_end":
        found.end, found.outcome = found.last, text(last, "outcome")
        found.exit_code = int(number(last, "exit_code"))
    found.stages = list(_stages(events))
    return found


def number(event: Event, key: str) -> float:
    """A number that an event carries; 0 where it is none."""
    value = event.get(key, 0)
    return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else 0.0


def text(event: Event, key: str) -> str:
    """A text that an event carries; empty where it is none."""
    value = event.get(key, "")
    return value if isinstance(value, str) else ""


def _stages(events: list[Event]) -> Iterator[Stage]:
    """The stages in the order of their start; one that is closed by its name and what it is about."""
    begun: dict[tuple[str, str], Stage] = {}
    for event in events:
        name, about = text(event, "stage"), text(event, "about")
        if event["event"] == "stage_start":
            begun[name, about] = stage = Stage(name, about, at(event))
            yield stage
        elif event["event"] == "stage_end" and (stage_open := begun.pop((name, about), None)):
            stage_open.end, stage_open.outcome, stage_open.told = at(event), text(event, "outcome"), event


def _event(line: bytes) -> Event | None:
    """The event in a line, its fields that are text or numbers; None where there is none."""
    if len(line) > _LINE:
        return None
    try:
        found = json.loads(line)
        if isinstance(found, dict) and all(isinstance(found[key], str) for key in _ALWAYS):
            when = datetime.fromisoformat(found["t"])
            if when.tzinfo and when.year in _YEARS:
                told = {key: value for key, value in found.items() if isinstance(value, str | int | float)}
                return {key: told[key] for key in (*_ALWAYS, *islice(told, _FIELDS))}
    except (ValueError, KeyError, RecursionError, OverflowError):
        pass
    return None
