"""Waiting for a rollout that Helm has applied, checking what it serves, and watching it for a while longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime
from cdlib.retry import patiently
from cdlib.rollout.chart import Rendered, hook_events
from cdlib.rollout.helm_answers import reason
from cdlib.rollout.hooks import TEST, with_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import Revision
from cdlib.rollout.release import Release, time_to_roll_out
from cdlib.rollout.soak import MARGIN, longest_soak
from cdlib.rollout.stuck import StuckPods
from cdlib.rollout.verdict import INCONCLUSIVE, Fault, State
from cdlib.rollout.verify import Request, check_http
from cdlib.rollout.workloads import Follower, following
from cdlib.service import Verify


def judge(release: Release, lease: Lease, entry: Revision, verify: Verify, rendered: Rendered,
          requests: Sequence[Request], deadline: Deadline, *, rollback: bool = False) -> State:  # fmt: skip
    """Wait for the rollout, check it, say that it serves, and watch its soak; a State without faults is a good one."""
    run, environment = release.run, release.environment
    stuck = StuckPods(run, release.api, environment, rollback=rollback)
    with following(run, release.api, environment.namespace, rendered.workloads, lease, stuck=stuck) as follower:
        with run.stage("rollout", environment.release):
            state = follower.until_up(deadline)
        if state.faults:
            return state
        try:
            faults = check_http(run, release.api, requests, deadline, lease)
            tested = _test(release, lease, entry, deadline) if verify.helm_test and not faults else state
            if faults or tested.faults:
                return replace(state, faults=faults) if faults else tested
            if not requests and (unseen := _unseen(release, entry, verify, state, deadline)):
                if not rollback:
                    return replace(state, faults=(unseen,))
                run.warn(unseen.message)  # it was verified once, and a rollback that ends here helps nobody
            _say_serving(release, entry)
            return replace(state, faults=_soak(release, verify, rendered, follower, deadline))
        except OutOfTime as problem:
            return replace(state, faults=(Fault("", "", "OutOfTime", problem.message),))
        except CdError as problem:  # not being able to ask is a fault, too
            lease.require()
            return replace(state, faults=(Fault("", "", INCONCLUSIVE, problem.message),))


def _test(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> State:
    """The chart's tests; one that cannot end is called before Helm gives up on it."""
    with release.run.stage("helm test"):
        return patiently(lambda: _tested(release, lease, entry, deadline), deadline)


def _tested(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> State:
    lease.require()
    ended = with_hooks(
        release, lease, entry.revision, TEST,
        lambda stop: release.helm.test(deadline, stop),
        lambda done: Fault("", "", "HelmTest", f"helm test failed: {reason(done)}"),
    )  # fmt: skip
    return ended if isinstance(ended, State) else State(True, "")


def _unseen(release: Release, entry: Revision, verify: Verify, state: State, deadline: Deadline) -> Fault | None:
    """A fault where nothing that was deployed was seen to work: no data is never a pass (rule 10).

    Where the chart has no tests, Helm's test passes, too. Raises CdError where Helm cannot tell.
    """
    if any(entry.digest in image for image in state.shown):
        return None
    if verify.helm_test:
        hooks = release.helm.hooks(entry.revision, deadline)
        if any(set(hook_events(o)) & set(TEST) for o in hooks):
            return None
    text = (
        f"nothing was seen to run {entry.digest[:19]} ({state.summary}), and no check has asked for it: "
        "add an HTTP check or a test of the chart's to deploy.verify in cd.yaml"
    )
    return Fault("", "", INCONCLUSIVE, text)


def _say_serving(release: Release, entry: Revision) -> None:
    """From now on the revision serves, whatever its soak may show: who waits for it need not wait for that."""
    limit = release.run.deadline
    about = {"release": release.environment.release, "revision": entry.revision, "commit": entry.commit}
    release.run.events.emit("serving", **about, seconds=round(limit.seconds - limit.left, 3))


def _soak(release: Release, verify: Verify, rendered: Rendered, follower: Follower,
          deadline: Deadline) -> tuple[Fault, ...]:  # fmt: skip
    seconds = verify.soak
    if seconds is None:
        seconds = _default_soak(release, rendered, deadline)
    if not seconds:
        return ()
    with release.run.stage("soak", f"{seconds:g} s"):
        return follower.soak(seconds, deadline)


def _default_soak(release: Release, rendered: Rendered, deadline: Deadline) -> float:
    """The soak that the probes ask for, within its share of the budget and the time that is left.

    Nobody has named it, so a rollout that took long must not fail for want of it.
    """
    wanted = min(longest_soak(time_to_roll_out(release.environment)), rendered.probe_soak)
    found = min(wanted, max(0.0, deadline.left - MARGIN))
    if found < wanted:
        release.run.warn(f"watched for {found:.0f} s, not for {wanted:g} s: the rollout has left no more time")
    return found
