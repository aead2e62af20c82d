"""One run of a command, from its options to its output, its result and its exit status."""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdlib import VERSION
from cdlib.listeners import Listeners
from cdlib.result import SCHEMA, Result, of_defect, of_problem
from jobs.placing import Place
from jobs.streams import written

if TYPE_CHECKING:
    from cdlib.console import Console
    from cdlib.run import Run


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    folder: Path
    as_json: bool
    dry_run: bool
    place: Place
    timeout: float
    quiet: bool
    listeners: Listeners
    color: bool | None  # None: as the environment and the terminal have it


def execute(name: str, common: Common, function: Callable[..., Result], options: dict[str, Any]) -> int:
    """Run the function; print and keep its result, good or bad; return the exit status."""
    from cdlib.console import Console
    from cdlib.errors import CdError, from_os_error
    from cdlib.interruptions import raise_once
    from cdlib.progress import Progress

    started = time.monotonic()
    gc.set_threshold(50_000)  # with 700, the default, it looks through all that is imported again and again
    console = Console(color=common.color, quiet=common.quiet)
    progress = Progress(console)
    run = None
    try:
        raise_once()
        from cdlib.run import begin

        tells = (console.on_event, common.listeners.on_event, *(() if common.quiet else (progress.on_event,)))
        run = begin(name, common.folder, common.place.out, tells, timeout=common.timeout, dry_run=common.dry_run,
                    spare=common.place.spare)  # fmt: skip
        made = function(run, common.folder, **options)
        result = {"outcome": "done", "exit_code": 0, **made}
        if common.dry_run:
            result["outcome"] = "planned"
    except CdError as problem:
        result = _failure(problem, console, run)
    except OSError as problem:
        result = _failure(from_os_error(problem), console, run)
    except KeyboardInterrupt as problem:
        signum = getattr(problem, "signum", signal.SIGINT)
        console.problem(f"interrupted by signal {int(signum)}", "run it again: it goes on, or clears up first", ())
        result = {"outcome": "interrupted", "exit_code": getattr(problem, "exit_code", 130)}
    except Exception:
        result = _defect(console, run)
    progress.close()
    head = {"schema": SCHEMA, "command": name, "version": VERSION, "duration_s": round(time.monotonic() - started, 3)}
    result = _clean(run, {**head, **({"run": run.events.run_id} if run else {}), **result})
    text = result.pop("text", "")
    _keep(common, console, run, result)
    _print(common, console, result, text)
    return int(result["exit_code"])


def _clean(run: Run | None, result: Result) -> Result:
    """The result without secrets: all of it, but for what is named as made of nothing secret."""
    public = {name: result[name] for name in result.pop("public", ())}
    cleaned: Any = run.redactor.value(result) if run else result
    return {**cleaned, **public}


def _keep(common: Common, console: Console, run: Run | None, result: Result) -> None:
    """Leave the result beside the events, whole or not at all."""
    from cdlib.result import keep
    from cdlib.run import computed

    if run is None:
        return
    common.listeners.tell(run, result)
    run.events.emit("run_end", outcome=result["outcome"], exit_code=result["exit_code"], cpu_s=computed())
    try:
        if run.keeps:
            keep(run.out, result)
    except OSError as problem:
        console.line("warning", "warning: ", f"cd-result.json could not be written: {problem.strerror}")
    finally:
        run.events.close()


def _print(common: Common, console: Console, result: Result, text: str) -> None:
    """Print it; where that cannot be, say so, and let the run end as it has ended."""
    from cdlib.console import printable

    if common.as_json:
        # Half of a surrogate pair is text for JSON, and for nobody else.
        shown = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace").decode()
    else:
        shown = printable(text)
    why = written(shown) if shown else ""
    if why:
        kept = f"; the result is in {common.place.out}" if not common.place.spare else ""
        console.line("warning", "warning: ", f"stdout could not be written: {why}{kept}")


def _failure(problem: Any, console: Console, run: Run | None) -> Result:
    """Tell of an expected error."""
    tell = run.redactor.text if run else str
    details = tuple(tell(detail) for detail in problem.details)
    console.problem(tell(problem.message), tell(problem.hint), details)
    return of_problem(problem)


def _defect(console: Console, run: Run | None) -> Result:
    """Tell of an error that nobody expected: a short message here, the traceback in events.jsonl."""
    import traceback

    trace = traceback.format_exc()
    if run:
        run.events.emit("defect", traceback=trace)
    result = of_defect(trace, run.redactor.text if run else str)
    console.problem(result["error"]["message"], result["error"]["hint"], ())
    return result
