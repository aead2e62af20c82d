"""The four DORA figures of one release, from the history in its record and its archives. docs/metrics.md defines them.

What nothing is known of is None, and never 0: no failures yet say nothing of the time that it takes to recover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from cdlib.rollout.record import FAILED, Revision

_DAY = timedelta(days=1)


@dataclass
class Deployment:
    """One time that somebody brought something new. `end` is None where it never was seen healthy."""

    begin: datetime
    end: datetime | None = None
    committed: datetime | None = None
    failed: datetime | None = None  # since when the service was not as it should be
    restored: datetime | None = None  # when it was seen healthy again


@dataclass(frozen=True)
class Figures:
    """Of the deployments that began within `days` days; durations in seconds, and their medians."""

    days: float
    deployments: int
    failures: int
    unrestored: int
    per_day: float | None = None
    lead_time: float | None = None
    failure_rate: float | None = None
    time_to_restore: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {"days": round(self.days, 2), "deployments": self.deployments, "failures": self.failures,
                "unrestored": self.unrestored, "deployments_per_day": _rounded(self.per_day),
                "lead_time_s": _rounded(self.lead_time), "change_failure_rate": _rounded(self.failure_rate),
                "time_to_restore_s": _rounded(self.time_to_restore)}  # fmt: skip


@dataclass
class _Story:
    """The deployments so far, and what is live. `bad` are those after which nothing was healthy yet."""

    found: list[Deployment] = field(default_factory=list)
    live: Revision | None = None
    newest: Deployment | None = None  # the deployment that is live, and has not been taken back
    bad: list[Deployment] = field(default_factory=list)


def deployments(history: Sequence[Revision]) -> list[Deployment]:
    """The deployments among the revisions, oldest first, which ones failed, and when that was mended."""
    story = _Story()
    for entry in sorted(_once(history), key=lambda entry: (entry.at, entry.revision)):
        begin = _moment(entry.at)
        if begin is None:
            continue
        if entry.rollback_of:
            _gone_back(story, entry)
        elif entry.verified or entry.status == FAILED:
            _deployed(story, entry, begin)
    return story.found


def figures(history: Sequence[Revision], now: datetime, days: float) -> Figures:
    """The figures of the last `days` days before `now`, or of as many as the history has."""
    moments = [moment for entry in history if (moment := _moment(entry.at))]
    since = min(now, max(now - days * _DAY, min(moments, default=now)))
    window = [each for each in deployments(history) if since <= each.begin <= now]
    covered = (now - since) / _DAY
    good = [each for each in window if each.end is not None]
    leads = [_seconds(each.committed, each.end) for each in good if each.committed]
    failed = [each for each in window if each.failed]
    restores = [_seconds(each.failed, each.restored) for each in failed if each.restored]
    return Figures(
        covered,
        len(window),
        len(failed),
        len(failed) - len(restores),
        per_day=len(good) / max(covered, 1.0) if moments else None,
        lead_time=median(leads) if leads else None,
        failure_rate=len(failed) / len(window) if window else None,
        time_to_restore=median(restores) if restores else None,
    )


def _deployed(story: _Story, entry: Revision, begin: datetime) -> None:
    """A revision that a person or a pipeline brought, and that was judged."""
    again = story.live is not None and entry.same_as(story.live)
    made = Deployment(begin, committed=_moment(entry.committed))
    if not entry.verified:
        made.failed = begin
        story.bad.append(made)
        story.found.append(made)
        return
    made.end = _healthy(entry)
    _restored(story, made.end)
    story.live = entry
    if not again:  # what was live already, and was only set right, has brought nothing new
        story.found.append(made)
        story.newest = made


def _gone_back(story: _Story, entry: Revision) -> None:
    """A rollback: of what has failed just before, or, by hand, of what was live, which so turns out a failure."""
    elsewhere = story.live is None or not entry.same_as(story.live)  # to what was live already: that it is set right
    if story.newest is not None and not story.bad and elsewhere:
        story.newest.failed = story.newest.end
        story.bad.append(story.newest)
        story.newest = None
    if entry.verified:
        _restored(story, _healthy(entry))
        story.live = entry


def _restored(story: _Story, moment: datetime | None) -> None:
    for each in story.bad:
        each.restored = moment
    story.bad = []


def _healthy(entry: Revision) -> datetime | None:
    """When it was seen healthy; of entries that do not say so, when it was begun."""
    return _moment(entry.verified_at) or _moment(entry.at)


def _once(history: Sequence[Revision]) -> list[Revision]:
    """Each entry once: a run that died while it moved some leaves them in two places."""
    return list({(entry.run, entry.revision, entry.at): entry for entry in history}.values())


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    assert begin is not None and end is not None
    return max(0.0, (end - begin).total_seconds())


def _moment(text: str) -> datetime | None:
    """RFC 3339; None for anything else, since many may write ConfigMaps."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
