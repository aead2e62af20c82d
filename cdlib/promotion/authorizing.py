"""The authorizer: it decides again, from the source, what was decided, and signs a permit for exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.issuing import Seal, issue, open_seal
from cdlib.promotion.permits import Permits
from cdlib.promotion.releases import at
from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.image.work import Work
    from cdlib.reference import Reference
    from cdlib.rollout.record import Record
    from cdlib.run import Run
    from cdlib.trust.permit import Asked
    from cdlib.trust.review import Verdict


@dataclass(frozen=True)
class Options:
    """What authorize-deploy was told."""

    tag: str
    digest: str
    unrelated: bool
    signing_key: Path | None
    rollback: bool
    to: int | None
    break_glass: bool
    reason: str
    audit: Path | None


def authorize(run: Run, folder: Path, targets: Path | None, environment: str, service: str,
              options: Options) -> Result:  # fmt: skip
    """Judge what was asked, and issue a permit for it; where the policy is `none`, only say so."""
    from cdlib.image.published import image_lookup
    from cdlib.image.work import open_work
    from cdlib.rollout.release import Release
    from cdlib.target import read_target
    from cdlib.trigger import read_trigger

    # A rollback by the service's name needs no source.
    work = None if options.rollback and service else open_work(run, folder, targets, need_target=True)
    target = work.target if work and work.target else read_target(targets, service)
    place, trigger = target.environment(environment), read_trigger()
    about = {"service": target.service, "environment": place.name}
    if place.policy == "none":
        what = work.source.short if work else target.service
        commit = {"commit": work.source.commit} if work else {}
        return {**about, **commit, "text": f"{what} needs no permit for {place.name}: its policy is none"}
    with at(run, place, target.service):
        if not (options.rollback or options.break_glass):  # whoever breaks the glass is told of by name and reason
            trigger.require_publishing(place.policy, "authorizing a deploy")
        with closing(Release.open(run, target.service, place, trigger, image_lookup(run, target))) as release:
            permits = Permits(release, target, options.audit)
            seal = open_seal(permits.ring, options.signing_key, break_glass=options.break_glass, reason=options.reason)
            with permits.audited():
                if options.rollback or work is None:
                    return {**about, **authorize_rollback(permits, seal, options.to)}
                image = find_image(work, options.tag, options.digest, by_hand=options.break_glass)
                return {**about, **authorize_deploy(permits, work, seal, image, unrelated=options.unrelated)}


def authorize_deploy(permits: Permits, work: Work, seal: Seal, image: Reference, *, unrelated: bool = False) -> Result:
    """Judge every commit that deploying `image` would bring, and what it was built and tested by; issue the permit."""
    from cdlib.rollout.planning import Wish, check_allowed, check_order

    source, target, run = work.source, permits.target, permits.run
    record = permits.release.records.read(run.deadline)
    verdicts: Sequence[Verdict] = ()
    change = permits.release.trigger.change
    if not seal.loud:
        wish = Wish(source, work.service, target, target.image.at(image.digest), unrelated)
        check_allowed(record, wish)
        check_order(record, wish)
        verdicts = _review(permits, work, record)
        tip = next((each for each in verdicts if each.commit == source.commit and each.change), None)
        change = f"{tip.change},{tip.patchset}" if tip else change
        _prove(permits, work, image, change)
    asked = asked_deploy(permits, work, record, image.digest, change)
    issued = issue(permits, asked, record, seal, image)
    judged = [verdict.document() for verdict in verdicts]
    return {"commit": source.commit, **issued, **({"verdicts": judged} if judged else {})}


def authorize_rollback(permits: Permits, seal: Seal, to: int | None) -> Result:
    """Issue a permit for going back to revision `to`, or to the last other one that was verified healthy."""
    from cdlib.promotion.authorized import require_authorized
    from cdlib.rollout.destination import destination
    from cdlib.trust.permit import require_returnable

    deadline = permits.run.deadline
    record = permits.release.records.read(deadline)
    record.presume_live()
    known = {entry.revision for entry in record.revisions}  # which of them Helm still has, helm-rollback sees
    entry = destination(record, to, known, permits.release.images, deadline)
    asked = permits.asked_back(entry, record)
    if not seal.loud:
        require_returnable(asked)
        require_authorized(permits, entry)
    # Beside the image where a deploy looks for it now, even if that is not where this one was published.
    issued = issue(permits, asked, record, seal, permits.target.image.at(entry.digest))
    return {"commit": entry.commit, **issued, "rolled_back_to": entry.revision}


def find_image(work: Work, tag: str = "", digest: str = "", *, by_hand: bool = False) -> Reference:
    """The image that a deploy of the commit would take: what is published, or else its candidate.

    `by_hand`, for whoever breaks the glass, finds a candidate by its digest too, and outside of any pipeline, and warns
    of an image that has no provenance. A candidate without one has to be named by its digest, for nothing else is asked
    then of what anybody may write who may push candidates.
    """
    from cdlib.errors import RegistryRefused
    from cdlib.image.published import find_published

    assert work.target is not None
    try:
        image, published = find_published(work.run, work.source, work.target, tag=tag, digest=digest), True
    except RegistryRefused:
        image, published = work.target.candidates.at(_find_candidate(work, tag, digest, by_hand=by_hand)), False
        if not image.digest and (tag or digest):
            raise
    if not image.digest:
        raise RegistryRefused(
            f"{work.target.image.repository} has no {work.source.default_tag}, and {work.target.candidates.repository} "
            "has no candidate for it",
            hint=f"let the gate build it: comment `regate` on its change, or start {work.service.name}-gate",
        )
    if by_hand:
        _say_what_it_is(work, image, unnamed=not (published or digest))
    return image


def _find_candidate(work: Work, tag: str, digest: str, *, by_hand: bool) -> str:
    """The digest of the candidate that was asked for; empty where there is none."""
    from cdlib.image.candidate import find_last_candidate

    assert work.target is not None
    if by_hand and digest:
        return work.registries.repository(work.target.candidates).digest(digest)
    return "" if tag or digest else find_last_candidate(work, work.service.deploy.variant, by_hand=by_hand)


def _say_what_it_is(work: Work, image: Reference, *, unnamed: bool) -> None:
    """Warn whoever breaks the glass for an image that nobody says was built from this tree.

    Raises Refused where it is an `unnamed` candidate.
    """
    from cdlib.errors import Refused

    problem = _unproved(work, image)
    if problem and unnamed:
        raise Refused(
            f"{image} has the commit's labels only: {problem}",
            hint=f"find out who built it; if you answer for it all the same, add --digest {image.digest}",
        )
    if problem:
        work.run.warn(f"{image} may be anything: {problem}")


def _unproved(work: Work, image: Reference) -> str:
    """Why nobody knows whether the image was built from this tree; empty where it was, by who may say so."""
    from cdlib.errors import CdError
    from cdlib.promotion.attesting import has_provenance
    from cdlib.trust.keys import read_keyring

    assert work.target is not None
    try:
        known = has_provenance(work, image, read_keyring(work.target.keys))
    except CdError as problem:
        return f"its provenance cannot be read ({problem.message})"
    return "" if known else f"no provenance says that it was built from tree {work.source.tree[:12]}"


def _review(permits: Permits, work: Work, record: Record) -> list[Verdict]:
    """The verdicts on every commit since the newest that was authorized for this release before."""
    from cdlib.promotion.authorized import authorized_before
    from cdlib.trust.review import Request
    from cdlib.trust.reviewed import authorize_reviewed

    run = permits.run
    before = authorized_before(permits, work, record)
    with run.stage("review", f"{before[:12] or 'the first'}..{work.source.short}") as found:
        verdicts = authorize_reviewed(
            permits.target, Request(work.source.commit, before), run.deadline, permits.place.name
        )
        found["commits"] = len(verdicts)
    return verdicts


def _prove(permits: Permits, work: Work, image: Reference, change: str) -> None:
    """Raise Refused unless the image was built from this very tree, and its tests passed."""
    from cdlib.trust.evidence import Wanted, prove

    with permits.run.stage("attestations", str(image)):
        envelopes = permits.envelopes(image.digest)
        if image.repository != permits.target.image.repository:
            envelopes += permits.envelopes(image.digest, image)
        prove(envelopes, Wanted.of(work.source, work.service, image.digest, change=change), permits.ring)


def asked_deploy(permits: Permits, work: Work, record: Record, digest: str, change: str) -> Asked:
    """What the permit says: chart and values are read here as the deploy will read them."""
    from cdlib.rollout.chart import prepare_chart
    from cdlib.trust.summary import DEPLOY

    release = permits.release
    deploy, target = work.service.deploy, permits.target
    with prepare_chart(release.helm, work.source, deploy, target, permits.place, permits.deadline) as chart:
        return permits.asked(DEPLOY, record, commit=work.source.commit, digest=digest, chart=chart.digest,
                             values=chart.values_digest, change=change)  # fmt: skip
