"""A rollout that failed, taken back: the evidence first, then the record, then the rollback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Inconclusive, NeedsPerson, RolledBack
from cdlib.retry import patiently
from cdlib.rollout.evidence import gather
from cdlib.rollout.going_back import go_back
from cdlib.rollout.hooks import end_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import FAILED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, State
from cdlib.units import timestamp

EVIDENCE = 10.0  # seconds at most, so that evidence never keeps the rollback waiting


def undo(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline) -> CdError:
    """Undo it, and where even that does not get to its end, say that a person is needed."""
    place = release.environment
    try:
        found = _go_back(release, lease, entry, state, budget)
    except Exception as problem:
        lease.require()
        found = NeedsPerson(
            f"the rollout of revision {entry.revision} failed ({state.faults[0]}), and is not undone: {problem}",
            hint=f"look at: helm history -n {place.namespace} {place.release}",
        )
    failed = {"failed_revision": entry.revision, "failed_commit": entry.commit, "previous": entry.previous}
    where = {"environment": place.name, "namespace": place.namespace, "release": place.release}
    found.made = {**where, **failed, "cause": str(state.faults[0]), **found.made}
    return found


def _go_back(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline) -> CdError:
    """Evidence, then the record, then the rollback; the error that says how it ended."""
    run, environment, why = release.run, release.environment, str(state.faults[0])
    with run.stage("evidence"):
        share = budget.part(EVIDENCE, "gathering evidence")
        lines = gather(run, release.api, environment.namespace, state, run.out, share)
    run.events.emit("verdict", outcome="failed", revision=entry.revision, reason=why)
    if state.faults[0].reason == INCONCLUSIVE and environment.inconclusive == "keep":
        patiently(lambda: release.mark(entry, budget, live=True, status=FAILED, reason=why), budget)
        return Inconclusive(
            f"revision {entry.revision} cannot be judged: {why}", details=lines, hint="look at the cluster"
        )
    record, history = patiently(lambda: release.read(budget), budget)
    target = record.last_good({each.revision for each in history})
    condemned = target is not None and target.digest != entry.digest and state.faults[0].reason != INCONCLUSIVE
    entry.helm_uid = next((each.uid for each in history if each.revision == entry.revision), "")
    patiently(lambda: _record_failure(release, entry, why, condemned, budget), budget)
    if target is None:
        return NeedsPerson(
            f"the rollout of revision {entry.revision} failed, and no verified revision is there to go back to: {why}",
            details=lines,
            hint=f"deploy a mended commit; what failed still stands in the namespace {environment.namespace}",
        )
    ended = end_hooks(release, entry.revision, budget)
    try:
        back = go_back(release, lease, target, f"revision {entry.revision} failed: {why}", budget)
    except CdError as problem:
        return NeedsPerson(
            f"the rollout of revision {entry.revision} failed ({why}), and so did the rollback: {problem.message}",
            details=[*lines, *problem.details],
            hint=problem.hint,
        )
    kept = f"; {entry.digest[:19]} is quarantined" if condemned else ""
    failed = RolledBack(
        f"the rollout of revision {entry.revision} failed; {environment.release} is back on revision {target.revision} "
        f"(commit {target.commit[:12]}, now revision {back.entry.revision})",
        details=lines,
        hint=f"mend the commit{kept}. {_not_undone(ended)}",
    )
    failed.made = {"revision": back.entry.revision, "rolled_back_to": target.revision, "commit": target.commit,
                   "digest": target.digest}  # fmt: skip
    return failed


def _not_undone(ended: Sequence[str]) -> str:
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
