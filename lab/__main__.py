"""`python -m lab COMMAND`: real servers on this machine, by one command."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager

import click

from cdlib.console import Console
from cdlib.errors import CdError, UsageProblem, from_os_error
from lab import layout as layouts
from lab import lock


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Real servers on this machine: Docker Engine, a registry and Kubernetes, from packages alone.

    Everything lies below LAB_ROOT (default: /var/lib/cdlab). A cluster in LAB_KUBECONFIG, a Docker in
    DOCKER_HOST and a registry in LAB_REGISTRY are used where they answer.
    """


@cli.command()
@click.option(
    "--extras",
    is_flag=True,
    help="Also what the tests need: Helm 3, buildx, cosign, kwok, a frontend of BuildKit, Chromium, axe.",
)
@click.option("--loop", is_flag=True, help="Also Gerrit, ZooKeeper and Zuul.")
def install(extras: bool, loop: bool) -> None:
    """Install and compile what is missing, and start nothing."""
    from lab import given, up
    from lab import install as installs

    layout = layouts.layout()
    with _alone(layout):
        there = given.find(layout, up.running(layout), _say)
        installs.install(layout, there, extras=extras, loop=loop, say=_say)
    _good("the lab is installed")


@cli.command()
@click.option("--loop", is_flag=True, help="With Gerrit, Zuul and Jenkins; a lab that has them keeps them.")
def up(loop: bool) -> None:
    """Install what is missing and start what does not run; running it again changes nothing."""
    from lab import up as ups

    layout = layouts.layout()
    with _alone(layout):
        started = ups.bring_up(layout, _say, loop=loop)
    _good("the lab is up" if started else "the lab was up already")


@cli.command()
@click.option("--wipe", is_flag=True, help="Forget the cluster and the stores of registry and Docker, too.")
def down(wipe: bool) -> None:
    """Stop everything, and leave no process, mount, link or container behind."""
    from lab import down as downs

    layout = layouts.layout()
    with _alone(layout):
        downs.stop(layout)
        if wipe:
            downs.wipe(layout)
    _good("the lab is down: no process, mount, link or container of it is left")


@cli.command()
def status() -> None:
    """Show each server; exit with 0 where all of them serve, else with 1."""
    from lab import status as statuses

    shown = statuses.rows(layouts.layout())
    for line in statuses.table(shown):
        click.echo(line)
    if not all(row.good for row in shown):
        raise click.exceptions.Exit(1)


@cli.command()
@click.argument("name")
@click.option("--kill", is_flag=True, help="By SIGKILL, as a crash would end it.")
def stop(name: str, kill: bool) -> None:
    """End the server NAME, and leave the others alone."""
    from lab import single

    layout = layouts.layout()
    with _alone(layout):
        single.stop(layout, name, kill=kill)
    _good(f"{name} is down")


@cli.command()
@click.argument("name")
def start(name: str) -> None:
    """Start the server NAME, which has ended, and wait until it serves."""
    from lab import single

    layout = layouts.layout()
    with _alone(layout):
        single.start(layout, name)
    _good(f"{name} is up")


@cli.command()
def env() -> None:
    """Print what a shell needs to use the lab, for eval."""
    from lab import settings

    click.echo(settings.exports(_settings()))


@cli.command()
@click.argument("name")
@click.option("-n", "--lines", default=50, show_default=True, help="How many of the last lines; 0 for all.")
def logs(name: str, lines: int) -> None:
    """Print the last lines of the log of the server NAME."""
    path = layouts.layout().log(name)
    if "/" in name or not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.log") if not file.stem.endswith(".old"))
        raise UsageProblem(f"there is no log of {name!r}", hint=f"choose from: {', '.join(known) or 'none yet'}")
    for line in path.read_text(errors="replace").splitlines()[-lines:]:
        click.echo(line)


@cli.command()
def demo() -> None:
    """Take the sample service from a commit to serving and back; the lab must be up."""
    from lab import demo as demos

    demos.play(layouts.layout().root, {**os.environ, **_settings()})


@cli.command()
def loop() -> None:
    """Play the whole loop, from a push to serving; the lab must be up, with its loop."""
    from lab.loop.actors import Loop
    from lab.loop.places import Places
    from lab.loop.story import play
    from lab.settings import Settings

    layout = layouts.layout()
    play.play(Loop(Settings(_settings()), Places(layout)), layout.root)


def _alone(layout: layouts.Layout) -> AbstractContextManager[None]:
    return lock.held(layout.root / "lock", _say)


def _settings() -> dict[str, str]:
    from lab import settings
    from lab.loop.places import NAMES, Places
    from lab.plan import read

    layout = layouts.layout()
    plan = read(layout.plan)
    loop = {} if plan.names.isdisjoint(NAMES) else Places(layout).settings(plan.given)
    return {**settings.settings(layout, plan.given), **loop}


def _say(text: str) -> None:
    Console().line("", "  ", text)


def _good(text: str) -> None:
    Console().line("ok", "✓ ", text)


def main() -> int:
    """Run a command, and make of any error a message and an exit status."""
    try:
        code = cli.main(standalone_mode=False, prog_name="python -m lab")
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except CdError as problem:
        Console().problem(problem.message, problem.hint, problem.details)
        return problem.exit_code
    except OSError as problem:
        found = from_os_error(problem)
        Console().problem(found.message, found.hint, found.details)
        return found.exit_code
    except (KeyboardInterrupt, click.Abort):
        Console().problem("interrupted", "run it again: it goes on where it was", ())
        return 130
    # Without standalone mode, click returns the status of Exit instead of raising it.
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
