"""What every command shares: the common options, and one way from an outcome to output and exit status."""

from __future__ import annotations

import gc
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

import click

from cdlib.listeners import Listeners
from cdlib.result import SCHEMA, Result


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


def command(name: str, *, timeout: float) -> Callable[[Callable[..., Result]], click.Command]:
    """Make a Click command of a function that takes a Run, the folder, and its own options.

    `timeout` is the default limit of the whole run in seconds. The function returns what it made: `outcome`
    (`done` where absent), `text` for stdout, and what the JSON object shows.
    """

    def wrap(function: Callable[..., Result]) -> click.Command:
        @click.command(name, context_settings={"show_default": True, "max_content_width": 100})
        @click.option("-C", "folder", metavar="DIR", default=".", type=click.Path(path_type=Path), envvar="CD_DIR",
                      help="The service's work tree.")  # fmt: skip
        @click.option("--json", "as_json", is_flag=True, envvar="CD_JSON", help="Print one JSON object on stdout.")
        @click.option("--dry-run", is_flag=True, envvar="CD_DRY_RUN", help="Write nothing; print what would be done.")
        @click.option("--out", metavar="DIR", type=click.Path(path_type=Path), envvar="CD_OUT",
                      help="Where events.jsonl, cd-result.json and reports go.  [default: DIR/.cd]")  # fmt: skip
        @click.option("--timeout", metavar="SECONDS", default=timeout, type=click.FloatRange(min=0, min_open=True),
                      envvar="CD_TIMEOUT", help="The limit of the whole run.")  # fmt: skip
        @click.option("-q", "--quiet", is_flag=True, envvar="CD_QUIET", help="Leave out progress and programs' output.")
        @click.option("--metrics-file", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_METRICS_FILE",
                      help="Keep Prometheus metrics in FILE, for node_exporter's textfile collector.")  # fmt: skip
        @click.option("--pushgateway", metavar="URL", default="", envvar="CD_PUSHGATEWAY",
                      help="Give Prometheus metrics to this Pushgateway.")  # fmt: skip
        @click.option("--color/--no-color", default=None, help="Colours on stderr.  "
                      "[default: NO_COLOR, FORCE_COLOR, or as stderr is a terminal]")  # fmt: skip
        @wraps(function)
        def entry(folder: Path, as_json: bool, dry_run: bool, out: Path | None, timeout: float, quiet: bool,
                  metrics_file: Path | None, pushgateway: str, color: bool | None, **options: Any) -> None:  # fmt: skip
            listeners = Listeners(metrics_file, pushgateway)
            common = Common(folder, as_json, dry_run, out or folder / ".cd", timeout, quiet, listeners, color)
            status = _execute(name, common, function, options)
            gc.freeze()  # on its way out Python would look for garbage in all that was imported, for 50 ms
            sys.exit(status)

        return entry

    return wrap


def _execute(name: str, common: Common, function: Callable[..., Result], options: dict[str, Any]) -> int:
    """Run the function; print and keep its result, good or bad; return the exit status."""
    from cdlib.console import Console, printable
    from cdlib.errors import CdError, from_os_error
    from cdlib.progress import Progress

    started = time.monotonic()
    gc.set_threshold(50_000)  # with 700, the default, it looks through all that is imported again and again
    _tolerate_any_text()
    console = Console(color=common.color, quiet=common.quiet)
    progress = Progress(console)
    run = None
    try:
        _catch_signals()
        run = _start(name, common, console, progress)
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
        result = {"outcome": "interrupted", "exit_code": 128 + int(signum)}
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


def _start(name: str, common: Common, console: Any, progress: Any) -> Any:
    from cdlib.deadline import Deadline
    from cdlib.errors import UsageProblem
    from cdlib.redact import Redactor
    from cdlib.report.events import Events
    from cdlib.run import Run

    if not common.folder.is_dir():
        raise UsageProblem(f"{common.folder} is no folder", hint="name the service's work tree by -C DIR")
    redactor = Redactor()
    for place in chain([common.out], common.out.rglob("*")):  # one by one: what a link leads to is never walked
        if place.is_symlink():  # a work tree that comes from a change could lead us anywhere
            raise UsageProblem(f"{place} is a symbolic link", hint="remove it, or name another folder by --out")
    if not common.out.exists():
        common.out.mkdir(parents=True)
        (common.out / ".gitignore").write_text("*\n")  # what a run leaves behind is no part of the service
    events = Events(name, redactor, common.out / "events.jsonl")
    events.listen(console.on_event)
    events.listen(common.listeners.on_event)
    if not common.quiet:
        events.listen(progress.on_event)
    events.emit("run_start", dry_run=common.dry_run, cpu_s=_computed())
    return Run(name, Deadline(common.timeout, name), redactor, events, common.dry_run, common.out)


def _tolerate_any_text() -> None:
    """A name that the locale cannot write, or that is no text at all, is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _computed() -> float:
    """Seconds that this process has computed since its start; what its children did is not in it."""
    return round(time.process_time(), 3)


def _keep(common: Common, console: Any, run: Any, result: Result) -> None:
    """Leave the result beside the events, whole or not at all."""
    if run is None:
        return
    common.listeners.tell(run, _clean(run, result))
    run.events.emit("run_end", outcome=result["outcome"], exit_code=result["exit_code"], cpu_s=_computed())
    try:
        partial = common.out / f".cd-result.{run.events.run_id}"
        text = json.dumps(_clean(run, result), ensure_ascii=False, indent=1) + "\n"
        partial.write_text(text, encoding="utf-8", errors="replace")
        partial.replace(common.out / "cd-result.json")
    except OSError as problem:
        console.line("warning", "warning: ", f"cd-result.json could not be written: {problem.strerror}")
    finally:
        run.events.close()


def _clean(run: Any, result: Result) -> Any:
    return run.redactor.value(result) if run else result


def _failure(problem: Any, console: Any, run: Any) -> Result:
    """Tell of an expected error. An error may carry what the command had made by then, as `made`."""
    tell = run.redactor.text if run else str
    details = tuple(tell(detail) for detail in problem.details)
    console.problem(tell(problem.message), tell(problem.hint), details)
    error = {"message": problem.message, "hint": problem.hint, "details": list(problem.details)}
    return {"outcome": problem.outcome, "exit_code": problem.exit_code, **problem.made, "error": error}


def _defect(console: Any, run: Any) -> Result:
    """Tell of an error that nobody expected: a short message here, the traceback in events.jsonl."""
    import traceback

    trace = traceback.format_exc()
    message = f"a defect of ours: {trace.strip().splitlines()[-1]}"
    hint = "please report it with the traceback, which is in events.jsonl"
    if run:
        run.events.emit("defect", traceback=trace)
        message = run.redactor.text(message)
    console.problem(message, hint, ())
    return {"outcome": "defect", "exit_code": 1, "error": {"message": message, "hint": hint, "details": []}}


def _catch_signals() -> None:
    """Turn the first SIGINT or SIGTERM into Interrupted; later ones must not break the cleaning up."""
    from cdlib.errors import Interrupted

    def handler(signum: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted(signum)

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
