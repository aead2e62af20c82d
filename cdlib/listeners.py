"""The machines that hear of a run at its end: readers of JUnit files, Prometheus, and receivers of traces.

None of them can change how a run ends: what cannot be told is a warning, and is waited for a few seconds at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdlib.report.timeline import CommandRun
    from cdlib.run import Run

_PATIENCE = 3.0  # seconds for each
_KEPT = ("run_start", "stage_start", "stage_end", "verdict")
_CHECKED = ("helm-deploy", "helm-rollback")  # the commands whose stages are checks of a rollout


@dataclass
class Listeners:
    """Who is told, and the events that it is made of."""

    metrics_file: Path | None = None
    pushgateway: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def on_event(self, event: dict[str, Any]) -> None:
        """The listener to hand to Events; what has no bound, such as the states of pods, is not kept."""
        if event["event"] in _KEPT:
            self.events.append(event)

    def tell(self, run: Run, result: dict[str, Any]) -> None:
        """Tell them all how the run ended; `result` has no secrets any more."""
        from cdlib.errors import Interrupted

        if run.dry_run:
            return
        try:
            self._tell(run, result)
        except Interrupted:
            run.warn("interrupted while machines were told how it ended, which stays as it is")

    def _tell(self, run: Run, result: dict[str, Any]) -> None:
        traced = any(name.startswith("OTEL_EXPORTER_OTLP") for name in os.environ)  # perhaps
        checked = run.keeps and run.command in _CHECKED and "revisions" not in result  # a listing checks nothing
        if not (checked or traced or self.metrics_file or self.pushgateway):
            return
        ended = self._ended(run, result)
        if checked:
            _try(run, "the checks cannot be written as JUnit", lambda: _write_checks(run, ended, result))
        self._tell_prometheus(run, ended, result)
        if traced:
            _trace(run, ended, result)

    def _tell_prometheus(self, run: Run, ended: CommandRun, result: dict[str, Any]) -> None:
        file, url = self.metrics_file, self.pushgateway
        if file is None and not url:
            return
        from cdlib.report import metrics, prometheus

        found = metrics.samples(ended, result, run.about)
        if file is not None:
            _try(run, f"no metrics are written to {file}", lambda: prometheus.write(file, found))
        if url:
            _try(run, "no metrics are pushed", lambda: prometheus.push(url, found, _PATIENCE))

    def _ended(self, run: Run, result: dict[str, Any]) -> CommandRun:
        """The run as its events say, with the end that is about to be said."""
        from cdlib.report.timeline import command_run
        from cdlib.units import timestamp

        end = {"t": timestamp(), "run": run.events.run_id, "command": run.command, "event": "run_end"}
        return command_run([*self.events, {**end, "outcome": result["outcome"], "exit_code": result["exit_code"]}])


def _write_checks(run: Run, ended: CommandRun, result: dict[str, Any]) -> None:
    from cdlib.files import replace_file
    from cdlib.report.checks import FILE, junit

    replace_file(run.out / FILE, junit(ended, result))


def _trace(run: Run, ended: CommandRun, result: dict[str, Any]) -> None:
    from cdlib.report import spans

    if spans.wanted(os.environ):
        facts = {**run.about, **result}
        _try(run, "no traces are sent", lambda: spans.send(ended, facts, os.environ, _PATIENCE))


def _try(run: Run, wrong: str, call: Callable[[], None]) -> None:
    """Call it; a warning that begins with `wrong` where it fails, whatever the cause."""
    from cdlib.deadline import within
    from cdlib.errors import CdError

    try:
        within(_PATIENCE + 1, call, "it")
    except CdError as problem:
        run.warn("; ".join(filter(None, (f"{wrong}: {problem.message}", problem.hint))))
    except Exception as problem:
        said = problem.strerror if isinstance(problem, OSError) and problem.strerror else type(problem).__name__
        run.warn(f"{wrong}: {said}")
