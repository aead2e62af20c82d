"""What Helm has of a release beside us: somebody else's Helm at work, and revisions that only Helm knows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.reference import Reference, parse
from cdlib.retry import patiently
from cdlib.rollout.api import Object
from cdlib.rollout.chart import WORKLOADS, images_of, of_interest
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.record import UNJUDGED, VERIFIED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.target import Environment

BY_OTHERS = "made by Helm, by none of our runs"
APPLIED = ("deployed", "superseded")  # as Helm calls what it has once applied to its end
_SLACK = 60.0  # seconds by which clocks may differ


def stranger(environment: Environment, record: Record, history: Sequence[HelmRevision]) -> HelmRevision | None:
    """The revision that somebody else's Helm is at work on, as far as anybody can know; None for none.

    Who is at work has no lease, and a Helm that was killed looks the same. So only what the record has as begun by one
    of our runs is ours: each announces the number of each of its calls of Helm, which comes within its budget. One that
    was verified since is at an end: what is done to it now, such as `helm uninstall`, is somebody else's.
    """
    newest = history[-1] if history else None
    if newest is None or not newest.pending:
        return None
    entry = record.find(newest.revision)
    if entry is None or entry.status == VERIFIED:
        return newest
    return None if _in_time(entry.at, newest.created, environment.budget + _SLACK) else newest


def made_by_others(entry: Revision) -> bool:
    """Whether an entry stands for what was not deployed by us: neither commit nor permit, and perhaps no image."""
    return not entry.commit


def adopted(release: Release, number: HelmRevision, like: str, deadline: Deadline) -> tuple[Revision, list[Reference]]:
    """An entry for a revision that only Helm knows, and the images that it runs, as far as they have a digest.

    Its image is the one that is of the same repository as `like`, which may be empty; else it is not known.
    """
    objects = patiently(lambda: release.helm.manifest(number.revision, deadline), deadline)
    images = list(_images(objects))
    repository = parse(like).repository if like else ""
    image = next((each for each in images if each.repository == repository), None)
    entry = stand_in(number)
    entry.workloads = [list(each) for each in of_interest(objects).workloads]
    if image is not None:
        entry.image, entry.digest = str(image), image.digest
    return entry, images


def stand_in(number: HelmRevision) -> Revision:
    """An entry for a revision of which nothing is known but its number. Helm's uid tells it from any other."""
    return Revision(revision=number.revision, commit="", image="", digest="", chart=f"helm/{number.uid}", values="",
                    status=UNJUDGED, at=number.created, by="", run="", reason=BY_OTHERS)  # fmt: skip


def before_ours(release: Release, record: Record, history: Sequence[HelmRevision], failed: Revision,
                deadline: Deadline) -> Revision | None:  # fmt: skip
    """What somebody else had deployed before `failed` was, where that may be gone back to; else None."""
    number = _last_of_others(record, history, failed.revision)
    if number is None:
        return None
    entry, images = adopted(release, number, failed.image, deadline)
    for image in images:
        as_if = replace(entry, image=str(image), digest=image.digest)
        if image.digest in record.quarantine or not release.images.there(as_if, deadline):
            return None
    return entry


def _last_of_others(record: Record, history: Sequence[HelmRevision], before: int) -> HelmRevision | None:
    """The newest revision that was applied; what of ours was never seen healthy does not count."""
    for number in reversed([each for each in history if each.revision < before and each.status in APPLIED]):
        entry = record.find(number.revision)
        if entry is None:
            return number
        if entry.verified:
            return None
    return None


def _images(objects: list[Object]) -> dict[Reference, None]:
    """The images of the workloads that are named with a digest, each once."""
    found: dict[Reference, None] = {}
    for text in (image for o in objects if o.get("kind") in WORKLOADS for image in images_of(o)):
        with suppress(UsageProblem):
            image = parse(text)
            if image.digest:
                found[image] = None
    return found


def _in_time(at: str, created: str, seconds: float) -> bool:
    """Whether `created` is at most so many seconds after `at`, both RFC 3339; also where one of them says nothing."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(created) - datetime.fromisoformat(at) <= timedelta(seconds=seconds)
    return True


def age(created: str) -> float:
    """Seconds since a moment in RFC 3339; 0 where it says nothing."""
    with suppress(ValueError, TypeError):
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds())
    return 0.0
