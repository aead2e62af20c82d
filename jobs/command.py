"""What every command shares: the common options, and one way from a function to a command."""

from __future__ import annotations

import gc
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cdlib import VERSION
from cdlib.listeners import Listeners
from cdlib.result import Result
from jobs.executing import Common, execute
from jobs.placing import Place, Placing
from jobs.streams import open_streams

_LONGEST = 30 * 24 * 3600  # seconds; the system's own timers overflow at some 290 years


class Seconds(click.FloatRange):
    """A limit in seconds. What is no number (`nan`) is in every range for click."""

    def __init__(self, *, zero: bool = False) -> None:
        super().__init__(min=0, min_open=not zero, max=_LONGEST)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number of seconds.", param, ctx)
        return number


class Command(click.Command):
    """A command whose wrong options end as all else that is wrong: told with what to do next, and kept as a result."""

    timeout: float
    placing: Placing

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
             standalone_mode: bool = True, **extra: Any) -> Any:  # fmt: skip
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        open_streams()
        words = sys.argv[1:] if args is None else list(args)
        try:
            status = super().main(words, prog_name or self.name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as problem:
            status = self._refuse(words, problem)
        gc.freeze()  # on its way out Python would look for garbage in all that was imported, for 50 ms
        sys.exit(status)

    def common(self, options: dict[str, Any]) -> tuple[Common, dict[str, Any]]:
        """The options that every command has, taken out of `options`, and the rest."""
        folder, out = options.pop("folder"), options.pop("out")
        listeners = Listeners(options.pop("metrics_file"), options.pop("pushgateway") or "")
        shared = {name: options.pop(name) for name in ("as_json", "dry_run", "timeout", "quiet", "color")}
        place = self.placing(Path(out) if out else folder / ".cd", bool(out), options)
        return Common(folder=folder, place=place, listeners=listeners, **shared), options

    def _refuse(self, words: Sequence[str], problem: click.ClickException) -> int:
        """End as wrong use does (2), with the result where the options that can be read say."""
        from cdlib.errors import UsageProblem

        def refused(*_: Any, **__: Any) -> Result:
            raise UsageProblem(problem.format_message(), hint=self._hint(problem))

        read = self.make_context(self.name, list(words), resilient_parsing=True, ignore_unknown_options=True,
                                 allow_extra_args=True).params  # fmt: skip
        common, _ = self.common({**read, "folder": read["folder"] or Path(), "timeout": self.timeout})
        return execute(str(self.name), replace(common, place=replace(common.place, spare=True)), refused, {})

    def _hint(self, problem: click.ClickException) -> str:
        """What to do about it, with the variable that the option may come from."""
        variable = getattr(getattr(problem, "param", None), "envvar", None)
        also = f"; the variable {variable} sets it, too" if variable else ""
        return f"{self.name} --help shows the options{also}"


def command(
    name: str, *, timeout: float, placing: Placing = lambda results, _given, _options: Place(results)
) -> Callable[[Callable[..., Result]], click.Command]:
    """Make a Click command of a function that takes a Run, the folder, and its own options.

    `timeout` is the default limit of the whole run in seconds. The function returns what it made: `outcome`
    (`done` where absent), `text` for stdout, and what the JSON object shows; what `public` names of it is made of
    nothing secret, and not looked through for secrets. `placing` is for a command whose own result must not take
    the place of another's.
    """

    def wrap(function: Callable[..., Result]) -> click.Command:
        settings = {"show_default": True, "max_content_width": 100, "help_option_names": ["-h", "--help"]}

        @click.command(name, cls=Command, context_settings=settings)
        @click.option("-C", "folder", metavar="DIR", default=".", type=click.Path(path_type=Path), envvar="CD_DIR",
                      help="The service's work tree.")  # fmt: skip
        @click.option("--json", "as_json", is_flag=True, envvar="CD_JSON", help="Print one JSON object on stdout.")
        @click.option("--dry-run", is_flag=True, envvar="CD_DRY_RUN", help="Write nothing but --out; print what would "
                      "be done.")  # fmt: skip
        @click.option("--out", metavar="DIR", envvar="CD_OUT", help="Where events.jsonl, cd-result.json and reports "
                      "go.  [default: DIR/.cd]")  # fmt: skip
        @click.option("--timeout", metavar="SECONDS", default=timeout, type=Seconds(), envvar="CD_TIMEOUT",
                      help="The limit of the whole run.")  # fmt: skip
        @click.option("-q", "--quiet", is_flag=True, envvar="CD_QUIET", help="Leave out progress and programs' output.")
        @click.option("--metrics-file", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_METRICS_FILE",
                      help="Keep Prometheus metrics in FILE, for node_exporter's textfile collector.")  # fmt: skip
        @click.option("--pushgateway", metavar="URL", default="", envvar="CD_PUSHGATEWAY",
                      help="Give Prometheus metrics to this Pushgateway.")  # fmt: skip
        @click.option("--color/--no-color", default=None, help="Colours on stderr.  "
                      "[default: NO_COLOR, FORCE_COLOR, or as stderr is a terminal]")  # fmt: skip
        @click.version_option(VERSION, message="%(prog)s %(version)s", help="Show the version and exit.")
        @wraps(function)
        def entry(**options: Any) -> int:
            common, own = made.common(options)
            return execute(name, common, function, own)

        made = entry
        made.timeout, made.placing = timeout, placing
        _show_what_sets_them(made)
        return made

    return wrap


def _show_what_sets_them(made: click.Command) -> None:
    """In --help each option names its variable, and only a default that says something is shown, once."""
    for option in made.params:
        if isinstance(option, click.Option):
            option.show_envvar = bool(option.envvar)
            if option.default == "" or re.search(r"\[default: ", option.help or ""):
                option.show_default = False
