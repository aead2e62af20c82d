"""What the authorizer has permitted before, by its own signatures beside the images.

The release record only says where to look, since others may write it. Who takes entries or permits away brings about
that more is judged, or refused, never less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdlib.promotion.permits import Permits

if TYPE_CHECKING:
    from cdlib.image.work import Work
    from cdlib.rollout.record import Record, Revision

_MOST_LOOKED_AT = 10  # digests of the record, the newest, for commits that were authorized


def authorized_before(permits: Permits, work: Work, record: Record) -> str:
    """The newest commit of the record, at or before this one, that a permit of the authorizer stands for; or empty.

    That is not always the one that was deployed last: after a rollback, that one is older.
    """
    digests = list(dict.fromkeys(entry.digest for entry in reversed(record.revisions)))[:_MOST_LOOKED_AT]
    found: dict[str, frozenset[str]] = {}
    newest = ""
    for digest, commit in dict.fromkeys((entry.digest, entry.commit) for entry in reversed(record.revisions)):
        if digest not in digests or commit == newest or not work.source.contains(commit):
            continue
        if newest and not work.source.is_ancestor(newest, commit):
            continue
        if digest not in found:
            found[digest] = permits.authorized(digest, permits.target.image)
        if commit in found[digest]:
            newest = commit
    return newest


def require_authorized(permits: Permits, to: Revision) -> None:
    """Raise Refused unless an ordinary permit once allowed this very commit and image, and it was seen healthy.

    What was deployed by a break-glass permit, or while the policy was `none`, nobody has reviewed.
    """
    from cdlib.errors import Refused
    from cdlib.reference import parse

    hint = "choose another revision of helm-rollback --list; to this one the way is only by break-glass"
    about = f"revision {to.revision} (commit {to.commit[:12]})"
    if not to.verified:
        raise Refused(f"no rollback to {about}: it was never seen healthy itself, but {to.status}", hint=hint)
    # Permits lie where the image was published, which may have been another repository then.
    places = {image.repository: image for image in (permits.target.image, parse(to.image))}
    if not any(to.commit in permits.authorized(to.digest, image) for image in places.values()):
        raise Refused(
            f"no rollback to {about}: no permit of the authorizer stands for it, so nobody has reviewed it", hint=hint
        )
