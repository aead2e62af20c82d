"""What a run that died has left behind, cleared up before anything new begins."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, Unavailable
from cdlib.retry import patiently
from cdlib.rollout.attempts import remove
from cdlib.rollout.going_back import apply_rollback
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.hooks import end_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, INTERRUPTED, UNJUDGED, Record, Revision
from cdlib.rollout.release import KEPT_FOR_ROLLBACK, Release
from cdlib.rollout.unrecorded import APPLIED, age, stand_in, stranger
from cdlib.target import Environment

OTHERS = 30.0  # seconds that somebody else's Helm is waited for, and half of the time for deploying at most
LOOK_EVERY = 1.0

Known = tuple[Record, list[HelmRevision]]


def heal(release: Release, lease: Lease, known: Known, deadline: Deadline) -> Known:
    """Clear what a dead run left behind, and return what is known then. The lease is held: whoever left it is dead.

    A first install that never ended is removed; anything else goes back to the last revision that Helm or we
    know to have been applied, so that the next step starts from a whole release. What none of our runs has begun is
    waited for, and left alone. Raises Held where it does not end, NeedsPerson where clearing up fails.
    """
    known = _past_others(release, known, deadline)
    record, history = known
    dead = [entry for entry in record.revisions if entry.status == DEPLOYING]
    pending = bool(history) and history[-1].pending
    if pending:
        _clear_pending(release, lease, record, history, deadline)
    elif history and _cut_short(record.find(history[-1].revision)):
        end_hooks(release, lease, history[-1].revision, deadline)
    if dead:
        _forget(release, dead, deadline)
    return patiently(lambda: release.read(deadline), deadline) if dead or pending else known


def _past_others(release: Release, known: Known, deadline: Deadline) -> Known:
    """What is known once no Helm but ours is at work. It may be a person's, which has no lease. Raises Held."""
    place, told = release.environment, False
    to_spare = deadline.left - KEPT_FOR_ROLLBACK * deadline.seconds
    share = deadline.part(min(OTHERS, max(0.0, to_spare / 2)), "waiting for somebody else's Helm")
    while (other := stranger(place, *known)) is not None:
        if share.over:
            raise _others(place, known[1], other)
        if not told:
            release.run.note(f"waits for somebody else's Helm: revision {other.revision} is {other.status}")
            told = True
        time.sleep(min(LOOK_EVERY, share.left))
        known = patiently(lambda: release.read(deadline), deadline)
    return known


def _others(place: Environment, history: Sequence[HelmRevision], other: HelmRevision) -> Held:
    """The error that says what is known of somebody else's Helm, and how it is cleared up where it is dead."""
    back, where = _last_applied(history), f"{place.release} -n {place.namespace}"
    command = f"helm rollback {place.release} {back} -n {place.namespace}" if back else f"helm uninstall {where}"
    return Held(
        f"Helm is at work on the release beside us: revision {other.revision} is {other.status} since "
        f"{other.created or 'nobody knows when'} ({age(other.created):.0f} s), and none of our runs has begun it",
        hint=f"wait until it ends (helm history {where}); where that Helm is dead, which nobody here can see, "
        f"clear it by: {command}",
    )


def _cut_short(entry: Revision | None) -> bool:
    return entry is not None and entry.status in (DEPLOYING, INTERRUPTED)


def _clear_pending(release: Release, lease: Lease, record: Record, history: Sequence[HelmRevision],
                   deadline: Deadline) -> None:  # fmt: skip
    left, place = history[-1], release.environment
    release.run.warn(f"revision {left.revision} was left {left.status} by a run that died: clearing it up first")
    end_hooks(release, lease, left.revision, deadline)
    good = release.images.newest(record.good({h.revision for h in history}), deadline)
    back_to = good.revision if good else _last_applied(history)
    share = deadline.part(KEPT_FOR_ROLLBACK * deadline.seconds, "clearing up")
    try:
        if back_to:
            _go_back(release, lease, record, history, back_to, share)
        else:
            remove(release, lease, share)
    except Held:
        raise
    except CdError as problem:
        with suppress(Unavailable):  # Helm may have written before the server went away: only 8 is true then
            lease.require()
        raise NeedsPerson(
            f"the release is {left.status} since a run died, and could not be cleared up: {problem.message}",
            details=problem.details,
            hint=f"run this again; if that does not help, see helm history {place.release} -n {place.namespace}",
        ) from problem


def _go_back(release: Release, lease: Lease, record: Record, history: Sequence[HelmRevision], back_to: int,
             deadline: Deadline) -> None:  # fmt: skip
    """Let Helm go back to a revision, which nobody waits for; announced, since this run may be killed as well."""
    target = record.find(back_to) or stand_in(next(each for each in history if each.revision == back_to))
    entry = replace(target, revision=history[-1].revision + 1, status=DEPLOYING, rollback_of=back_to,
                    reason="a run died", at=release.now(), previous="", helm_uid="", permit="",
                    verified_at="")  # fmt: skip
    patiently(lambda: release.mark(entry, deadline), deadline)
    apply_rollback(release, lease, entry, deadline)
    patiently(lambda: release.mark(entry, deadline, live=True, status=UNJUDGED), deadline)


def _last_applied(history: Sequence[HelmRevision]) -> int:
    """The newest revision that Helm has applied; one that failed over it is better than to remove everything."""
    whole = [h.revision for h in history if h.status in APPLIED]
    return max(whole or [h.revision for h in history if h.status == "failed"], default=0)


def _forget(release: Release, dead: Sequence[Revision], deadline: Deadline) -> None:
    def change(record: Record) -> None:
        for entry in dead:
            record.put(replace(entry, status=INTERRUPTED, reason=entry.reason or "its run died"))

    patiently(lambda: release.records.update(change, deadline), deadline)
