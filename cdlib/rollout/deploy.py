"""helm-deploy: one commit's image, chart and values into one environment, and back where that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Inconclusive, NeedsPerson, NotAllowed, OutOfTime, Refused, RolledBack, UsageProblem
from cdlib.reference import Reference
from cdlib.rollout.chart import Chart, Rendered, check_rendered, prepare_chart, write_own_values
from cdlib.rollout.evidence import gather
from cdlib.rollout.helm import applied_revision, reason
from cdlib.rollout.lease import Lease, require_namespace
from cdlib.rollout.record import FAILED, VERIFIED, Record, Revision
from cdlib.rollout.release import (
    KEPT_FOR_ROLLBACK,
    Outcome,
    Release,
    checks_of,
    go_back,
    heal,
    interrupted,
    judge,
    new_entry,
    patiently,
    ready_pods,
)
from cdlib.rollout.verdict import INCONCLUSIVE, Fault, State
from cdlib.rollout.verify import Request, plan_requests
from cdlib.rollout.workloads import look
from cdlib.service import Service, Verify
from cdlib.source import Source
from cdlib.target import Target
from cdlib.units import timestamp

EVIDENCE = 10.0  # seconds at most, so that evidence never keeps the rollback waiting


@dataclass(frozen=True)
class Wish:
    """What shall be live: the image, by digest, at the commit of `source`."""

    source: Source
    service: Service
    target: Target
    image: Reference
    unrelated: bool = False  # also where git does not know the commit that is live


@dataclass(frozen=True)
class Plan:
    """All that was decided before the first write, for the guard to judge."""

    wish: Wish
    verify: Verify
    chart: Chart
    values: tuple[Path, ...]
    rendered: Rendered
    requests: tuple[Request, ...]

    @property
    def facts(self) -> dict[str, str]:
        """What the record says of the revision."""
        image, commit = self.wish.image, self.wish.source.commit
        return {"commit": commit, "image": str(image), "digest": image.digest, "chart": self.chart.digest,
                "values": self.chart.values_digest}  # fmt: skip


Guard = Callable[[Plan, Record], None]


def deploy(release: Release, wish: Wish, guard: Guard | None = None) -> Outcome:
    """Make the wish live, verified; or raise, with the release back where it was.

    `guard` is called once, after the lease is taken and before the first write; it refuses by raising.
    """
    run, environment = release.run, release.environment
    budget = run.deadline.part(environment.budget, "the budget of a deploy")
    require_namespace(release.api, environment.namespace, budget)
    with (
        prepare_chart(run, release.helm, wish.source, wish.service.deploy, wish.target, environment) as chart,
        TemporaryDirectory(prefix="cd-values-") as scratch,
    ):
        same = _unchanged(release, wish, chart, budget)
        if same is not None:
            return same
        with run.stage("render", environment.release):
            plan = _plan(release, wish, chart, Path(scratch))
        if run.dry_run:
            return _planned(release, plan, budget)
        with release.lease(budget) as lease:
            record, _ = release.read(budget)
            check_allowed(record, wish)
            if guard is not None:
                guard(plan, record)
            check_order(heal(release, budget), wish)
            return _roll_out(release, plan, lease, budget)


def check_allowed(record: Record, wish: Wish) -> None:
    """Raise Refused for a hold, or a quarantined digest."""
    if record.hold:
        raise Refused(
            f"deploys are on hold since {record.hold.get('since')}: {record.hold.get('reason')}",
            hint="lift it by: cd-hold --lift",
        )
    kept = record.quarantine.get(wish.image.digest)
    if kept:
        raise Refused(
            f"{wish.image.digest[:19]} is quarantined since {kept.get('since')}: {kept.get('reason')}",
            hint=f"deploy a mended commit, or release it by: cd-hold --release {wish.image.digest}",
        )


def check_order(record: Record, wish: Wish) -> None:
    """Raise Refused for a commit older than what is live, or where git cannot tell."""
    live = record.live_revision
    if live is None or live.commit == wish.source.commit:
        return
    before = wish.source.is_before(live.commit)
    if before is None and not wish.unrelated:
        raise Refused(
            f"git does not know {live.commit[:12]}, which is live, and so cannot tell what is newer",
            hint="git fetch --unshallow or git fetch, and run this again; or insist by --unrelated",
        )
    if before:
        raise Refused(
            f"{wish.source.short} is older than {live.commit[:12]}, which is live as revision {live.revision}",
            hint="go back on purpose by: helm-rollback --list, then helm-rollback --to N",
        )


def _unchanged(release: Release, wish: Wish, chart: Chart, deadline: Deadline) -> Outcome | None:
    """The live revision, where it is this very wish, verified, and up; else None. Writes nothing."""
    record, history = release.read(deadline)
    live = record.live_revision
    if live is None or not live.verified or history[-1].status != "deployed" or release.held_by(deadline):
        return None
    mine = (wish.source.commit, str(wish.image), chart.digest, chart.values_digest)
    if mine != (live.commit, live.image, live.chart, live.values):
        return None
    workloads = tuple((kind, name) for kind, name in live.workloads)
    state = look(release.api, release.environment.namespace, workloads, deadline)
    return Outcome("unchanged", live, ready_pods(state)) if state.complete else None


def _plan(release: Release, wish: Wish, chart: Chart, scratch: Path) -> Plan:
    environment, trigger = release.environment, release.trigger
    about = {"revision": wish.source.commit, "change": trigger.change, "permit": ""}
    own = write_own_values(chart, wish.service.deploy, wish.image, about, scratch)
    values = (*chart.values, own)
    rendered = check_rendered(release.helm.render(chart.folder, values), wish.image, environment)
    verify = wish.service.deploy.verify.on_top_of(environment.verify)
    requests = plan_requests(verify, rendered.services, environment)
    if verify.soak > environment.budget * (1 - KEPT_FOR_ROLLBACK) / 2:
        raise UsageProblem(
            f"a soak of {verify.soak:g} s leaves no time to roll out in a budget of {environment.budget:g} s",
            hint="shorten soak in cd.yaml, or raise the environment's budget in targets.yaml",
        )
    return Plan(wish, verify, chart, values, rendered, tuple(requests))


def _planned(release: Release, plan: Plan, deadline: Deadline) -> Outcome:
    """What a dry run says: every write, in order."""
    run, environment = release.run, release.environment
    record, history = release.read(deadline)
    check_allowed(record, plan.wish)
    check_order(record, plan.wish)
    run.would(f"take the Lease {environment.namespace}/cd-{environment.release}")
    run.would(f"write the ConfigMap {environment.namespace}/{release.records.name}")
    argv = release.helm.upgrade_argv(plan.chart.folder, plan.values, deadline)
    run.would(" ".join([release.helm.program, *argv]))
    number = history[-1].revision + 1 if history else 1
    return Outcome("planned", new_entry(release, number, **plan.facts))


def _roll_out(release: Release, plan: Plan, lease: Lease, budget: Deadline) -> Outcome:
    history = release.history(budget)
    entry = new_entry(release, history[-1].revision + 1 if history else 1, **plan.facts)
    entry.checks, entry.workloads = checks_of(plan.verify), [list(each) for each in plan.rendered.workloads]
    first = budget.part(budget.left * (1 - KEPT_FOR_ROLLBACK), "the deploy's share of the budget")
    release.mark(entry, budget)
    return interrupted(release, entry, lambda: _apply_and_judge(release, plan, lease, entry, first, budget))


def _apply_and_judge(release: Release, plan: Plan, lease: Lease, entry: Revision, first: Deadline,
                     budget: Deadline) -> Outcome:  # fmt: skip
    try:
        fault = _apply(release, plan, entry, first, lease)
    except (UsageProblem, NotAllowed):
        release.records.update(lambda record: _drop(record, entry), budget)
        raise
    try:
        entry = patiently(lambda: release.mark(entry, first, live=True), first)
        state = State(False, "", (fault,) if fault else ())
        if fault is None:
            state = judge(release, lease, plan.verify, plan.rendered, plan.requests, first)
        if not state.faults:
            done = patiently(lambda: release.mark(entry, budget, live=True, status=VERIFIED), first)
            return Outcome("done", done, ready_pods(state))
    except Exception as problem:  # whatever it was: Helm has been called, so only 0, 7 or 8 is true now
        lease.require()
        state = State(False, "", (Fault("", "", INCONCLUSIVE, f"it could not be judged: {problem}"),))
    raise _undo_whatever(release, lease, entry, state, budget)


def _undo_whatever(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline) -> CdError:
    """Undo it, and where even that does not get to its end, say that a person is needed."""
    try:
        return _undo(release, lease, entry, state, budget)
    except Exception as problem:
        lease.require()
        return NeedsPerson(
            f"the rollout of revision {entry.revision} failed ({state.faults[0]}), and is not undone: {problem}",
            hint=f"look at: helm history -n {release.environment.namespace} {release.environment.release}",
        )


def _apply(release: Release, plan: Plan, entry: Revision, deadline: Deadline, lease: Lease) -> Fault | None:
    """Let Helm apply; a fault where it failed after it had begun. UsageProblem where nothing was written."""
    environment = release.environment
    with release.run.stage("helm upgrade", f"{environment.release} in {environment.namespace}"):
        try:
            done = release.helm.upgrade(plan.chart.folder, plan.values, deadline)
        except OutOfTime as problem:
            return Fault("", "", "OutOfTime", f"Helm did not end: {problem.message}")
        except CdError:
            lease.require()
            raise
    if done.ok:
        entry.revision = applied_revision(done) or entry.revision
        return None
    try:
        after = patiently(lambda: release.history(deadline), deadline)
    except CdError as problem:
        return Fault("", "", INCONCLUSIVE, f"Helm failed ({reason(done)}), unseen how far: {problem}")
    if not after or after[-1].revision < entry.revision:
        if "forbidden" in reason(done).lower():
            raise NotAllowed(f"Helm may not: {reason(done)}", hint="give the deploy credentials that right")
        raise UsageProblem(f"Helm refused, and changed nothing: {reason(done)}", hint="mend the chart or its values")
    return Fault("", "", "Helm", f"Helm failed: {reason(done)}")


def _drop(record: Record, entry: Revision) -> None:
    record.revisions = [each for each in record.revisions if each.revision != entry.revision]


def _undo(release: Release, lease: Lease, entry: Revision, state: State, budget: Deadline) -> CdError:
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
    patiently(lambda: _record_failure(release, entry, why, condemned, budget), budget)
    if target is None:
        return NeedsPerson(
            f"the rollout of revision {entry.revision} failed, and no verified revision is there to go back to: {why}",
            details=lines,
            hint=f"deploy a mended commit; what failed still stands in the namespace {environment.namespace}",
        )
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
        hint=f"mend the commit{kept}. Hooks, CRDs and data are not undone by a rollback",
    )
    failed.made = {"revision": back.entry.revision, "rolled_back_to": target.revision, "digest": target.digest}
    return failed


def _record_failure(release: Release, entry: Revision, why: str, condemned: bool, deadline: Deadline) -> None:
    """Record the failure, and quarantine the digest where that is what failed."""

    def change(record: Record) -> None:
        record.put(replace(entry, status=FAILED, reason=why))
        if condemned:
            kept = {"since": timestamp(), "reason": why, "revision": str(entry.revision)}
            record.quarantine[entry.digest] = kept

    release.records.update(change, deadline)
