"""Who holds a release's Lease, by the Lease alone."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from cdlib.rollout.api import Object

DURATION = 15  # seconds without a renewal after which a holder counts as dead
GROUP = "coordination.k8s.io/v1"


def holder_of(found: Object | None) -> str:
    """Who is written in a Lease; empty where nobody is."""
    return str((found or {}).get("spec", {}).get("holderIdentity") or "")


def living_holder(found: Object | None, now: datetime) -> str:
    """Who holds a Lease and has renewed it in time; empty where nobody has.

    By one look and the clocks alone, which is good enough for showing it; to take it, a holder is watched.
    """
    renewed = str((found or {}).get("spec", {}).get("renewTime") or "")
    with suppress(ValueError):
        if (now - datetime.fromisoformat(renewed)).total_seconds() <= duration_of(found):
            return holder_of(found)
    return ""


def duration_of(found: Object | None) -> float:
    """Seconds for which a renewal of it is good."""
    return float((found or {}).get("spec", {}).get("leaseDurationSeconds") or DURATION)
