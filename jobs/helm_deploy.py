"""helm-deploy: take a published image to an environment, see it serve, or take it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import audit_option, environment_option, permit_option, targets_option, wait_option

if TYPE_CHECKING:
    from cdlib.run import Run


@command("helm-deploy", timeout=600)
@targets_option
@environment_option
@click.option("--tag", default="", envvar="CD_TAG", help="Which published tag.  [default: that of the commit]")
@click.option("--digest", default="", envvar="CD_DIGEST", help="Which digest, in place of a tag.")
@click.option(
    "--unrelated", is_flag=True, envvar="CD_UNRELATED", help="Deploy although git does not know what is live."
)
@permit_option
@audit_option
@wait_option
def main(run: Run, folder: Path, targets: Path | None, environment: str, tag: str, digest: str, unrelated: bool,
         permit_file: Path | None, audit: Path | None, wait: bool) -> Result:  # fmt: skip
    """Deploy the published image of the commit in DIR by Helm, wait until it serves, and verify it.

    A rollout that fails goes back to the last revision that was verified healthy (exit 7), with the evidence
    kept. The same commit, image, chart and values again change nothing, unless the live objects are not what they
    say: that is shown, and mended.
    """
    from cdlib.promotion.deploying import Options, deploy_published

    options = Options(permit_file, audit, wait)
    return deploy_published(run, folder, targets, environment, options, tag=tag, digest=digest, unrelated=unrelated)


if __name__ == "__main__":
    main()
