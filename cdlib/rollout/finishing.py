"""What a dead run has left half done, brought to its end where the run after it may not deploy.

Whoever is refused goes on with nothing, so the dead run's rollback would stay undone until somebody else comes: and the
commonest next run is the same one again, whose image the dead run has quarantined already.
"""

from __future__ import annotations

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NeedsPerson
from cdlib.retry import patiently
from cdlib.rollout.healing import Known, heal
from cdlib.rollout.lease import Lease
from cdlib.rollout.planning import Wish
from cdlib.rollout.record import DEPLOYING, FAILED, VERIFIED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.undoing import undo_again
from cdlib.rollout.unrecorded import stranger
from cdlib.target import Environment


def finish(release: Release, lease: Lease, wish: Wish, refusal: CdError, budget: Deadline) -> None:
    """Clear up, and go back from what is live where it was never seen healthy; then the refusal says so.

    Raises RolledBack where what was refused is that very rollout, which has ended by that; NeedsPerson where going back
    fails, Held. Nothing is done beside somebody else's Helm, nor for a rollback by hand: deploys do not know where to.
    """
    known = patiently(lambda: release.read(budget), budget)
    if not _left(release.environment, known) or stranger(release.environment, *known) is not None:
        return
    if to := (known[0].hold or {}).get("to"):
        release.run.warn(f"a rollback by hand is left half done, which helm-rollback --to {to} brings to its end")
        return
    known = heal(release, lease, known, budget)
    record = known[0]
    if not _owed(release.environment, record):
        return
    failed = _failed(record)
    found = undo_again(release, lease, failed, known, budget)
    if found is None:
        return
    if isinstance(found, NeedsPerson) or _is_wished(failed, wish):
        raise found from refusal
    refusal.details = (*refusal.details, found.message)


def _left(environment: Environment, known: Known) -> bool:
    record, history = known
    pending = bool(history) and history[-1].pending
    return pending or any(entry.status == DEPLOYING for entry in record.revisions) or _owed(environment, record)


def _owed(environment: Environment, record: Record) -> bool:
    """Whether a rollback is due: what is live was never seen healthy, and was not kept on purpose."""
    live = record.live_revision
    if live is None or live.status == VERIFIED:
        return False
    may_be_kept = environment.inconclusive == "keep" and live.status == FAILED and not live.rollback_of
    return not (may_be_kept and live.digest not in record.quarantine)


def _failed(record: Record) -> Revision:
    """The rollout that the dead run was to undo: what is live, or what that is a step on the way back from."""
    live = record.live_revision
    assert live is not None
    if not live.rollback_of:
        return live
    earlier = [entry for entry in record.revisions if live.rollback_of < entry.revision < live.revision]
    return next((e for e in reversed(earlier) if not e.rollback_of and e.status != VERIFIED), live)


def _is_wished(failed: Revision, wish: Wish) -> bool:
    mine = (wish.source.commit, wish.image.digest)
    return failed.status == FAILED and mine == (failed.commit, failed.digest)
