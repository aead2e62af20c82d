"""cd-report --dora: the four DORA figures of every release of targets.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdlib.result import Result
from jobs.board import columns

if TYPE_CHECKING:
    from cdlib.rollout.history import History
    from cdlib.run import Run


def report_dora(run: Run, targets: Path | None, environment: str, service: str, days: int) -> Result:
    """The figures of all releases, or of those of one service or environment.

    Raises what kept one from being read, with the others as what was made.
    """
    from datetime import UTC, datetime

    from cdlib.report.doratext import as_text
    from cdlib.rollout.board import spots
    from cdlib.rollout.history import histories
    from cdlib.target import read_target, read_targets
    from cdlib.units import timestamp

    found = [read_target(targets, service)] if service else read_targets(targets)
    known, now = histories(run, spots(found, environment), run.deadline), datetime.now(UTC)
    told = {"at": timestamp(now), "days": days, "releases": [_row(each, now, days) for each in known]}
    clean: Any = run.redactor.value(told)
    made: Result = {"dora": clean, "text": as_text(clean, columns())}
    problem = next((each.problem for each in known if each.problem), None)
    if problem is not None:
        problem.made = made
        raise problem
    return made


def _row(known: History, now: Any, days: int) -> Result:
    from cdlib.rollout.dora import figures

    place = known.spot.environment
    return {
        "service": known.spot.service, "environment": place.name, "namespace": place.namespace,
        "release": place.release, **figures(known.revisions, now, days).as_dict(),
        "trouble": known.problem.message if known.problem else "",
    }  # fmt: skip
