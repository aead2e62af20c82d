"""helm-deploy: take a published image to an environment, see it serve, or take it back."""

from __future__ import annotations

from contextlib import closing
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
    from cdlib.documents import prepare, read_all
    from cdlib.image.published import find_published, image_lookup
    from cdlib.promotion.permits import Permits
    from cdlib.promotion.releases import at, shown
    from cdlib.rollout.deploy import deploy
    from cdlib.rollout.planning import Wish
    from cdlib.rollout.release import Release
    from cdlib.service import read_service
    from cdlib.source import open_source
    from cdlib.target import read_document, target_in
    from cdlib.trigger import read_trigger

    source = open_source(folder, meanwhile=prepare)
    service, document = read_all(lambda: read_service(source), lambda: read_document(targets))
    if source.uncommitted:
        run.warn("there are uncommitted changes: what is deployed is the commit")
    assert targets is not None
    target = target_in(document, targets, service.name)
    place, trigger = target.environment(environment), read_trigger()
    with at(run, place, service.name):
        if permit_file is None:  # a permit that was given is for the guard to judge, whoever brings it
            trigger.require_publishing(place.policy, "deploying")
        image = find_published(run, source, target, tag=tag, digest=digest)
        with closing(Release.open(run, service.name, place, trigger, image_lookup(run, target))) as release:
            permits = Permits(release, target, audit, permit_file)
            wish = Wish(source, service, target, image, unrelated)
            with permits.audited():
                outcome = deploy(release, wish, guard=permits.guard_deploy, wait=wait)
    return {"service": service.name, **shown(release, outcome), **permits.shown()}


if __name__ == "__main__":
    main()
