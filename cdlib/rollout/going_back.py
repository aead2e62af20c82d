"""Back to an earlier revision, by its number, verified again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, UsageProblem
from cdlib.reference import parse
from cdlib.retry import patiently
from cdlib.rollout.chart import Rendered, of_interest
from cdlib.rollout.comparing import as_permitted
from cdlib.rollout.evidence import gather
from cdlib.rollout.helm_answers import reason
from cdlib.rollout.hooks import ROLLBACK, with_hooks
from cdlib.rollout.judging import judge
from cdlib.rollout.lease import Lease
from cdlib.rollout.permit import Use
from cdlib.rollout.record import DEPLOYING, FAILED, Revision
from cdlib.rollout.release import Outcome, Release, interrupted, ready_pods
from cdlib.rollout.templates import restore, tell_restored, templates_of
from cdlib.rollout.verdict import Fault, State
from cdlib.rollout.verify import Request, plan_requests
from cdlib.service import HttpCheck, Verify
from cdlib.target import Environment
from cdlib.units import timestamp

KEPT_FOR_EVIDENCE = 0.15  # of the time for going back: where that fails, a person needs to see why
EVIDENCE = 10.0  # seconds at most
LAST_WORD = 3.0  # seconds for the record, once the time is up


def go_back(release: Release, lease: Lease, to: Revision, why: str, deadline: Deadline,
            previous: str = "", permit: Use | None = None) -> Outcome:  # fmt: skip
    """Roll back to `to`, by number, and verify it again by the checks that it was verified by.

    `permit` is the one that covers it, where one was asked for: what runs then is compared as after a deploy. Raises
    NeedsPerson where that fails; the record says so then.
    """
    environment = release.environment
    verify = Verify(http=tuple(HttpCheck(**check) for check in to.checks)).on_top_of(
        replace(environment.verify, helm_test=False, soak=0.0)
    )
    rendered = of_interest(release.helm.manifest(to.revision, deadline))
    requests = _plan_again(release, verify, rendered)
    number = release.history(deadline)[-1].revision + 1
    entry = replace(to, revision=number, status=DEPLOYING, at=timestamp(), by=release.holder, reason=why,
                    run=release.run.events.run_id, rollback_of=to.revision, previous=previous, helm_uid="",
                    permit=permit.label if permit else "", verified_at="")  # fmt: skip
    release.mark(entry, deadline)

    def go() -> Outcome:
        try:
            _apply_rollback(release, lease, entry, deadline)
            restore(release.run, release.api, environment.namespace, to.templates, deadline)
            share = _share(deadline)
            state = judge(release, lease, entry, verify, rendered, requests, share, rollback=True)
            state = as_permitted(release, permit, parse(to.image), state, share)
            if not state.faults:
                entry.templates = templates_of(state.pods)
                tell_restored(release.run, to.templates, entry.templates)
                done = patiently(lambda: release.verified(entry, deadline), deadline, allowed=True)
                return Outcome("done", done, ready_pods(state))
        except (NeedsPerson, Held):
            raise
        except Exception as problem:  # whatever it was: Helm has been called, so only 0 or 8 is true
            raise NeedsPerson(
                f"the rollback to revision {to.revision} could not be followed to its end: {problem}",
                hint=look_at(environment),
            ) from problem
        raise _ended_badly(release, entry, "does not serve", state, deadline)

    return interrupted(release, entry, go)


def _share(deadline: Deadline) -> Deadline:
    """What is left for going back, without what evidence takes where that fails."""
    return deadline.part(deadline.left * (1 - KEPT_FOR_EVIDENCE), "the rollback")


def look_at(environment: Environment) -> str:
    """What a person who has to step in looks at, and what to do then."""
    namespace, release = environment.namespace, environment.release
    return (
        f"look at: kubectl -n {namespace} get pods, and helm history {release} -n {namespace}; "
        "running the same command again clears up what is left half done"
    )


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
    """Let Helm roll back; again, where the cluster was away meanwhile. Raises NeedsPerson, Held."""
    with release.run.stage("helm rollback", f"{release.environment.release} to revision {entry.rollback_of}"):
        share = _share(deadline)
        try:
            failed = patiently(lambda: _let_helm(release, lease, entry, share), share)
        except Held:
            raise
        except CdError as problem:
            failed = State(False, "", (Fault("", "", "Helm", problem.message),))
        if failed:
            raise _ended_badly(release, entry, "failed", failed, deadline)
        number = release.history(deadline)[-1].revision
        if number != entry.revision:  # attempts that came to nothing have taken numbers
            release.records.update(lambda record: record.drop(entry.revision), deadline)
            entry.revision = number


def _let_helm(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> State | None:
    """How it failed, where it did. Raises Unavailable where it was cut off, and may be called again."""
    lease.require()
    ended = with_hooks(
        release, lease, entry.revision, ROLLBACK,
        lambda stop: release.helm.rollback(entry.rollback_of, deadline, stop),
        lambda done: Fault("", "", "Helm", reason(done)),
    )  # fmt: skip
    return ended if isinstance(ended, State) else None


def _mark_failed(release: Release, entry: Revision, why: str, deadline: Deadline) -> None:
    last = Deadline(max(LAST_WORD, min(deadline.left, EVIDENCE)), "recording the failure")
    with suppress(CdError):
        release.mark(entry, last, live=True, status=FAILED, reason=why)


def _ended_badly(release: Release, entry: Revision, how: str, state: State, deadline: Deadline) -> NeedsPerson:
    environment, why = release.environment, str(state.faults[0])
    share = deadline.part(EVIDENCE, "gathering evidence")
    lines = gather(release.run, release.api, environment.namespace, state, release.run.out, share, part="rollback")
    _mark_failed(release, entry, why, deadline)
    return NeedsPerson(
        f"the rollback to revision {entry.rollback_of} {how}: {why}",
        details=lines,
        hint=look_at(environment),
    )
