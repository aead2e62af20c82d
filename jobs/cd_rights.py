"""cd-rights: what the accounts may do in a cluster, for whoever administers it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import targets_option
from jobs.placing import aside

if TYPE_CHECKING:
    from cdlib.run import Run


@command("cd-rights", timeout=60, placing=aside("rights", looks=lambda _: True))
@targets_option
@click.option("-e", "--environment", default="", metavar="NAME", envvar="CD_ENVIRONMENT",
              help="Only this environment of targets.yaml.  [default: all]")  # fmt: skip
@click.option("--service", default="", metavar="NAME", envvar="CD_SERVICE", help="Only this service.  [default: all]")
@click.option("--accounts", default="cd-accounts", metavar="NAMESPACE", help="Where the accounts lie.")
@click.option("--image", "images", multiple=True, metavar="REPOSITORY",
              help="A repository whose images may run as well, by digest; may be given again.")  # fmt: skip
def main(run: Run, folder: Path, targets: Path | None, environment: str, service: str, accounts: str,
         images: tuple[str, ...]) -> Result:  # fmt: skip
    """Print accounts, roles and admission policies as YAML, for `kubectl apply -f -` by an administrator.

    The accounts are one for deploys, one for the authorizer and one for cd-status, for each environment; the policies
    refuse every image that is not, by digest, of a service of its namespace. It asks no cluster, and
    writes nothing but its own result, to the folder rights below --out.
    """
    import yaml

    from cdlib.errors import UsageProblem
    from cdlib.rollout.rights import rights
    from cdlib.target import read_target, read_targets

    if service:
        read_target(targets, service)
    objects = rights(read_targets(targets), environment, service, accounts=accounts, images=images)
    if not objects:
        raise UsageProblem(f"{targets} has no service, so there is nothing to grant", hint="add one under services")
    text = yaml.safe_dump_all(objects, sort_keys=False, default_flow_style=None, width=110)
    # It is fed to kubectl, so not a word of it may be hidden, and what it is made of is no secret: targets.yaml names
    # files of secrets, and has none.
    return {"objects": objects, "text": text.rstrip("\n"), "public": ("objects", "text")}


if __name__ == "__main__":
    main()
