"""authorize-deploy: decide whether a commit may be deployed, or a release rolled back, and sign the permit for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import audit_option, environment_option, service_option, targets_option

if TYPE_CHECKING:
    from cdlib.run import Run


@command("authorize-deploy", timeout=480)
@targets_option
@environment_option
@service_option
@click.option("--tag", default="", envvar="CD_TAG", help="Which published tag.  [default: that of the commit]")
@click.option("--digest", default="", envvar="CD_DIGEST", help="Which digest, in place of a tag.")
@click.option("--unrelated", is_flag=True, envvar="CD_UNRELATED", help="Although git does not know what is live.")
@click.option("--signing-key", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_SIGNING_KEY",
              help="The authorizer's private key (PEM, ECDSA P-256).")  # fmt: skip
@click.option("--rollback", is_flag=True, envvar="CD_ROLLBACK", help="For helm-rollback, in place of a deploy.")
@click.option("--to", type=click.IntRange(min=1), envvar="CD_TO", metavar="REVISION",
              help="Which revision, for --rollback.  [default: the last other verified one]")  # fmt: skip
@click.option("--break-glass", is_flag=True, help="Ask for no review, build or tests. It is told everywhere.")
@click.option("--reason", default="", help="Why the glass is broken.")
@audit_option
def main(run: Run, folder: Path, targets: Path | None, environment: str, service: str, **options: Any) -> Result:
    """Permit the deploy of the commit in DIR, once, for 15 minutes at most; or refuse it (exit 6).

    Every commit between what was authorized before and this one is judged from Gerrit's records, and the image by
    what its build and its tests have signed. The permit is put beside the image, where helm-deploy finds it. With
    the policy `none` nothing is judged, and no permit is needed.
    """
    from cdlib.promotion.authorizing import Options, authorize

    return authorize(run, folder, targets, environment, service, Options(**options))


if __name__ == "__main__":
    main()
