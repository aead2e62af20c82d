"""cd-hold: stop automatic deploys of a release, and let them go on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import audit_option, environment_option, service_option, targets_option
from jobs.placing import Options, aside

if TYPE_CHECKING:
    from cdlib.run import Run


def _only_shows(options: Options) -> bool:
    acts = options["reason"] or options["lift"] or options["digest"] or options["action"] != "show"
    return not acts


@command("cd-hold", timeout=60, placing=aside("hold", looks=_only_shows))
@targets_option
@environment_option
@service_option
@click.option("--set", "reason", metavar="REASON", default="", help="Hold the release, for this reason.")
@click.option("--lift", is_flag=True, help="Lift the hold.")
@click.option("--action", type=click.Choice(["show", "lift", "set"]), default="show", envvar="CD_HOLD",
              help="The same as --lift, or as --set with --reason; for Jenkins.")  # fmt: skip
@click.option("--reason", "why", metavar="REASON", default="", envvar="CD_REASON", help="Why, for --action set.")
@click.option("--release", "digest", metavar="DIGEST", default="", help="Take a digest out of quarantine.")
@audit_option
def main(run: Run, folder: Path, targets: Path | None, environment: str, service: str, reason: str, lift: bool,
         action: str, why: str, digest: str, audit: Path | None) -> Result:  # fmt: skip
    """Show, set or lift the hold of a release; while it is held, automatic deploys are refused (exit 6).

    It leaves its own result in the folder hold below --out.
    """
    from cdlib.errors import UsageProblem
    from cdlib.promotion.holding import change_hold
    from cdlib.promotion.releases import opened

    if action == "set" and not (reason or why.strip()):
        raise UsageProblem("a hold needs a reason: each refused deploy says it", hint="give it by --reason (CD_REASON)")
    reason, lift = reason or (why.strip() if action == "set" else ""), lift or action == "lift"
    if sum(map(bool, (reason, lift, digest))) > 1:
        raise UsageProblem("--set, --lift and --release exclude each other", hint="give one of them")
    with opened(run, folder, targets, service, environment) as release:
        place, record = release.environment, change_hold(release, audit, reason=reason, lift=lift, digest=digest)
    held = f"on hold since {record.hold['since']}: {record.hold['reason']}" if record.hold else "not on hold"
    return {"release": place.release, "namespace": place.namespace, "hold": record.hold,
            "quarantine": record.quarantine, "text": f"{place.namespace}/{place.release} is {held}"}  # fmt: skip


if __name__ == "__main__":
    main()
