"""helm-rollback: a person goes back to a revision chosen from the history; and holds, which keep it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cdlib.deadline import Deadline
from cdlib.errors import Refused, RegistryRefused, UsageProblem
from cdlib.rollout.destination import destination
from cdlib.rollout.drift import Standing, stands
from cdlib.rollout.going_back import go_back
from cdlib.rollout.healing import Known, heal
from cdlib.rollout.lease import Lease, require_namespace
from cdlib.rollout.permit import Use, spend
from cdlib.rollout.record import VERIFIED, Record, Revision
from cdlib.rollout.release import Outcome, Release, require_whole_budget
from cdlib.rollout.unrecorded import adopted, made_by_others
from cdlib.units import timestamp

# The permit that allows to go there, looked for by the deadline; None where none is asked for.
Guard = Callable[[Revision, Record, Deadline], Use | None]


def roll_back(release: Release, to: int | None, reason: str, *, unverified: bool = False, wait: bool = False,
              guard: Guard | None = None) -> Outcome:  # fmt: skip
    """Go to revision `to`, or to the last other one that was verified healthy, and hold the release there.

    `unverified` allows a revision that was never seen healthy, or whose digest is quarantined; `wait` queues for the
    lease. `guard` is called once, after the lease is taken and before the first write; it refuses by raising. Raises
    UsageProblem for an unknown revision, Refused for one that is not to be trusted, RegistryRefused for one whose image
    is gone, NeedsPerson where it fails.
    """
    run, environment = release.run, release.environment
    budget = release.budget("a rollback")
    require_namespace(release.api, environment.namespace, budget)
    target = _choose(release, release.read(budget), to, unverified, budget)  # say no before waiting for a lease
    if run.dry_run:
        run.would(f"take the Lease {environment.namespace}/cd-{environment.release}")
        run.would(f"{release.helm.program} rollback {environment.release} {target.revision} -n {environment.namespace}")
        run.would(f"hold the release in the ConfigMap {environment.namespace}/{release.records.name}")
        return Outcome("planned", target)
    with release.lease(run.deadline if wait else budget, wait=wait) as lease:
        budget = release.budget_under(lease, budget)
        outcome, target = _under_lease(release, lease, _Wish(to, reason, unverified), guard, budget)
    if not target.verified:
        run.warn(f"revision {target.revision} had never been verified; it is now, as revision {outcome.entry.revision}")
    return outcome


@dataclass(frozen=True)
class _Wish:
    to: int | None
    reason: str
    unverified: bool


def _under_lease(release: Release, lease: Lease, wish: _Wish, guard: Guard | None,
                 budget: Deadline) -> tuple[Outcome, Revision]:  # fmt: skip
    # Read anew, since other runs have written until the lease was had, and handed on from here: no deploy or rollback
    # writes now, and a hold that somebody sets meanwhile gives way to ours.
    require_whole_budget(release.environment, lease, budget)
    known, use, to = release.read(budget), None, wish.to
    if guard is not None:
        target = _choose(release, known, to, wish.unverified, budget)
        standing = _stands_already(release, target, known[0], budget)
        if standing.outcome is not None:
            return replace(standing.outcome, hold=known[0].hold), target
        use, to = _permitted(release, target, known[0], guard, budget), target.revision
    known = heal(release, lease, known, budget)
    target, record = _choose(release, known, to, wish.unverified, budget), known[0]
    live = record.live_revision
    standing = _stands_already(release, target, record, budget)
    if standing.outcome is not None:
        return replace(standing.outcome, hold=record.hold), target
    held = release.records.update(lambda r: _hold(r, release.holder, wish.reason, str(target.revision)), budget)
    why = "; ".join(filter(None, (use.note if use else "", wish.reason)))
    outcome = go_back(release, lease, target, why, budget, live.commit if live else "", use)
    return replace(outcome, drift=standing.drift, hold=held.hold), target


def _stands_already(release: Release, target: Revision, record: Record, budget: Deadline) -> Standing:
    """How the target stands, where it is what is live."""
    live = record.live_revision
    there = live is not None and live.verified and _is_there(target, live)
    return stands(release, live, budget) if there and live else Standing()


def _permitted(release: Release, target: Revision, record: Record, guard: Guard, budget: Deadline) -> Use | None:
    """The permit for going to `target`, which is spent by then. Raises Refused with nothing written."""
    use = guard(target, record, budget)
    if use is not None:
        spend(release, use, record, budget)
    return use


def set_hold(release: Release, reason: str, deadline: Deadline) -> Record:
    """Refuse automatic deploys from now on."""
    require_namespace(release.api, release.environment.namespace, deadline)
    return release.records.update(lambda record: _hold(record, release.holder, reason), deadline)


def lift_hold(release: Release, deadline: Deadline) -> Record:
    """Allow automatic deploys again."""

    def change(record: Record) -> None:
        record.hold = None

    require_namespace(release.api, release.environment.namespace, deadline)
    return release.records.update(change, deadline)


def release_digest(release: Release, digest: str, deadline: Deadline) -> Record:
    """Take a digest out of quarantine. Raises UsageProblem where it is not in it."""

    def change(record: Record) -> None:
        if record.quarantine.pop(digest, None) is None:
            kept = ", ".join(sorted(record.quarantine)) or "none"
            raise UsageProblem(f"{digest} is not quarantined", hint=f"quarantined are: {kept}")

    require_namespace(release.api, release.environment.namespace, deadline)
    return release.records.update(change, deadline)


def _choose(release: Release, known: Known, to: int | None, unverified: bool, deadline: Deadline) -> Revision:
    record, history = known
    present = {each.revision for each in history if not each.pending}
    entry = _of_others(release, known, to, deadline) or destination(record, to, present, release.images, deadline)
    seen = "only Helm knows it" if made_by_others(entry) else f"it is recorded as {entry.status}"
    doubts = [] if entry.status == VERIFIED else [f"was never verified healthy ({seen})"]
    if entry.digest in record.quarantine:
        doubts.append(f"runs a quarantined image: {record.quarantine[entry.digest].get('reason')}")
    if doubts and not unverified:
        raise Refused(
            f"revision {entry.revision} {' and '.join(doubts)}",
            hint="choose another from --list, or insist by --unverified",
        )
    live = record.live_revision
    if not (live and _is_there(entry, live)) and not release.images.there(entry, deadline):
        raise RegistryRefused(
            f"revision {entry.revision} cannot be gone back to: the registry has no {entry.image} any more",
            hint=f"choose another from helm-rollback --list, or publish commit {entry.commit[:12]} again and deploy it",
        )
    return entry


def _of_others(release: Release, known: Known, to: int | None, deadline: Deadline) -> Revision | None:
    """The revision that is asked for, or that a rollback was on its way to, where only Helm knows it."""
    record, history = known
    to = int((record.hold or {}).get("to") or 0) if to is None else to
    found = next((each for each in history if each.revision == to and not each.pending), None)
    if found is None or record.find(found.revision) is not None:
        return None
    like = next((entry.image for entry in reversed(record.revisions) if entry.image), "")
    return adopted(release, found, like, deadline)[0]


def _is_there(target: Revision, live: Revision) -> bool:
    """Whether what is live is what shall be."""
    return target.revision == live.revision or target.same_as(live)


def _hold(record: Record, by: str, reason: str, to: str = "") -> None:
    record.hold = {"since": timestamp(), "by": by, "reason": reason, "to": to}
