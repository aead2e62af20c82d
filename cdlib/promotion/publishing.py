"""What may be published where a policy asks for proofs, and publishing by hand: images and trust meet here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.attesting import bring_attestations
from cdlib.promotion.permits import read_given

if TYPE_CHECKING:
    from cdlib.image.published import Published
    from cdlib.image.work import Work


def _proved(work: Work, variant: str) -> Callable[[str], None]:
    """What raises Refused for a digest that is neither proved to be `variant` of this tree, nor permitted for this
    commit, where an environment of the service has a policy: anybody who may push candidates writes their labels."""

    def require(digest: str) -> None:
        from cdlib.errors import Refused
        from cdlib.trust.attached import fetch
        from cdlib.trust.evidence import Wanted, prove
        from cdlib.trust.keys import read_keyring
        from cdlib.trust.permit import read_for_publishing

        target, source = work.target, work.source
        if target is None or target.strictest_policy == "none":
            return
        ring, envelopes = read_keyring(target.keys), list[bytes]()
        for place in dict.fromkeys((target.candidates, target.image)):
            envelopes += fetch(work.registries.repository(place), digest, ring)
        try:
            prove(envelopes, Wanted.of(source, work.service, digest, variant=variant), ring)
        except Refused:
            for raw in envelopes:
                with suppress(Refused):
                    if read_for_publishing(raw, source.commit, target.image.repository, ring).digest == digest:
                        return
            raise

    return require


def publish_proved(work: Work, variant: str, tags: Sequence[str], *, moving: bool) -> Published:
    """Publish `variant` as `publish` does, where it is proved or permitted, along with what lies beside it."""
    from cdlib.image.publish import publish

    return publish(work, variant, tags, moving=moving, along=bring_attestations(work), require=_proved(work, variant))


def publish_by_permit(work: Work, file: Path) -> Published:
    """Publish what a permit is for: its image was left among the candidates, and the way by the pipelines is closed."""
    from cdlib.errors import CdError
    from cdlib.image.publish import publish_permitted
    from cdlib.trust.keys import read_keyring
    from cdlib.trust.permit import read_for_publishing

    run, target = work.run, work.target
    assert target is not None
    ring, image = read_keyring(target.keys), target.image.repository
    permit = read_for_publishing(read_given(file), work.source.commit, image, ring)
    run.warn(f"published by a permit of {permit.by}" + (f": {permit.reason}" if permit.reason else ""))
    bring = bring_attestations(work)

    def along(digest: str) -> None:
        try:
            bring(digest)
        except CdError as problem:  # a permit that is handed over to the deploy does without
            run.warn(f"what lies beside the candidate does not come along: {problem.message}")

    return publish_permitted(work, permit.digest, along)
