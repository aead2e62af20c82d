"""One release in one environment, as deploy and rollback both work on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime, UsageProblem
from cdlib.rollout.api import Api
from cdlib.rollout.helm import Helm
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.images import HasImage, Images
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import DEPLOYING, INTERRUPTED, VERIFIED, Record, Revision
from cdlib.rollout.records import Records
from cdlib.rollout.verdict import State, pod_ready
from cdlib.run import Run
from cdlib.service import Verify
from cdlib.target import Environment
from cdlib.trigger import Trigger
from cdlib.units import timestamp

KEPT_FOR_ROLLBACK = 0.4  # of the budget
LONGEST_HOLDER = 250  # characters; its end, which is unique, has at most 64 + 20


@dataclass(frozen=True)
class Outcome:
    """How a deploy or rollback ended well. `outcome` is done or unchanged; `pods` are names of ready pods.

    `hold` is the record's, where a rollback has set it or found it; `drift` is what was not as the release says
    before, one line each.
    """

    outcome: str
    entry: Revision
    pods: tuple[str, ...] = ()
    hold: dict[str, str] | None = None
    drift: tuple[str, ...] = ()


@dataclass
class Release:
    """A release with all that it takes to work on it. Close it when done."""

    run: Run
    environment: Environment
    trigger: Trigger
    api: Api
    helm: Helm
    records: Records
    images: Images

    @classmethod
    def open(cls, run: Run, service: str, environment: Environment, trigger: Trigger, has_image: HasImage) -> Release:
        """Connect to the environment's cluster. Raises what Api raises."""
        api = Api(environment.kubeconfig, environment.context, run.redactor.hide)
        records = Records(api, environment.namespace, service, environment.release, run.redactor)
        return cls(run, environment, trigger, api, Helm(run, environment), records, Images(has_image, run.warn))

    def close(self) -> None:
        """Close the connections to the cluster."""
        self.api.close()

    @property
    def holder(self) -> str:
        """Who we are, for the lease and the record: two runs of one name must not take each other for themselves."""
        who = self.trigger.url or self.trigger.build or self.trigger.who
        unique = f"/{socket.gethostname()}/{os.getpid()}/{self.run.events.run_id[:8]}"
        return who[: LONGEST_HOLDER - len(unique)] + unique

    def lease(self, deadline: Deadline, *, wait: bool = False) -> Lease:
        """The release's lease, not yet taken; `wait` queues for it. Helm is stopped when it is lost."""
        queue = (lambda who: self.run.note(f"waits for the run that holds the release: {who}")) if wait else None
        place = self.environment
        lease = Lease(self.api, place.namespace, place.release, self.holder, deadline, queue, self.run.warn)
        self.helm.lease = lease
        return lease

    def now(self) -> str:
        """The time by the cluster's clock, as Helm's own records have it, in RFC 3339."""
        return timestamp(self.api.now())

    def budget(self, of: str) -> Deadline:
        """The environment's budget, from now on; a warning where the run has less time than that."""
        seconds = self.environment.budget
        if self.run.deadline.seconds < seconds:
            self.run.warn(
                f"the budget of {seconds:g} s is cut to the {self.run.deadline.seconds:g} s that this run has: raise "
                "--timeout (CD_TIMEOUT), or shorten the environment's budget in targets.yaml"
            )
        return self.run.deadline.part(seconds, f"the budget of {of}")

    def budget_under(self, lease: Lease, before: Deadline) -> Deadline:
        """The budget once the lease is had, whose bound it is, too: for who has queued it begins anew."""
        queued = self.run.deadline.part(self.environment.budget, before.what)
        lease.deadline = queued if lease.waited else before
        return lease.deadline

    def held_by(self, deadline: Deadline) -> str:
        """Who holds the release's lease now; empty where nobody does."""
        return Lease(self.api, self.environment.namespace, self.environment.release, "", deadline).holder

    def history(self, deadline: Deadline) -> list[HelmRevision]:
        """Helm's revisions, oldest first."""
        return self.helm.history(self.api, deadline)

    def read(self, deadline: Deadline) -> tuple[Record, list[HelmRevision]]:
        """The record and Helm's history; what Helm applied last is live, whatever the record had time to say."""
        record, history = self.records.read(deadline), self.history(deadline)
        record.forget_former({each.revision: each.uid for each in history})
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

    def settle(self, entry: Revision, deadline: Deadline, **changes: str) -> Revision:
        """Write how a revision that Helm has applied ended, tied to Helm's own record of it; it is what is live."""
        uids = {each.revision: each.uid for each in self.history(deadline)}
        return self.mark(entry, deadline, live=True, helm_uid=uids.get(entry.revision, ""), **changes)

    def verified(self, entry: Revision, deadline: Deadline) -> Revision:
        """Write that a revision was seen healthy, now."""
        return self.settle(entry, deadline, status=VERIFIED, verified_at=self.now())


def require_whole_budget(environment: Environment, lease: Lease, budget: Deadline) -> None:
    """Raise OutOfTime where queueing has left less of the run's time than the budget, before anything is written.

    What is good would be judged by a share that it cannot do with, and be taken back for that.
    """
    if lease.waited and budget.seconds < environment.budget:
        raise OutOfTime(
            f"waiting for the lease has left {budget.seconds:.0f} s of this run's time, which is less than the "
            f"budget of {environment.budget:g} s: nothing was written",
            hint="run this again, or raise --timeout (CD_TIMEOUT)",
        )


def time_to_roll_out(environment: Environment) -> float:
    """Seconds of the environment's budget for deploying and verifying; the rest is kept for the rollback."""
    return environment.budget * (1 - KEPT_FOR_ROLLBACK)


def ready_pods(state: State) -> tuple[str, ...]:
    """Names of the release's pods that are ready."""
    return tuple(sorted(str(pod["metadata"]["name"]) for pod in state.pods if pod_ready(pod)))


def new_entry(release: Release, number: int, **what: str) -> Revision:
    """A record entry for a revision that is about to be made."""
    trigger = release.trigger
    change = f"{trigger.change},{trigger.patchset}" if trigger.change else ""
    return Revision(revision=number, status=DEPLOYING, at=release.now(), by=release.holder,
                    run=release.run.events.run_id, change=change, url=trigger.url, **what)  # type: ignore[arg-type]  # fmt: skip


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
