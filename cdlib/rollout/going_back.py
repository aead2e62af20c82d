"""Back to an earlier revision, by its number, verified again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, Unavailable, UsageProblem
from cdlib.retry import patiently
from cdlib.rollout.chart import Rendered, of_interest
from cdlib.rollout.evidence import gather
from cdlib.rollout.helm import reason
from cdlib.rollout.judging import judge
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, FAILED, VERIFIED, Revision
from cdlib.rollout.release import Outcome, Release, interrupted, ready_pods
from cdlib.rollout.verdict import State
from cdlib.rollout.verify import Request, plan_requests
from cdlib.service import HttpCheck, Verify
from cdlib.target import Environment
from cdlib.units import timestamp


def go_back(release: Release, lease: Lease, to: Revision, why: str, deadline: Deadline,
            previous: str = "") -> Outcome:  # fmt: skip
    """Roll back to `to`, by number, and verify it again by the checks that it was verified by.

    Raises NeedsPerson where that fails; the record says so then.
    """
    environment = release.environment
    verify = Verify(http=tuple(HttpCheck(**check) for check in to.checks)).on_top_of(
        replace(environment.verify, helm_test=False, soak=0.0)
    )
    rendered = of_interest(release.helm.manifest(to.revision))
    requests = _plan_again(release, verify, rendered)
    number = release.history(deadline)[-1].revision + 1
    entry = replace(to, revision=number, status=DEPLOYING, at=timestamp(), by=release.holder, reason=why,
                    run=release.run.events.run_id, rollback_of=to.revision, previous=previous, helm_uid="")  # fmt: skip
    release.mark(entry, deadline)

    def go() -> Outcome:
        try:
            _apply_rollback(release, lease, entry, deadline)
            state = judge(release, lease, entry, verify, rendered, requests, deadline)
            if not state.faults:
                done = patiently(lambda: release.settle(entry, deadline, status=VERIFIED), deadline)
                return Outcome("done", done, ready_pods(state))
        except (NeedsPerson, Held):
            raise
        except Exception as problem:  # whatever it was: Helm has been called, so only 0 or 8 is true
            lease.require()
            raise NeedsPerson(
                f"the rollback to revision {to.revision} could not be followed to its end: {problem}",
                hint=_look(environment, "helm history"),
            ) from problem
        raise _unserving(release, entry, state)

    return interrupted(release, entry, go)


def _plan_again(release: Release, verify: Verify, rendered: Rendered) -> list[Request]:
    """The checks that the old chart can be asked; another must not keep it from coming back."""
    found: list[Request] = []
    for check in verify.http:
        try:
            found += plan_requests(Verify(http=(check,)), rendered.services, release.environment)
        except UsageProblem as problem:
            release.run.warn(problem.message)
    return found


def _apply_rollback(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> None:
    environment, number = release.environment, entry.rollback_of
    with release.run.stage("helm rollback", f"{environment.release} to revision {number}"):
        try:
            why = patiently(lambda: _rollback(release, lease, entry, deadline), deadline)
        except CdError as problem:
            lease.require()
            why = problem.message
        if why:
            release.mark(entry, Deadline(5.0, "recording the failure"), live=True, status=FAILED, reason=why)
            raise NeedsPerson(
                f"the rollback to revision {number} failed: {why}", hint=_look(environment, "helm history")
            )


def _rollback(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> str:
    """Why it failed; empty where it did not. Raises Unavailable where it may be tried again: nothing was written."""
    lease.require()
    try:
        done = release.helm.rollback(entry.rollback_of, deadline)
    except Unavailable as problem:
        if patiently(lambda: release.history(deadline), deadline)[-1].revision < entry.revision:
            raise
        return problem.message
    return "" if done.ok else reason(done)


def _unserving(release: Release, entry: Revision, state: State) -> NeedsPerson:
    environment, why = release.environment, str(state.faults[0])
    lines = gather(release.run, release.api, environment.namespace, state, release.run.out, Deadline(10.0, "evidence"))
    with suppress(CdError):
        release.mark(entry, Deadline(5.0, "recording the failure"), live=True, status=FAILED, reason=why)
    return NeedsPerson(
        f"the rollback to revision {entry.rollback_of} does not serve: {why}",
        details=lines,
        hint=_look(environment, "kubectl get pods"),
    )


def _look(environment: Environment, command: str) -> str:
    return f"look at: {command} -n {environment.namespace}" + (
        f" {environment.release}" if "history" in command else ""
    )
