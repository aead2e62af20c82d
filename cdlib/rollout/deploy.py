"""helm-deploy: one commit's image, chart and values into one environment, and back where that fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, OutOfTime, Refused, Unavailable, UsageProblem
from cdlib.retry import patiently
from cdlib.rollout.attempts import PASSING, PAUSE, Attempts, Beside, forget, renumber
from cdlib.rollout.chart import Chart, prepare_chart
from cdlib.rollout.comparing import as_permitted
from cdlib.rollout.drift import Standing, stands
from cdlib.rollout.finishing import finish
from cdlib.rollout.healing import Known, heal
from cdlib.rollout.helm_answers import HelmRevision, applied, busy, may_not, not_allowed, passes
from cdlib.rollout.hooks import DEPLOY
from cdlib.rollout.judging import judge
from cdlib.rollout.lease import Lease, require_namespace
from cdlib.rollout.permit import spend
from cdlib.rollout.planning import Guard, Plan, Wish, as_applied, check_allowed, check_order, plan_deploy, with_permit
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.release import (
    KEPT_FOR_ROLLBACK,
    Outcome,
    Release,
    checks_of,
    interrupted,
    new_entry,
    ready_pods,
    require_whole_budget,
)
from cdlib.rollout.templates import templates_of
from cdlib.rollout.undoing import undo
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, Fault, State


def deploy(release: Release, wish: Wish, guard: Guard | None = None, *, wait: bool = False) -> Outcome:
    """Make the wish live, verified; or raise, with the release back where it was.

    `guard` is called once, after the lease is taken and before the first write; it refuses by raising. The permit that
    it returns is spent then, and covers the return where the rollout fails. `wait`
    queues for the lease, to the end of the run's time; the budget begins once it is had.
    """
    run, environment = release.run, release.environment
    budget = release.budget("a deploy")
    require_namespace(release.api, environment.namespace, budget)
    with (
        prepare_chart(release.helm, wish.source, wish.service.deploy, wish.target, environment, budget) as chart,
        TemporaryDirectory(prefix="cd-values-") as scratch,
    ):
        known = release.read(budget)
        live = _wished(known, wish, chart)
        standing = stands(release, live, budget) if live and not release.held_by(budget) else Standing()
        if standing.outcome is not None:
            return standing.outcome
        with run.stage("render", environment.release):
            plan = plan_deploy(release, wish, chart, Path(scratch), upgrade=bool(known[1]), budget=budget)
        if run.dry_run:
            return _planned(release, plan, known, standing.drift, budget)
        with release.lease(run.deadline if wait else budget, wait=wait) as lease:
            budget = release.budget_under(lease, budget)
            return _under_lease(release, plan, lease, guard, standing.drift, budget)


def _under_lease(release: Release, plan: Plan, lease: Lease, guard: Guard | None, drift: tuple[str, ...],
                 budget: Deadline) -> Outcome:  # fmt: skip
    known = release.read(budget)
    live = _wished(known, plan.wish, plan.chart)
    if live is not None:  # who had the lease, alive or dead by now, has done what we were asked to do
        standing = stands(release, live, budget)
        if standing.outcome is not None:
            return standing.outcome
        drift = standing.drift
    require_whole_budget(release.environment, lease, budget)
    try:
        check_allowed(known[0], plan.wish)
        if guard is not None:
            plan = _permitted(release, plan, known, guard, budget)
        record, history = heal(release, lease, known, budget)
        check_order(record, plan.wish)
        first = deploys_share(budget)
    except (Refused, OutOfTime) as problem:
        finish(release, lease, plan.wish, problem, budget)
        raise
    return _roll_out(release, plan, record, history, lease, drift, first, budget)


def _permitted(release: Release, plan: Plan, known: Known, guard: Guard, budget: Deadline) -> Plan:
    """The plan with its permit, which is spent by then. Raises Refused with nothing written."""
    record, history = known
    live = record.live_revision
    if live is not None and live.verified:  # there is nothing to clear up, which could change what is live
        check_order(record, plan.wish)
    use = guard(plan, record, budget)
    if use is None:
        return plan
    plan = with_permit(release, plan, use, upgrade=bool(history), budget=budget)
    spend(release, use, record, budget)
    return plan


def _wished(known: Known, wish: Wish, chart: Chart) -> Revision | None:
    """The live revision, where it is this very wish, and verified; else None."""
    record, history = known
    live = record.live_revision
    if live is None or not live.verified or history[-1].status != "deployed":
        return None
    mine = (wish.source.commit, str(wish.image), chart.digest, chart.values_digest)
    return live if mine == (live.commit, live.image, live.chart, live.values) else None


def _planned(release: Release, plan: Plan, known: Known, drift: tuple[str, ...], deadline: Deadline) -> Outcome:
    """What a dry run says: every write, in order."""
    run, environment = release.run, release.environment
    record, history = known
    check_allowed(record, plan.wish)
    check_order(record, plan.wish)
    run.would(f"take the Lease {environment.namespace}/cd-{environment.release}")
    run.would(f"write the ConfigMap {environment.namespace}/{release.records.name}")
    argv = release.helm.upgrade_argv(plan.chart.folder, plan.values, deadline)
    run.would(" ".join([release.helm.program, *argv]))
    number = history[-1].revision + 1 if history else 1
    return Outcome("planned", new_entry(release, number, **plan.facts), drift=drift)


def _roll_out(release: Release, plan: Plan, record: Record, history: Sequence[HelmRevision], lease: Lease,
              drift: tuple[str, ...], first: Deadline, budget: Deadline) -> Outcome:  # fmt: skip
    entry = new_entry(release, history[-1].revision + 1 if history else 1, **plan.facts)
    entry.previous = record.live_revision.commit if record.live_revision else ""
    entry.checks, entry.workloads = checks_of(plan.verify), [list(each) for each in plan.rendered.workloads]
    set_again = f"sets again what was changed: {'; '.join(drift)}" if drift else ""
    entry.reason = "; ".join(filter(None, (plan.permit.note if plan.permit else "", set_again)))
    release.mark(entry, budget)
    return interrupted(release, entry, lambda: _apply_and_judge(release, plan, lease, entry, drift, first, budget))


def deploys_share(budget: Deadline) -> Deadline:
    """What is left for deploying and verifying. Raises OutOfTime where all of it was used up before Helm began.

    The rollback's share is of the whole budget: it takes as long as ever, whatever was waited for before.
    """
    left = budget.left - KEPT_FOR_ROLLBACK * budget.seconds
    if left <= 0:
        raise OutOfTime(
            f"no time is left to roll out: {KEPT_FOR_ROLLBACK:.0%} of the {budget.seconds:g} s are kept for a rollback",
            hint="see in events.jsonl which stage took the time, or raise the environment's budget in targets.yaml",
        )
    return budget.part(left, "the deploy's share of the budget")


def _apply_and_judge(release: Release, plan: Plan, lease: Lease, entry: Revision, drift: tuple[str, ...],
                     first: Deadline, budget: Deadline) -> Outcome:  # fmt: skip
    attempts = Attempts(release, lease, entry, DEPLOY, first)
    try:
        failed, plan = _apply(release, plan, entry, first, lease, attempts)
    except Held:
        raise
    except Exception as problem:
        if attempts.wrote:
            attempts.settle()
            raise undo(release, lease, entry, _half_done(problem), budget, plan.permit) from problem
        forget(release, entry, budget)
        raise
    try:
        entry.workloads = [list(each) for each in plan.rendered.workloads]
        state = failed or judge(release, lease, entry, plan.verify, plan.rendered, plan.requests, first)
        state = as_permitted(release, plan.permit, plan.wish.image, state, first)
        if not state.faults:
            lease.require()
            entry.templates = templates_of(state.pods)
            done = patiently(lambda: release.verified(entry, budget), first, allowed=True)
            return Outcome("done", done, ready_pods(state), drift=drift)
    except Held:
        raise
    except Exception as problem:  # whatever it was: Helm has been called, so only 0, 7 or 8 is true now
        state = State(False, "", (Fault("", "", INCONCLUSIVE, f"it could not be judged: {problem}"),))
    raise undo(release, lease, entry, state, budget, plan.permit)


def _half_done(problem: Exception) -> State:
    """The state of a release that Helm has begun to change, when something else went wrong than Helm."""
    outage = isinstance(problem, Unavailable | OutOfTime)
    return State(False, "", (Fault("", "", OUTAGE if outage else "Helm", f"Helm was called, and then: {problem}"),))


def _apply(release: Release, plan: Plan, entry: Revision, deadline: Deadline, lease: Lease,
           attempts: Attempts) -> tuple[State | None, Plan]:  # fmt: skip
    """Let Helm apply: how it failed where it did, and the plan by what it has applied.

    What it raises comes before anything was written, unless `attempts` says otherwise.
    """
    environment, chart, values = release.environment, plan.chart.folder, plan.values
    with release.run.stage("helm upgrade", f"{environment.release} in {environment.namespace}"):
        ended = attempts.run(
            lambda stop, insist: release.helm.upgrade(chart, values, deadline, stop, insist=insist),
            lambda why, problem: _helm_failed(release, entry, why, deadline, lease, problem),
        )
        if isinstance(ended, State):
            return ended, plan
        number, objects = applied(ended)
        renumber(release, entry, number or entry.revision, deadline)
        fault, plan = as_applied(release, plan, objects)
        return State(False, "", (fault,)) if fault else None, plan


def _helm_failed(release: Release, entry: Revision, why: str, deadline: Deadline, lease: Lease,
                 problem: Exception | None = None) -> Fault:  # fmt: skip
    """The fault of a call of Helm that failed, or of which `problem` was raised; a cluster that went away is nobody's.

    Raises UsageProblem, NotAllowed, Unavailable or `problem` where that call had written nothing; Beside, Held.
    """
    try:
        after = patiently(lambda: release.history(deadline), deadline)
        lease.require()
    except Held:
        raise
    except CdError as unseen:
        return Fault("", "", OUTAGE, f"Helm failed ({why}), unseen how far: {unseen}")
    if problem is None and busy(why):
        raise Beside(f"somebody else's Helm works on the release: {why}", hint="wait until it ends, and run this again")
    if not after or after[-1].revision < entry.revision:
        raise problem or _refused(why)
    if problem is None and passes(why) and not after[-1].pending:  # Helm refuses to go on with what is pending
        return Fault("", "", PASSING, f"Helm failed: {why}")
    blameless = isinstance(problem, Unavailable) or (problem is None and passes(why))
    return Fault("", "", OUTAGE if blameless else "Helm", f"Helm failed: {why}")


def _refused(why: str) -> CdError:
    """The error of a Helm that has changed nothing."""
    if passes(why):
        return Unavailable(f"Helm could not begin: {why}", hint="look at the API server", retry_after=PAUSE)
    if not_allowed(why):
        return may_not(why)
    return UsageProblem(f"Helm refused, and changed nothing: {why}", hint="mend the chart or its values")
