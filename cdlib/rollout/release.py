"""One release in one environment, and what deploy and rollback both do with it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NeedsPerson, OutOfTime, UsageProblem
from cdlib.retry import retrying
from cdlib.rollout.api import Api
from cdlib.rollout.chart import Rendered, of_interest
from cdlib.rollout.evidence import gather
from cdlib.rollout.helm import Helm, HelmRevision, reason
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, FAILED, INTERRUPTED, UNJUDGED, VERIFIED, Record, Records, Revision
from cdlib.rollout.verdict import INCONCLUSIVE, Fault, State, pod_ready
from cdlib.rollout.verify import Request, check_release, plan_requests
from cdlib.rollout.workloads import wait
from cdlib.run import Run
from cdlib.service import HttpCheck, Verify
from cdlib.target import Environment
from cdlib.trigger import Trigger
from cdlib.units import timestamp

T = TypeVar("T")
KEPT_FOR_ROLLBACK = 0.4  # of the budget


@dataclass(frozen=True)
class Outcome:
    """How a deploy or rollback ended well. `outcome` is done or unchanged; `pods` are names of ready pods."""

    outcome: str
    entry: Revision
    pods: tuple[str, ...] = ()


@dataclass
class Release:
    """A release with all that it takes to work on it. Close it when done."""

    run: Run
    environment: Environment
    trigger: Trigger
    api: Api
    helm: Helm
    records: Records

    @classmethod
    def open(cls, run: Run, service: str, environment: Environment, trigger: Trigger) -> Release:
        """Connect to the environment's cluster. Raises what Api raises."""
        api = Api(environment.kubeconfig, environment.context)
        records = Records(api, environment.namespace, service, environment.release, run.redactor)
        return cls(run, environment, trigger, api, Helm(run, environment), records)

    @property
    def holder(self) -> str:
        """Who we are, for the lease and the record."""
        who = self.trigger.url or self.trigger.build or self.trigger.who
        return f"{who}/{socket.gethostname()}/{os.getpid()}/{self.run.events.run_id[:8]}"[:250]

    def lease(self, deadline: Deadline) -> Lease:
        """The release's lease, not yet taken. Helm is stopped when it is lost."""
        lease = Lease(self.api, self.environment.namespace, self.environment.release, self.holder, deadline)
        self.helm.lease = lease
        return lease

    def held_by(self, deadline: Deadline) -> str:
        """Who holds the release's lease now; empty where nobody does."""
        return Lease(self.api, self.environment.namespace, self.environment.release, "", deadline).holder

    def history(self, deadline: Deadline) -> list[HelmRevision]:
        """Helm's revisions, oldest first."""
        return self.helm.history(self.api, deadline)

    def read(self, deadline: Deadline) -> tuple[Record, list[HelmRevision]]:
        """The record and Helm's history; what Helm applied last is live, whatever the record had time to say."""
        record, history = self.records.read(deadline), self.history(deadline)
        record.live = history[-1].revision if history else 0
        return record, history

    def mark(self, entry: Revision, deadline: Deadline, *, live: bool = False, **changes: str) -> Revision:
        """Write `entry` with `changes` into the record, as what is live where `live` says so."""
        changed = replace(entry, **changes)  # type: ignore[arg-type]

        def change(record: Record) -> None:
            record.put(changed)
            if live:
                record.live = changed.revision

        self.records.update(change, deadline)
        return changed


def heal(release: Release, deadline: Deadline) -> Record:
    """Clear what a dead run left behind. The lease is held, so whoever left it is dead.

    A first install that never ended is removed; anything else goes back to the last revision that Helm or we
    know to have been applied, so that the next step starts from a whole release.
    """
    record, history = release.read(deadline)
    dead = [entry for entry in record.revisions if entry.status == DEPLOYING]
    if history and history[-1].pending:
        _clear_pending(release, record, history, deadline)
    if dead:
        _forget(release, dead, deadline)
    return release.read(deadline)[0]


def _clear_pending(release: Release, record: Record, history: Sequence[HelmRevision], deadline: Deadline) -> None:
    left = history[-1]
    release.run.warn(f"revision {left.revision} was left {left.status} by a run that died: clearing it up first")
    applied = [h.revision for h in history if h.status in ("deployed", "superseded")]
    good = record.last_good({h.revision for h in history})
    back_to = good.revision if good else max(applied, default=0)
    done = release.helm.rollback(back_to, deadline) if back_to else release.helm.uninstall(deadline)
    if not done.ok:
        raise NeedsPerson(
            f"the release is {left.status} since a run died, and could not be cleared up: {reason(done)}",
            hint=f"see helm history {release.environment.release} -n {release.environment.namespace}",
        )
    entry = record.find(back_to)
    if entry is not None:
        now = release.history(deadline)[-1].revision
        undone = replace(entry, revision=now, status=UNJUDGED, rollback_of=back_to, reason="a run died", at=timestamp())
        release.mark(undone, deadline, live=True)


def _forget(release: Release, dead: Sequence[Revision], deadline: Deadline) -> None:
    def change(record: Record) -> None:
        for entry in dead:
            record.put(replace(entry, status=INTERRUPTED, reason=entry.reason or "its run died"))

    release.records.update(change, deadline)


def judge(release: Release, lease: Lease, verify: Verify, rendered: Rendered, requests: Sequence[Request],
          deadline: Deadline) -> State:  # fmt: skip
    """Wait for the rollout, then check it; a State without faults is a good one."""
    with release.run.stage("rollout", release.environment.release):
        state = wait(release.run, release.api, release.environment.namespace, rendered.workloads, deadline, lease)
    if state.faults:
        return state
    try:
        faults = check_release(
            release.run,
            release.api,
            release.helm,
            release.environment,
            verify,
            requests,
            rendered.workloads,
            deadline,
            lease,
        )
    except OutOfTime as problem:
        faults = (Fault("", "", "OutOfTime", problem.message),)
    except CdError as problem:
        lease.require()
        faults = (Fault("", "", INCONCLUSIVE, problem.message),)
    return replace(state, faults=faults)


def go_back(release: Release, lease: Lease, to: Revision, why: str, deadline: Deadline) -> Outcome:
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
                    run=release.run.events.run_id, rollback_of=to.revision)  # fmt: skip
    release.mark(entry, deadline)

    def go() -> Outcome:
        try:
            _apply_rollback(release, lease, entry, deadline)
            state = judge(release, lease, verify, rendered, requests, deadline)
            if not state.faults:
                done = patiently(lambda: release.mark(entry, deadline, live=True, status=VERIFIED), deadline)
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


def patiently(call: Callable[[], T], deadline: Deadline) -> T:
    """What `call` returns, tried as long as there is time: once Helm has been called, giving up is no help."""
    return retrying(call, deadline, attempts=1000)


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
            done = release.helm.rollback(number, deadline)
            why = "" if done.ok else reason(done)
        except CdError as problem:
            lease.require()
            why = problem.message
        if why:
            release.mark(entry, Deadline(5.0, "recording the failure"), live=True, status=FAILED, reason=why)
            raise NeedsPerson(
                f"the rollback to revision {number} failed: {why}", hint=_look(environment, "helm history")
            )
    patiently(lambda: release.mark(entry, deadline, live=True), deadline)


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


def ready_pods(state: State) -> tuple[str, ...]:
    """Names of the release's pods that are ready."""
    return tuple(sorted(str(pod["metadata"]["name"]) for pod in state.pods if pod_ready(pod)))


def new_entry(release: Release, number: int, **what: str) -> Revision:
    """A record entry for a revision that is about to be made."""
    trigger = release.trigger
    change = f"{trigger.change},{trigger.patchset}" if trigger.change else ""
    return Revision(revision=number, status=DEPLOYING, at=timestamp(), by=release.holder, run=release.run.events.run_id,
                    change=change, url=trigger.url, **what)  # type: ignore[arg-type]  # fmt: skip


def checks_of(verify: Verify) -> list[dict[str, object]]:
    """The HTTP checks as the record keeps them."""
    return [asdict(check) for check in verify.http]


def interrupted(release: Release, entry: Revision, doing: Callable[[], Outcome]) -> Outcome:
    """Run `doing`; where a signal ends it, the record says so at once, and the next run goes on or rolls back."""

    def note(record: Record) -> None:
        mine = record.find(entry.revision)
        if mine is not None and mine.status == DEPLOYING:
            record.put(replace(mine, status=INTERRUPTED, reason="interrupted"))

    try:
        return doing()
    except KeyboardInterrupt:
        with suppress(CdError):
            release.records.update(note, Deadline(3.0, "recording the interruption"))
        raise


def require_known(record: Record, number: int, present: set[int]) -> Revision:
    """The record's entry of Helm revision `number`. Raises UsageProblem where it is not there any more."""
    entry = record.find(number)
    if entry is None or number not in present:
        known = ", ".join(str(e.revision) for e in record.revisions if e.revision in present) or "none"
        raise UsageProblem(
            f"there is no revision {number} to go back to", hint=f"there are: {known} (helm-rollback --list)"
        )
    return entry


def _look(environment: Environment, command: str) -> str:
    return f"look at: {command} -n {environment.namespace}" + (
        f" {environment.release}" if "history" in command else ""
    )
