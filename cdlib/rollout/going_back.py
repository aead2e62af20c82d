"""Back to an earlier revision, by its number, verified again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, UsageProblem
from cdlib.reference import parse
from cdlib.retry import patiently
from cdlib.rollout.attempts import PASSING, Attempts, renumber
from cdlib.rollout.chart import Rendered, of_interest
from cdlib.rollout.comparing import as_permitted
from cdlib.rollout.evidence import gather
from cdlib.rollout.helm_answers import not_allowed, passes
from cdlib.rollout.hooks import ROLLBACK
from cdlib.rollout.judging import judge
from cdlib.rollout.lease import Lease
from cdlib.rollout.permit import Use
from cdlib.rollout.record import DEPLOYING, FAILED, Revision
from cdlib.rollout.release import Outcome, Release, interrupted, ready_pods
from cdlib.rollout.templates import restore, tell_restored, templates_of
from cdlib.rollout.unrecorded import made_by_others
from cdlib.rollout.verdict import Fault, State
from cdlib.rollout.verify import Request, plan_requests
from cdlib.service import HttpCheck, Verify
from cdlib.target import Environment

KEPT_FOR_EVIDENCE = 0.15  # of the time for going back: where that fails, a person needs to see why
EVIDENCE = 10.0  # seconds at most
LAST_WORD = 3.0  # seconds for the record, once the time is up
_CHECK: dict[str, Any] = {"path": str, "status": int, "contains": str, "service": str, "port": int | str}


def go_back(release: Release, lease: Lease, to: Revision, why: str, deadline: Deadline,
            previous: str = "", permit: Use | None = None) -> Outcome:  # fmt: skip
    """Roll back to `to`, by number, and verify it again by the checks that it was verified by.

    `permit` is the one that covers it, where one was asked for: what runs then is compared as after a deploy. Raises
    NeedsPerson where that fails; the record says so then.
    """
    environment = release.environment
    verify = _verify_again(release, to)
    rendered = of_interest(patiently(lambda: release.helm.manifest(to.revision, deadline), deadline, allowed=True))
    requests = _plan_again(release, verify, rendered)
    number = newest_of(release, deadline) + 1
    entry = replace(to, revision=number, status=DEPLOYING, at=release.now(), by=release.holder, reason=why,
                    run=release.run.events.run_id, rollback_of=to.revision, previous=previous, helm_uid="",
                    permit=permit.label if permit else "", verified_at="")  # fmt: skip
    patiently(lambda: release.mark(entry, deadline), deadline, allowed=True)

    def go() -> Outcome:
        try:
            apply_rollback(release, lease, entry, deadline)
            restore(release.run, release.api, lease, environment.namespace, to.templates, deadline)
            share = _share(deadline)
            state = judge(release, lease, entry, verify, rendered, requests, share, rollback=True)
            if to.image:
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


def _verify_again(release: Release, to: Revision) -> Verify:
    """The checks that a revision was verified by, and the floor; what others have made is judged by its objects alone.

    A newer version may have written the record: what is not known of a check is left out, and said.
    """
    if made_by_others(to):
        return Verify(soak=0.0)
    http = []
    for found in to.checks:
        known = _understood(found)
        if "path" in known:
            http.append(HttpCheck(**known))
        if known != found or "path" not in known:
            release.run.warn(f"revision {to.revision}: not all of the check {found} is understood, so not all is asked")
    return Verify(http=tuple(http)).on_top_of(replace(release.environment.verify, helm_test=False, soak=0.0))


def _understood(check: Any) -> dict[str, Any]:
    every = check.items() if isinstance(check, dict) else ()
    return {key: value for key, value in every if isinstance(value, _CHECK.get(key, ()))}


def newest_of(release: Release, deadline: Deadline) -> int:
    """The number of Helm's newest revision."""
    history = patiently(lambda: release.history(deadline), deadline, allowed=True)
    return history[-1].revision if history else 0


def _plan_again(release: Release, verify: Verify, rendered: Rendered) -> list[Request]:
    """The checks that the old chart can be asked; another must not keep it from coming back."""
    found: list[Request] = []
    for check in verify.http:
        try:
            found += plan_requests(Verify(http=(check,)), rendered.services, release.environment)
        except UsageProblem as problem:
            release.run.warn(problem.message)
    return found


def apply_rollback(release: Release, lease: Lease, entry: Revision, deadline: Deadline) -> None:
    """Let Helm make the rollback that `entry` announces; again where that helps. Raises NeedsPerson, Held."""
    with release.run.stage("helm rollback", f"{release.environment.release} to revision {entry.rollback_of}"):
        share = _share(deadline)
        try:
            ended = Attempts(release, lease, entry, ROLLBACK, share).run(
                lambda stop, insist: release.helm.rollback(entry.rollback_of, share, stop, insist=insist),
                _rollback_failed,
            )
        except Held:
            raise
        except CdError as problem:
            ended = State(False, "", (Fault("", "", "Helm", problem.message),))
        if isinstance(ended, State):
            raise _ended_badly(release, entry, "failed", ended, deadline)
        renumber(release, entry, newest_of(release, deadline), deadline)


def _rollback_failed(why: str, problem: Exception | None) -> Fault:
    """The fault of a rollback that failed. Helm may be called again whatever it had written: so all is raised.

    An API server that has just begun knows no roles yet: that it forbids what it has allowed before may pass as well.
    """
    if problem is not None:
        raise problem
    return Fault("", "", PASSING if passes(why) or not_allowed(why) else "Helm", why)


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
