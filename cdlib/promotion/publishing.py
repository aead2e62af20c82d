"""Publishing by hand, by a permit: images and trust meet here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.attesting import bring_attestations
from cdlib.promotion.permits import read_given

if TYPE_CHECKING:
    from cdlib.image.publish import Published
    from cdlib.image.work import Work


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
