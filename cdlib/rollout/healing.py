"""What a run that died has left behind, cleared up before anything new begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson
from cdlib.rollout.helm_answers import HelmRevision, reason
from cdlib.rollout.hooks import end_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, INTERRUPTED, UNJUDGED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.units import timestamp

Known = tuple[Record, list[HelmRevision]]


def heal(release: Release, lease: Lease, known: Known, deadline: Deadline) -> Known:
    """Clear what a dead run left behind, and return what is known then. The lease is held: whoever left it is dead.

    A first install that never ended is removed; anything else goes back to the last revision that Helm or we
    know to have been applied, so that the next step starts from a whole release.
    """
    record, history = known
    dead = [entry for entry in record.revisions if entry.status == DEPLOYING]
    pending = bool(history) and history[-1].pending
    if pending:
        _clear_pending(release, lease, record, history, deadline)
    elif history and _cut_short(record.find(history[-1].revision)):
        end_hooks(release, history[-1].revision, deadline)
    if dead:
        _forget(release, dead, deadline)
    return release.read(deadline) if dead or pending else known


def _cut_short(entry: Revision | None) -> bool:
    return entry is not None and entry.status in (DEPLOYING, INTERRUPTED)


def _clear_pending(release: Release, lease: Lease, record: Record, history: Sequence[HelmRevision],
                   deadline: Deadline) -> None:  # fmt: skip
    left = history[-1]
    release.run.warn(f"revision {left.revision} was left {left.status} by a run that died: clearing it up first")
    end_hooks(release, left.revision, deadline)
    good = release.images.newest(record.good({h.revision for h in history}), deadline)
    back_to = good.revision if good else _last_applied(history)
    if why := _go_back(release, lease, back_to, deadline):
        raise NeedsPerson(
            f"the release is {left.status} since a run died, and could not be cleared up: {why}",
            hint=f"run this again; if that does not help, see helm history {release.environment.release} "
            f"-n {release.environment.namespace}",
        )
    entry = record.find(back_to)
    if entry is not None:
        now = release.history(deadline)[-1].revision
        undone = replace(entry, revision=now, status=UNJUDGED, rollback_of=back_to, reason="a run died", at=timestamp(),
                         previous="", helm_uid="", permit="", verified_at="")  # fmt: skip
        release.mark(undone, deadline, live=True)


def _go_back(release: Release, lease: Lease, back_to: int, deadline: Deadline) -> str:
    """Let Helm go back to a revision, or remove the release where there is none; why it failed, else empty."""
    try:
        done = release.helm.rollback(back_to, deadline) if back_to else release.helm.uninstall(deadline)
    except Held:
        raise
    except CdError as problem:
        lease.require()
        return problem.message
    return "" if done.ok else reason(done)


def _last_applied(history: Sequence[HelmRevision]) -> int:
    """The newest revision that Helm has applied; one that failed over it is better than to remove everything."""
    whole = [h.revision for h in history if h.status in ("deployed", "superseded")]
    return max(whole or [h.revision for h in history if h.status == "failed"], default=0)


def _forget(release: Release, dead: Sequence[Revision], deadline: Deadline) -> None:
    def change(record: Record) -> None:
        for entry in dead:
            record.put(replace(entry, status=INTERRUPTED, reason=entry.reason or "its run died"))

    release.records.update(change, deadline)
