"""What stops automatic deploys of a release, or one of its images, and lets them go on: told to the audit record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.promotion.auditing import note

if TYPE_CHECKING:
    from cdlib.rollout.record import Record
    from cdlib.rollout.release import Release


def change_hold(release: Release, audit: Path | None, *, reason: str = "", lift: bool = False,
                digest: str = "") -> Record:  # fmt: skip
    """Hold the release for `reason`, or `lift` its hold, or take `digest` out of quarantine; or only look."""
    from cdlib.rollout.rollback import lift_hold, release_digest, set_hold

    run, place = release.run, release.environment
    if (reason or lift or digest) and run.would(f"write the ConfigMap {place.namespace}/{release.records.name}"):
        return release.records.read(run.deadline)
    if reason:
        note(release, audit, "hold", reason=reason)
        return set_hold(release, reason, run.deadline)
    if lift:
        note(release, audit, "hold lifted")
        return lift_hold(release, run.deadline)
    if digest:
        note(release, audit, "released from quarantine", digest=digest)
        return release_digest(release, digest, run.deadline)
    return release.records.read(run.deadline)
