"""A rollout that failed, taken back: the evidence first, then the record, then the rollback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, Inconclusive, NeedsPerson, RolledBack
from cdlib.retry import patiently
from cdlib.rollout.evidence import gather
from cdlib.rollout.going_back import EVIDENCE, go_back, look_at
from cdlib.rollout.healing import Known
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.hooks import end_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.permit import Use
from cdlib.rollout.record import FAILED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.unrecorded import BY_OTHERS, before_ours, made_by_others, stranger
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, State
from cdlib.target import Environment
from cdlib.units import timestamp

_BLAMELESS = (INCONCLUSIVE, OUTAGE)  # nothing is known against the image


def undo(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline,
         permit: Use | None = None) -> CdError:  # fmt: skip
    """Undo it, and where even that does not get to its end, say that a person is needed.

    `permit` is the one that it was deployed by, which covers the way back. Raises Held where another run has the
    release by now, which clears up.
    """
    return _ended(release, entry, str(state.faults[0]), lambda: _go_back(release, lease, entry, state, budget, permit))


def undo_again(release: Release, lease: Lease, entry: Revision, known: Known, budget: Deadline) -> CdError | None:
    """Undo a rollout of which a run that died has left no more than the record; None where there is nothing to go to.

    No permit is asked for, as for all that is cleared up. Raises Held.
    """
    record, history = known
    target = _newest_good(release, record, history, entry, budget)
    if target is None:
        return None
    why = entry.reason or "its run died"
    condemned = entry.digest in record.quarantine
    lines = [f"revision {entry.revision} was left by a run that died: {why}"]

    def back() -> CdError:
        lease.require()
        return _to(release, lease, entry, target, why, condemned, lines, budget)

    return _ended(release, entry, why, back)


def _ended(release: Release, entry: Revision, why: str, undoing: Callable[[], CdError]) -> CdError:
    """How it ended, with what the result says of it. Raises Held."""
    place = release.environment
    try:
        found = undoing()
    except Held:
        raise
    except Exception as problem:
        found = NeedsPerson(
            f"the rollout of revision {entry.revision} failed ({why}), and is not undone: {problem}",
            hint=look_at(place),
        )
    failed = {"failed_revision": entry.revision, "failed_commit": entry.commit, "previous": entry.previous}
    where = {"environment": place.name, "namespace": place.namespace, "release": place.release}
    found.made = {**where, **failed, "cause": why, **found.made}
    return found


def _go_back(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline,
             permit: Use | None) -> CdError:  # fmt: skip
    """Evidence, then the record, then the rollback; the error that says how it ended."""
    run, environment, why = release.run, release.environment, str(state.faults[0])
    lease.require()
    with run.stage("evidence"):
        share = budget.part(EVIDENCE, "gathering evidence")
        lines = gather(run, release.api, environment.namespace, state, run.out, share)
    run.events.emit("verdict", outcome="failed", revision=entry.revision, reason=why)
    if state.faults[0].reason == INCONCLUSIVE and environment.inconclusive == "keep":
        patiently(lambda: release.mark(entry, budget, live=True, status=FAILED, reason=why), budget, allowed=True)
        return Inconclusive(
            f"revision {entry.revision} cannot be judged: {why}", details=lines, hint="look at the cluster"
        )
    record, history = patiently(lambda: release.read(budget), budget, allowed=True)
    if other := stranger(environment, record, history):
        patiently(lambda: _record_failure(release, entry, why, False, budget), budget, allowed=True)
        return _others(entry, why, other, environment, lines)
    target = _newest_good(release, record, history, entry, budget)
    condemned = target is not None and target.digest != entry.digest and state.faults[0].reason not in _BLAMELESS
    entry.helm_uid = next((each.uid for each in history if each.revision == entry.revision), "")
    lease.require()
    patiently(lambda: _record_failure(release, entry, why, condemned, budget), budget, allowed=True)
    if target is None:
        gone = any(record.good({each.revision for each in history}))
        return _nowhere(entry, why, gone, environment.namespace, lines)
    return _to(release, lease, entry, target, why, condemned, lines, budget, permit)


def _newest_good(release: Release, record: Record, history: Sequence[HelmRevision], entry: Revision,
                 budget: Deadline) -> Revision | None:  # fmt: skip
    """Where to go back to from `entry`: what was verified last, or what others had before ours; None for nowhere."""
    present = {each.revision for each in history}
    target = release.images.newest(record.good(present), budget)
    if target is None and not any(record.good(present)):
        target = before_ours(release, record, history, entry, budget)
    return target


def _to(release: Release, lease: Lease, entry: Revision, target: Revision, why: str, condemned: bool,
        lines: Sequence[str], budget: Deadline, permit: Use | None = None) -> CdError:  # fmt: skip
    """The rollback itself, of which the record knows all by now."""
    ended = end_hooks(release, lease, entry.revision, budget)
    try:
        # Covered by the permit of what failed, whatever the time: what was begun must end.
        reason = f"revision {entry.revision} failed: {why}"
        back = go_back(release, lease, target, reason, budget, permit=permit)
    except Held:
        raise
    except CdError as problem:
        return NeedsPerson(
            f"the rollout of revision {entry.revision} failed ({why}), and so did the rollback: {problem.message}",
            details=[*lines, *problem.details],
            hint=problem.hint,
        )
    kept = f"; {entry.digest[:19]} is quarantined" if condemned else ""
    return _back(release, entry, target, back.entry.revision, f"mend the commit{kept}. {not_undone(ended)}", lines)


def _nowhere(entry: Revision, why: str, gone: bool, namespace: str, lines: Sequence[str]) -> NeedsPerson:
    """The error where there is nothing to go back to; `gone` says that only the images are missing."""
    missing = "the images of all verified revisions are gone from the registry" if gone else (
        "no verified revision is there to go back to")  # fmt: skip
    first = "publish an image again and go back by helm-rollback, or " if gone else ""
    return NeedsPerson(
        f"the rollout of revision {entry.revision} failed, and {missing}: {why}",
        details=lines,
        hint=f"{first}deploy a mended commit; what failed still stands in the namespace {namespace}",
    )


def _others(entry: Revision, why: str, other: HelmRevision, place: Environment, lines: Sequence[str]) -> NeedsPerson:
    """The error where somebody else's Helm is at work by now, over which nobody must go back."""
    return NeedsPerson(
        f"the rollout of revision {entry.revision} failed ({why}), and is not undone, because somebody else's Helm "
        f"is at work: revision {other.revision} is {other.status}",
        details=lines,
        hint=look_at(place),
    )


def _back(release: Release, entry: Revision, target: Revision, now: int, hint: str,
          lines: Sequence[str]) -> RolledBack:  # fmt: skip
    failed = RolledBack(
        f"the rollout of revision {entry.revision} failed; {release.environment.release} is back on revision "
        f"{target.revision} ({_origin(target)}, now revision {now})",
        details=lines,
        hint=hint,
    )
    failed.made = {"revision": now, "rolled_back_to": target.revision, "commit": target.commit,
                   "digest": target.digest}  # fmt: skip
    return failed


def _origin(target: Revision) -> str:
    return f"{BY_OTHERS}, nor verified before" if made_by_others(target) else f"commit {target.commit[:12]}"


def not_undone(ended: Sequence[str] = ()) -> str:
    """What a rollback leaves as it is, for people; `ended` are the hooks that were ended."""
    hooks = f"What hooks did ({', '.join(ended)} was ended half-way)" if ended else "What hooks did"
    return f"{hooks}, CRDs, migrations and data are not undone by a rollback"


def _record_failure(release: Release, entry: Revision, why: str, condemned: bool, deadline: Deadline) -> None:
    """Record the failure, and quarantine the digest where that is what failed."""

    def change(record: Record) -> None:
        record.put(replace(entry, status=FAILED, reason=why))
        if condemned:
            kept = {"since": timestamp(), "reason": why, "revision": str(entry.revision)}
            record.quarantine[entry.digest] = kept

    release.records.update(change, deadline)
