"""Waiting for a rollout that Helm has applied, checking what it serves, and watching it for a while longer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime
from cdlib.retry import patiently
from cdlib.rollout.api import Object
from cdlib.rollout.chart import Rendered, runs_at
from cdlib.rollout.confidential import Secrets
from cdlib.rollout.gone import how_ended
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

ASKING = 2.0  # seconds


def judge(release: Release, lease: Lease, entry: Revision, verify: Verify, rendered: Rendered,
          requests: Sequence[Request], deadline: Deadline, *, rollback: bool = False) -> State:  # fmt: skip
    """Wait for the rollout, check it, say that it serves, and watch its soak; a State without faults is a good one."""
    run, environment = release.run, release.environment
    stuck = StuckPods(run, release.api, environment, rollback=rollback)
    with following(run, release.api, environment.namespace, rendered.workloads, lease, stuck=stuck,
                   older=_older(release, entry, deadline)) as follower:  # fmt: skip
        with run.stage("rollout", environment.release):
            state = follower.until_up(deadline)
        if state.faults:
            return state
        try:
            if faults := _of_vanished_jobs(release, follower.vanished, deadline):
                return replace(state, faults=faults)
            follower.learn_secrets(state, deadline)
            state = _checked(release, lease, requests, follower, state, deadline)
            if state.faults:
                return state
            if verify.helm_test and (tested := _test(release, lease, entry, deadline)).faults:
                return replace(tested, pods=(*tested.pods, *state.pods))
            if not requests and (unseen := _unseen(release, entry, verify, state, deadline)):
                if not rollback:
                    return replace(state, faults=(unseen,))
                run.warn(unseen.message)  # it was verified once, and a rollback that ends here helps nobody
            _say_serving(release, entry)
            return _soaked(release, verify, rendered, follower, state, deadline)
        except OutOfTime as problem:
            return replace(state, faults=(Fault("", "", "OutOfTime", problem.message),))
        except CdError as problem:  # not being able to ask is a fault, too
            lease.require()
            return replace(state, faults=(Fault("", "", INCONCLUSIVE, problem.message),))


def _older(release: Release, entry: Revision, deadline: Deadline) -> Callable[[Object], bool]:
    """What says of a pod whether it is older than the revision, by the API server's own clock.

    Where the same template was applied once more its pods are, and what they did before may be mended. Asks once, and
    only where it has to; what cannot be told counts as older.
    """

    @cache
    def written() -> str | None:
        try:
            every = release.history(deadline.part(ASKING, "asking for the revision's age"))
        except CdError:
            return None
        return next((each.created for each in every if each.revision == entry.revision), "")

    def older(pod: Object) -> bool:
        since = written()  # RFC 3339 in UTC, both of them, so that they compare as they are
        return since is None or str(pod["metadata"].get("creationTimestamp", "")) < since

    return older


def _checked(release: Release, lease: Lease, requests: Sequence[Request], follower: Follower, state: State,
             deadline: Deadline) -> State:  # fmt: skip
    """How it stands once its HTTP checks are good, or have failed.

    A check that fails while pods are being replaced, as where a node is drained, is made again once they are back; not
    where containers have ended meanwhile, which may be the check's own doing.
    """
    while faults := check_http(release.run, release.api, requests, deadline, lease):
        now = follower.state_now(deadline) or state
        if now.complete or now.faults or now.ends > state.ends or deadline.over:
            return replace(now, faults=(*faults, *now.faults))
        release.run.note(f"{faults[0]}; pods are being replaced, and it is asked again once they are back")
        state = follower.until_up(deadline)
        if state.faults:  # why they are not back tells more than what they answered while they were away
            return replace(state, faults=(*state.faults, *faults))
    return state


def _of_vanished_jobs(release: Release, jobs: Sequence[str], deadline: Deadline) -> tuple[Fault, ...]:
    """What speaks against Jobs that are gone, by what has been told of them since Helm wrote the revision down."""
    if not jobs:
        return ()
    since = patiently(lambda: release.history(deadline), deadline)[-1].created
    return how_ended(release.api, release.environment.namespace, jobs, since, deadline)


def _test(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> State:
    """The chart's tests; one that cannot end is called before Helm gives up on it."""
    with release.run.stage("helm test"):
        return patiently(lambda: _tested(release, lease, entry, deadline), deadline)


def _tested(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> State:
    lease.require()
    _learn_tests_secrets(release, entry, deadline)
    ended = with_hooks(
        release, lease, entry.revision, TEST,
        lambda stop: release.helm.test(deadline, stop),
        lambda done: Fault("", "", "HelmTest", f"helm test failed: {reason(done)}"),
    )  # fmt: skip
    return ended if isinstance(ended, State) else State(True, "")


def _learn_tests_secrets(release: Release, entry: Revision, deadline: Deadline) -> None:
    """Have hidden what the tests' pods know: Helm shows their logs as they come."""
    try:
        tests = _tests_of(release, entry, deadline)
    except CdError as problem:
        release.run.warn(f"the values of Secrets that tests use cannot be hidden: {problem.message}")
        return
    pods = [o if o["kind"] == "Pod" else (o.get("spec") or {}).get("template") or {} for o in tests]
    Secrets(release.run, release.api, release.environment.namespace).learn(pods, deadline)


def _unseen(release: Release, entry: Revision, verify: Verify, state: State, deadline: Deadline) -> Fault | None:
    """A fault where nothing that was deployed was seen to work: no data is never a pass (rule 10).

    Where the chart has no tests, Helm's test passes, too. Raises CdError where Helm cannot tell.
    """
    if any(entry.digest in image for image in state.shown):
        return None
    if verify.helm_test and _tests_of(release, entry, deadline):
        return None
    text = (
        f"nothing was seen to run {entry.digest[:19]} ({state.summary}), and no check has asked for it: "
        "add an HTTP check or a test of the chart's to deploy.verify in cd.yaml"
    )
    return Fault("", "", INCONCLUSIVE, text)


def _tests_of(release: Release, entry: Revision, deadline: Deadline) -> list[Object]:
    """The chart's tests, as Helm has kept them. Raises CdError."""
    return [o for o in release.helm.hooks(entry.revision, deadline) if runs_at(o, TEST)]


def _say_serving(release: Release, entry: Revision) -> None:
    """From now on the revision serves, whatever its soak may show: who waits for it need not wait for that."""
    limit = release.run.deadline
    about = {"release": release.environment.release, "revision": entry.revision, "commit": entry.commit}
    release.run.events.emit("serving", **about, seconds=round(limit.seconds - limit.left, 3))


def _soaked(release: Release, verify: Verify, rendered: Rendered, follower: Follower, state: State,
            deadline: Deadline) -> State:  # fmt: skip
    """How it stands after its soak; as it stood in `state` where there is none."""
    seconds = verify.soak
    if seconds is None:
        seconds = _default_soak(release, rendered, deadline)
    if not seconds:
        return state
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
