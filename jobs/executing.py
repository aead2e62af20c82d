"""One run of a command, from its options to its output, its result and its exit status."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from cdlib.listeners import Listeners
from cdlib.result import SCHEMA, Result, of_defect, of_problem


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    folder: Path
    as_json: bool
    dry_run: bool
    out: Path
    timeout: float
    quiet: bool
    listeners: Listeners
    color: bool | None  # None: as the environment and the terminal have it


def execute(name: str, common: Common, function: Callable[..., Result], options: dict[str, Any]) -> int:
    """Run the function; print and keep its result, good or bad; return the exit status."""
    from cdlib.console import Console, printable
    from cdlib.errors import CdError, from_os_error
    from cdlib.interruptions import raise_once
    from cdlib.progress import Progress

    started = time.monotonic()
    gc.set_threshold(50_000)  # with 700, the default, it looks through all that is imported again and again
    _tolerate_any_text()
    console = Console(color=common.color, quiet=common.quiet)
    progress = Progress(console)
    run = None
    try:
        raise_once()
        from cdlib.run import begin

        tells = (console.on_event, common.listeners.on_event, *(() if common.quiet else (progress.on_event,)))
        run = begin(name, common.folder, common.out, tells, timeout=common.timeout, dry_run=common.dry_run)
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
    text = result.pop("text", "")
    head = {"schema": SCHEMA, "command": name, "duration_s": round(time.monotonic() - started, 3)}
    result = {**head, **({"run": run.events.run_id} if run else {}), **result}
    _keep(common, console, run, result)
    if common.as_json:
        # Half of a surrogate pair is text for JSON, and for nobody else.
        print(json.dumps(_clean(run, result), ensure_ascii=False).encode("utf-8", "replace").decode())
    elif text:
        print(printable(run.redactor.text(text) if run else text))
    return int(result["exit_code"])


def _tolerate_any_text() -> None:
    """A name that the locale cannot write, or that is no text at all, is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _keep(common: Common, console: Any, run: Any, result: Result) -> None:
    """Leave the result beside the events, whole or not at all."""
    from cdlib.result import keep
    from cdlib.run import computed

    if run is None:
        return
    common.listeners.tell(run, _clean(run, result))
    run.events.emit("run_end", outcome=result["outcome"], exit_code=result["exit_code"], cpu_s=computed())
    try:
        keep(run.out, _clean(run, result))
    except OSError as problem:
        console.line("warning", "warning: ", f"cd-result.json could not be written: {problem.strerror}")
    finally:
        run.events.close()


def _clean(run: Any, result: Result) -> Any:
    return run.redactor.value(result) if run else result


def _failure(problem: Any, console: Any, run: Any) -> Result:
    """Tell of an expected error."""
    tell = run.redactor.text if run else str
    details = tuple(tell(detail) for detail in problem.details)
    console.problem(tell(problem.message), tell(problem.hint), details)
    return of_problem(problem)


def _defect(console: Any, run: Any) -> Result:
    """Tell of an error that nobody expected: a short message here, the traceback in events.jsonl."""
    import traceback

    trace = traceback.format_exc()
    if run:
        run.events.emit("defect", traceback=trace)
    result = of_defect(trace, run.redactor.text if run else str)
    console.problem(result["error"]["message"], result["error"]["hint"], ())
    return result
