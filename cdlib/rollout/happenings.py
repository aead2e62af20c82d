"""Kubernetes' Events, counted by the object they are about.

They are only ever a lower bound: a source is silenced after some 25 of them, and many are merged into one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cdlib.rollout.api import Object

# What is neither judged nor needed to explain a verdict, and is most of what a rollout makes: the server leaves it
# out. What a person wants to see of it is asked for once, when evidence is gathered.
UNNEEDED = (
    "Scheduled", "Pulling", "Created", "Started", "SuccessfulCreate", "SuccessfulDelete", "ScalingReplicaSet",
    "Unhealthy", "BackOff", "Completed", "SuccessfulRescale", "LeaderElection",
)  # fmt: skip
SELECTOR = ",".join(f"reason!={reason}" for reason in UNNEEDED)
_CONTAINER = re.compile(r"\{(.+)\}\Z")


@dataclass
class Happening:
    """One Event: what has happened to one object, `count` times, `before` of which were there at the first look."""

    reason: str
    message: str
    container: str
    count: int
    before: int
    last: str = ""  # when it has happened last, in UTC, to the second; empty where nobody says


class Happenings:
    """All Events of a namespace, by the uid of the object that each is about."""

    def __init__(self) -> None:
        self._about: dict[str, dict[str, Happening]] = {}
        self._taken: dict[str, Object] = {}
        self._changes: dict[str, int] = {}
        self._begun = self.readable = False

    def take(self, events: Iterable[Object] | None) -> list[Happening]:
        """Take in the Events as they are now; returns what is new or counted on.

        None means that there are none to be had now: `readable` says so, as long as that lasts.
        """
        self.readable = events is not None
        if events is None:
            return []
        first, self._begun = not self._begun, True
        return [found for event in events if (found := self._take(event, first))]

    def about(self, uid: str) -> Iterable[Happening]:
        """What has happened to the object `uid`."""
        return self._about.get(uid, {}).values()

    def changes(self, uid: str) -> int:
        """A number that grows with each Event about the object."""
        return self._changes.get(uid, 0)

    def count(self, uid: str, container: str, reason: str, text: str = "") -> tuple[int, int]:
        """How often a container has had `reason`, with `text` in the message: before the first look, and since."""
        mine = [h for h in self.about(uid) if h.container == container and h.reason == reason and text in h.message]
        before = sum(h.before for h in mine)
        return before, sum(h.count for h in mine) - before

    def _take(self, event: Object, first: bool) -> Happening | None:
        uid = str(event["metadata"]["uid"])
        if self._taken.get(uid) is event:
            return None
        self._taken[uid] = event
        involved = event.get("involvedObject") or {}
        about = str(involved.get("uid", ""))
        known = self._about.setdefault(about, {})
        count = int((event.get("series") or {}).get("count") or event.get("count") or 1)
        before = known[uid].before if uid in known else (count if first else 0)
        named = _CONTAINER.search(str(involved.get("fieldPath") or ""))
        known[uid] = Happening(str(event.get("reason", "")), str(event.get("message", "")),
                               named.group(1) if named else "", count, before, last_told(event))  # fmt: skip
        self._changes[about] = self._changes.get(about, 0) + 1
        return known[uid] if count > before else None


def last_told(event: Object) -> str:
    """When an Event was counted last, in UTC, to the second; one of these is set, by how it was written."""
    series = (event.get("series") or {}).get("lastObservedTime")
    last = series or event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return str(last or "")[: len("2026-01-01T00:00:00")]
