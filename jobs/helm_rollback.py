"""helm-rollback: show what was live, and go back to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.board import columns
from jobs.command import command
from jobs.options import audit_option, environment_option, permit_option, service_option, targets_option, wait_option
from jobs.placing import aside

if TYPE_CHECKING:
    from cdlib.run import Run


@command("helm-rollback", timeout=600, placing=aside("list", looks=lambda options: options["only_list"], always=False))
@targets_option
@environment_option
@service_option
@click.option(
    "--list",
    "only_list",
    is_flag=True,
    help="Show the history, newest first, and change nothing; the result goes to the folder list below --out.",
)
@click.option("--to", type=click.IntRange(min=1), envvar="CD_TO", metavar="REVISION",
              help="Where to go.  [default: the last other revision that was verified healthy]")  # fmt: skip
@click.option(
    "--reason", default="rolled back by hand", envvar="CD_REASON", help="Why; the record and the hold keep it."
)
@click.option("--unverified", is_flag=True, envvar="CD_UNVERIFIED",
              help="Go even to a revision that was never seen healthy, or is quarantined.")  # fmt: skip
@permit_option
@audit_option
@wait_option
def main(run: Run, folder: Path, targets: Path | None, environment: str, service: str, only_list: bool,
         to: int | None, reason: str, unverified: bool, permit_file: Path | None, audit: Path | None,
         wait: bool) -> Result:  # fmt: skip
    """Roll the release back to a revision chosen from its history, wait until it serves, and hold it there.

    Where the policy asks for it, the authorizer's permit is needed: authorize-deploy --rollback.

    While it is on hold, automatic deploys are refused; lift the hold by: cd-hold --lift
    """
    from cdlib.promotion.deploying import Options, go_back_by_hand
    from cdlib.promotion.releases import opened
    from cdlib.rollout.listing import as_text, rows

    options = Options(permit_file, audit, wait)
    options.check()
    with opened(run, folder, targets, service, environment) as release:
        if only_list:
            record, found = rows(release, run.deadline)
            revisions, text = [row.as_dict() for row in found], as_text(found, record, columns())
            return {"revisions": revisions, "hold": record.hold, "text": text}
        return go_back_by_hand(release, targets, options, to, reason, unverified=unverified)


if __name__ == "__main__":
    main()
