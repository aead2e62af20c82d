"""What every command shares: the common options, and one way from a function to a command."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cdlib.listeners import Listeners
from cdlib.result import Result
from jobs.executing import Common, execute

Apart = Callable[[Path, bool, dict[str, Any]], Path]  # of the results' folder, whether --out names it, and the options


def command(
    name: str, *, timeout: float, apart: Apart | None = None
) -> Callable[[Callable[..., Result]], click.Command]:
    """Make a Click command of a function that takes a Run, the folder, and its own options.

    `timeout` is the default limit of the whole run in seconds. The function returns what it made: `outcome`
    (`done` where absent), `text` for stdout, and what the JSON object shows. `apart` is for a command that tells of
    other commands' results: it says where its own go, and may fill in options by where those are.
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
            results = out or folder / ".cd"
            own = apart(results, out is not None, options) if apart else results
            common = Common(folder, as_json, dry_run, own, timeout, quiet, listeners, color)
            status = execute(name, common, function, options)
            gc.freeze()  # on its way out Python would look for garbage in all that was imported, for 50 ms
            sys.exit(status)

        return entry

    return wrap
