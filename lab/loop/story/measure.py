"""What of the times that were taken was whose, by what Zuul's jobs and Jenkins' builds left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdlib.report.timeline import Span
from lab.loop.story import shares
from lab.loop.story.stage import Story, Taken


def measure(story: Story) -> list[dict[str, Any]]:
    """Each time that was taken, as loop.json has it."""
    runs, spans = list[list[dict[str, Any]]](), list[Span]()
    for folder, build in _jobs(story.loop.places.job_logs):
        of_job = shares.read_events(folder)
        runs += of_job
        spans += [span for run in of_job for span in shares.spans_of(run)]
        spans += _build(story, build) if build else ()
    return [_entry(taken, runs, spans) for taken in story.times]


def _entry(taken: Taken, runs: list[list[dict[str, Any]]], spans: list[Span]) -> dict[str, Any]:
    cpu = sum(shares.computed(run, taken.start, taken.end) for run in runs)
    found = shares.shares(taken.start, taken.end, spans, cpu)
    return {"what": taken.what, "seconds": round(taken.end - taken.start, 2), **found.as_dict()}


def _jobs(logs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of each job that has ended, or was aborted, with the Jenkins build that it waited for, if any."""
    for result in sorted(logs.glob("*/cd-*/cd-result.json")):
        yield result.parent, json.loads(result.read_text(encoding="utf-8")).get("build", {})


def _build(story: Story, build: dict[str, Any]) -> Iterator[Span]:
    path = f"job/{build['job']}/{build['number']}/api/json"
    found = story.jenkins.read(path, "asking when a build ran", story.deadline, tree="timestamp,duration")
    if found:
        yield shares.build_span(found["timestamp"] / 1000, found["duration"] / 1000)
