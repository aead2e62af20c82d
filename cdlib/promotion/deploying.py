"""Deploys and rollbacks, each by the permit that the policy asks for."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.permits import Permits, read_given
from cdlib.promotion.releases import at, shown
from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.rollout.release import Release
    from cdlib.run import Run


@dataclass(frozen=True)
class Options:
    """What helm-deploy and helm-rollback are told alike.

    `permit_file` is a permit that was handed over; with `wait` they queue for the lease.
    """

    permit_file: Path | None
    audit: Path | None
    wait: bool

    def check(self) -> None:
        """Raise UsageProblem where the permit cannot be read, before anybody waits for a server."""
        if self.permit_file:
            read_given(self.permit_file)


def deploy_published(run: Run, folder: Path, targets: Path | None, environment: str, options: Options, *, tag: str = "",
                     digest: str = "", unrelated: bool = False) -> Result:  # fmt: skip
    """Deploy the published image of the commit in `folder`: that of the commit's own tag, of `tag` or of `digest`.

    `unrelated` allows it where git does not know what is live.
    """
    from cdlib.documents import prepare, read_all
    from cdlib.image.published import find_published, image_lookup
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
        if options.permit_file is None:  # a permit that was given is for the guard to judge, whoever brings it
            trigger.require_publishing(place.policy, "deploying")
        options.check()
        image = find_published(run, source, target, tag=tag, digest=digest)
        with closing(Release.open(run, service.name, place, trigger, image_lookup(run, target))) as release:
            permits = Permits(release, target, options.audit, options.permit_file)
            wish = Wish(source, service, target, image, unrelated)
            with permits.audited():
                outcome = deploy(release, wish, guard=permits.guard_deploy, wait=options.wait)
    return {"service": service.name, **shown(release, outcome), **permits.shown()}


def go_back_by_hand(release: Release, targets: Path | None, options: Options, to: int | None, reason: str, *,
                    unverified: bool = False) -> Result:  # fmt: skip
    """Roll the release back to revision `to`, or to the last other one that was verified healthy, and hold it there."""
    from cdlib.rollout.rollback import roll_back
    from cdlib.rollout.undoing import not_undone
    from cdlib.target import read_target

    run, service = release.run, release.records.service
    permits = Permits(release, read_target(targets, service), options.audit, options.permit_file)
    with permits.audited():
        outcome = roll_back(release, to, reason, unverified=unverified, wait=options.wait, guard=permits.guard_rollback)
    entry = outcome.entry
    if outcome.outcome == "done":
        permits.note_afterwards("rollback", to=entry.rollback_of, digest=entry.digest, reason=reason)
        run.note("the release is on hold: automatic deploys are refused until it is lifted by: cd-hold --lift")
        run.note(not_undone())
    back = {"rolled_back_to": entry.rollback_of} if entry.rollback_of else {}
    return {"service": service, **shown(release, outcome), **back, **permits.shown(), "hold": outcome.hold}
