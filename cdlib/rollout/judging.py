"""Waiting for a rollout that Helm has applied, and checking what it serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime
from cdlib.rollout.chart import Rendered
from cdlib.rollout.lease import Lease
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, Fault, State
from cdlib.rollout.verify import Request, check_release
from cdlib.rollout.workloads import Follower, following
from cdlib.service import Verify


def judge(release: Release, lease: Lease, verify: Verify, rendered: Rendered, requests: Sequence[Request],
          deadline: Deadline) -> State:  # fmt: skip
    """Wait for the rollout, then check it; a State without faults is a good one."""
    run, api, environment = release.run, release.api, release.environment
    with following(run, api, environment.namespace, rendered.workloads, lease) as follower:
        with run.stage("rollout", environment.release):
            state = follower.until_up(deadline)
        if state.faults:
            return state
        return replace(state, faults=_check(release, lease, verify, rendered, requests, follower, deadline))


def _check(release: Release, lease: Lease, verify: Verify, rendered: Rendered, requests: Sequence[Request],
           follower: Follower, deadline: Deadline) -> tuple[Fault, ...]:  # fmt: skip
    """The faults that the checks find; not being able to ask is one, too."""
    try:
        return check_release(release.run, release.api, release.helm, verify, requests, follower, deadline, lease)
    except OutOfTime as problem:
        return (Fault("", "", "OutOfTime", problem.message),)
    except CdError as problem:
        lease.require()
        return (Fault("", "", INCONCLUSIVE, problem.message),)
