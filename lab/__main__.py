"""`python -m lab COMMAND`: real servers on this machine, by one command."""

from __future__ import annotations

import sys

import click

from cdlib.console import Console
from cdlib.errors import CdError, from_os_error
from lab import layout as layouts
from lab import lock


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Real servers on this machine: Docker Engine, a registry and Kubernetes, from packages alone."""


def _say(text: str) -> None:
    Console().line("", "  ", text)


@cli.command()
def up() -> None:
    """Install what is missing and start what does not run; running it again changes nothing."""
    from lab import up as ups

    layout = layouts.layout()
    with lock.held(layout.root / "lab.lock", _say):
        started = ups.start(layout, {}, _say)
    Console().line("ok", "✓ ", "the lab is up" if started else "the lab was up already")


@cli.command()
@click.option("--wipe", is_flag=True, help="Forget the cluster and the stores of registry and Docker, too.")
def down(wipe: bool) -> None:
    """Stop everything, and leave no process, mount, link or container behind."""
    from lab import down as downs

    layout = layouts.layout()
    with lock.held(layout.root / "lab.lock", _say):
        downs.stop(layout)
        if wipe:
            downs.wipe(layout)
    Console().line("ok", "✓ ", "the lab is down: no process, mount, link or container of it is left")


def main() -> int:
    """Run a command, and make of any error a message and an exit status."""
    try:
        cli.main(standalone_mode=False, prog_name="python -m lab")
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except CdError as problem:
        Console().problem(problem.message, problem.hint, problem.details)
        return problem.exit_code
    except OSError as problem:
        found = from_os_error(problem)
        Console().problem(found.message, found.hint, found.details)
        return found.exit_code
    except (KeyboardInterrupt, click.Abort):
        Console().problem("interrupted", "", ())
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
