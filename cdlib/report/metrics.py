"""What Prometheus is told of a run: which series, and their values.

Gauges say how the last run of its kind went; counters only grow where a file keeps them. A label has one of few values:
commands, stages and exit codes are ours, environments the operators', and of services so many at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdlib.report.timeline import CommandRun

GAUGE, COUNTER = "gauge", "counter"
ABOUT = ("command", "service", "environment")
OTHER = "other"  # the service of whatever comes after the last that has series of its own
MOST_SERVICES = 500
_ROLLBACKS = {"helm-deploy": "automatic", "helm-rollback": "manual"}


@dataclass(frozen=True)
class Family:
    """One metric. Gauges that are `lasting` stay as they are until there is a new value; others are each run's own."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()  # beyond those that say what the run was about
    lasting: bool = False


FAMILIES = {
    "cd_run_duration_seconds": Family(GAUGE, "How long the last run took."),
    "cd_run_success": Family(GAUGE, "Whether the last run ended with exit code 0."),
    "cd_run_exit_code": Family(GAUGE, "The exit code of the last run."),
    "cd_run_end_timestamp_seconds": Family(GAUGE, "When the last run ended."),
    "cd_run_last_success_timestamp_seconds": Family(GAUGE, "When the last good run ended.", lasting=True),
    "cd_stage_duration_seconds": Family(GAUGE, "How long each stage of the last run took.", ("stage",)),
    "cd_rollback_timestamp_seconds": Family(GAUGE, "When a release last went back.", ("kind",), lasting=True),
    "cd_lead_time_seconds": Family(GAUGE, "From the +2 of the last change that was deployed until it served.",
                                   lasting=True),
    "cd_runs_total": Family(COUNTER, "Runs by how they ended.", ("exit_code",)),
    "cd_run_seconds_total": Family(COUNTER, "How long all runs took."),
    "cd_rollbacks_total": Family(COUNTER, "How often a release went back.", ("kind",)),
}  # fmt: skip

Labels = tuple[tuple[str, str], ...]  # in the order of the family's label names
Samples = dict[tuple[str, Labels], float]


def samples(run: CommandRun, result: Mapping[str, Any], about: Mapping[str, str]) -> Samples:
    """The series of a run that has ended; of counters, what it adds. `about` has its service and environment."""
    base = (("command", run.command), *((name, about.get(name, "")) for name in ABOUT[1:]))
    seconds, code = run.last - run.start, int(run.exit_code or 0)
    found: Samples = {
        ("cd_run_duration_seconds", base): seconds,
        ("cd_run_success", base): float(code == 0),
        ("cd_run_exit_code", base): float(code),
        ("cd_run_end_timestamp_seconds", base): run.last,
        ("cd_runs_total", (*base, ("exit_code", str(code)))): 1.0,
        ("cd_run_seconds_total", base): seconds,
    }
    if code == 0:
        found["cd_run_last_success_timestamp_seconds", base] = run.last
    for stage in run.stages:
        key = "cd_stage_duration_seconds", (*base, ("stage", stage.name))
        found[key] = found.get(key, 0.0) + (stage.end or run.last) - stage.start
    if run.command in _ROLLBACKS and result.get("rolled_back_to") and result.get("outcome") != "unchanged":
        kind = (*base, ("kind", _ROLLBACKS[run.command]))
        found["cd_rollback_timestamp_seconds", kind] = run.last
        found["cd_rollbacks_total", kind] = 1.0
    lead = result.get("lead_time_s")
    if isinstance(lead, int | float):
        found["cd_lead_time_seconds", base] = float(lead)
    return found


def merged(before: Samples, now: Samples) -> Samples:
    """What a file says after a run: counters added up, the run's own gauges in place of those of the run before it."""
    now = _bounded(before, now)
    subjects = {_subject(labels) for _, labels in now}
    kept = {
        (name, labels): value
        for (name, labels), value in before.items()
        if FAMILIES[name].kind == COUNTER or FAMILIES[name].lasting or _subject(labels) not in subjects
    }
    added = {key: kept.get(key, 0.0) + value for key, value in now.items() if FAMILIES[key[0]].kind == COUNTER}
    return {**kept, **now, **added}


def _subject(labels: Labels) -> Labels:
    return labels[: len(ABOUT)]


def _bounded(before: Samples, now: Samples) -> Samples:
    """The same, of `other` where there are too many services: a change may name its service as it likes."""
    known = {dict(labels)["service"] for _, labels in before}
    if len(known) < MOST_SERVICES:
        return now
    return {
        (name, tuple((key, value if key != "service" or value in known else OTHER) for key, value in labels)): number
        for (name, labels), number in now.items()
    }
