"""cd-report --dora: the four DORA figures of every release of targets.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdlib.result import Result, unless
from jobs.board import columns

if TYPE_CHECKING:
    from cdlib.run import Run


def report_dora(run: Run, targets: Path | None, environment: str, service: str, days: int) -> Result:
    """The figures of all releases, or of those of one service or environment.

    Raises what kept one from being read, with the others as what was made.
    """
    from datetime import UTC, datetime

    from cdlib.report.doratext import as_text
    from cdlib.rollout.board import spots
    from cdlib.rollout.history import histories
    from cdlib.target import read_targets
    from cdlib.units import timestamp

    wanted = spots(read_targets(targets, service), environment)
    known, now = histories(run, wanted, run.deadline), datetime.now(UTC)
    told = {"at": timestamp(now), "days": days, "releases": [each.dora(now, days) for each in known]}
    clean: Any = run.redactor.value(told)
    made: Result = {"dora": clean, "text": as_text(clean, columns())}
    return unless(next((each.problem for each in known if each.problem), None), made)
