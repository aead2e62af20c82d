"""cd-status: what is live where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdlib.result import Result, unless
from jobs.auditing import audited
from jobs.board import columns, follow, write_page
from jobs.command import command
from jobs.completing import environments, services
from jobs.options import targets_option
from jobs.placing import aside

if TYPE_CHECKING:
    from cdlib.run import Run


@command("cd-status", timeout=3600, placing=aside("status", looks=lambda _: True))
@targets_option
@click.option("-e", "--environment", default="", metavar="NAME", envvar="CD_ENVIRONMENT",
              help="Only this environment of targets.yaml.  [default: all]", shell_complete=environments)  # fmt: skip
@click.option("--service", default="", metavar="NAME", envvar="CD_SERVICE", help="Only this service.  [default: all]",
              shell_complete=services)  # fmt: skip
@click.option("--drift", is_flag=True, help="Look for what was changed beside the releases, too; takes longer.")
@click.option("--html", "page", metavar="PAGE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the board as a page, too.")  # fmt: skip
@click.option("--audit", is_flag=False, flag_value="", default=None, metavar="[FILE]",
              help="Check and print an audit record in place of the releases.  [default: CD_AUDIT]")  # fmt: skip
@click.option("--known", multiple=True, metavar="HASH", help="A hash that an entry of it had; may be given again.")
@click.option("--watch", is_flag=True, help="Go on showing what changes, to the end of --timeout.")
def main(run: Run, folder: Path, targets: Path | None, environment: str, service: str, drift: bool,
         page: Path | None, audit: str | None, known: tuple[str, ...], watch: bool) -> Result:  # fmt: skip
    """Show what is live where: every release of targets.yaml, or those of one service or environment.

    It writes nothing to a cluster, and leaves its own result in the folder status below --out. A cluster that does not
    answer is named, and the others are shown (exit 69). An audit record that is not as it was written is shown, and
    refused (exit 6).
    """
    if audit is not None or known:
        return audited(audit or "", known)
    from cdlib.report.boardtext import as_text
    from cdlib.rollout.board import spots
    from cdlib.rollout.survey import Survey
    from cdlib.target import read_targets

    with Survey(run, spots(read_targets(targets, service), environment), drift=drift) as survey:
        if watch:
            draw = columns() is not None and not click.get_current_context().params["as_json"]
            board = follow(run, survey, run.deadline, page, draw=draw)
        else:
            board = survey.look(run.deadline)
    told: Any = run.redactor.value(board.as_dict())
    if page:
        write_page(run, told, page)
    made: Result = {**told, **({"page": str(page)} if page else {}), "text": as_text(told, columns())}
    return unless(board.problem(), made)


if __name__ == "__main__":
    main()
