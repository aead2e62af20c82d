"""authorize-deploy: say whether a commit may be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.command import Result, command, environment_option, targets_option

if TYPE_CHECKING:
    from cdlib.run import Run


@command("authorize-deploy", timeout=120)
@targets_option
@environment_option
def main(run: Run, folder: Path, targets: Path | None, environment: str) -> Result:
    """Pass where the environment's policy is `none`, and refuse (exit 6) where it asks for more.

    A refusal means that the commit in DIR must not be deployed there; nothing is written.
    """
    from cdlib.errors import Refused
    from cdlib.service import read_service
    from cdlib.source import open_source
    from cdlib.target import read_target

    source = open_source(folder)
    service = read_service(source)
    place = read_target(targets, service.name).environment(environment)
    if place.policy != "none":
        raise Refused(
            f"{place.name} has policy {place.policy!r}, and nothing here can meet it",
            hint="deploy to an environment whose policy is none, or let its operators change the policy",
        )
    return {
        "service": service.name,
        "commit": source.commit,
        "environment": place.name,
        "text": f"{source.short} may be deployed to {place.name}: its policy is none",
    }


if __name__ == "__main__":
    main()
