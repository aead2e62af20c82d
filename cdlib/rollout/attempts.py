"""Helm called for one entry of the record, with its hooks followed; and again where that helps.

A webhook or an etcd that did not answer once ends no rollout. Each call takes a number of Helm's, and the record has it
before that call: so whatever a run that dies then has left is known to be its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, Unavailable
from cdlib.process import Finished
from cdlib.retry import patiently, retrying
from cdlib.rollout.chart import hook_events
from cdlib.rollout.helm_answers import in_conflict, passes, reason
from cdlib.rollout.hooks import DEPLOY, end_hooks, with_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import INTERRUPTED, Record, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import OUTAGE, Fault, State
from cdlib.streams import Stop

PASSING = "Passing"  # the reason of a fault for which Helm is worth another call
TRIES = 4  # each takes one of the revisions that Helm keeps
PAUSE = 3.0  # seconds between them: what passes takes a moment
SETTLING = 5.0  # seconds for a last look, of what is kept for the rollback
_CONFLICT = "Conflict"

Call = Callable[[Stop, bool], Finished]  # Helm; told when to end, and whether to set what others have set since
# The fault of a call that failed with these words, or of which something else was raised. Where such a call has written
# nothing, it raises in place of that: Unavailable where Helm is to be called again.
Failed = Callable[[str, Exception | None], Fault]


class Beside(Held):
    """Helm has refused, because another Helm is at work on the release. The number that was announced is theirs."""


class _Again(Unavailable):
    """Helm has failed, and is worth another call; `state` is what is left to say where that does not help."""

    def __init__(self, fault: Fault, state: State, *, hint: str, retry_after: float = 0.0) -> None:
        super().__init__(str(fault), hint=hint, retry_after=retry_after)
        self.state = replace(state, faults=(fault,))


class Attempts:
    """The calls of Helm for one entry, which is announced already. `wrote` is whether one may have written."""

    def __init__(self, release: Release, lease: Lease, entry: Revision, events: tuple[str, ...],
                 deadline: Deadline) -> None:  # fmt: skip
        self._release, self._lease, self._entry = release, lease, entry
        self._events, self._deadline = events, deadline
        self._called = self._insist = self.wrote = False
        self._written = entry.revision  # by the call that wrote last

    def run(self, helm: Call, failed: Failed) -> Finished | State:
        """How Helm ended where it ended well, else a State that says why it did not.

        It is called again as long as the cluster is away and nothing is written, and some times over what passes.
        Raises what `failed` does, Held.
        """

        def some_times() -> Finished | State:
            try:
                return retrying(lambda: self._once(helm, failed), self._deadline, attempts=TRIES)
            except _Again as problem:
                return problem.state

        ended = patiently(some_times, self._deadline)
        if isinstance(ended, State):
            self.settle()
        return ended

    def settle(self) -> None:
        """Give the entry the number of the call that wrote last, where a later one took none."""
        with suppress(CdError):
            history = self._release.history(Deadline(SETTLING, "reading Helm's records"))
            if history and self._written <= history[-1].revision < self._entry.revision:
                renumber(self._release, self._entry, history[-1].revision, Deadline(SETTLING, "writing the record"))

    def _once(self, helm: Call, failed: Failed) -> Finished | State:
        self._lease.require()
        again, before = self._called, self.wrote
        if again and (over := self._prepare_again()):
            return over
        self._called = self.wrote = True
        try:
            ended = self._call(helm, failed)
        except Beside as problem:
            self._make_way(problem, again, before)
            raise
        except Held:
            raise
        except Exception:  # as `failed` says: this call has written nothing
            self.wrote = before
            raise
        self._written = self._entry.revision
        return self._call_again_over(ended) if isinstance(ended, State) else ended

    def _make_way(self, problem: Beside, again: bool, before: bool) -> None:
        """Leave the release to another's Helm. Raises Unavailable where a call before has written, and is to be undone.

        Where one before was cut off, what works there may be its own, late: then the record keeps the number, by which
        the next run clears it up.
        """
        if before:
            renumber(self._release, self._entry, self._written, self._deadline)
            raise Unavailable(f"{problem.message}, between two calls of ours", hint=problem.hint, retryable=False)
        if not again:
            forget(self._release, self._entry, self._deadline)

    def _call(self, helm: Call, failed: Failed) -> Finished | State:
        told: list[Exception] = []

        def fault(done: Finished) -> Fault:
            why = reason(done)
            if in_conflict(why) and not self._insist:
                return Fault("", "", _CONFLICT, f"Helm failed: {why}")
            try:
                return failed(why, None)
            except Exception as problem:
                told.append(problem)
                raise

        try:
            return with_hooks(
                self._release, self._lease, self._entry.revision, self._events,
                lambda stop: helm(stop, self._insist), fault,
            )  # fmt: skip
        except Held:
            raise
        except Exception as problem:
            if problem in told:
                raise
            return State(False, "", (failed(str(problem), problem),))

    def _call_again_over(self, state: State) -> State:
        """The state, where it is not worth another call. Raises _Again where it is."""
        fault, run = state.faults[0], self._release.run
        if fault.reason == _CONFLICT:
            # Helm 4 does not touch a field that somebody else has set since, and fails: it is told to.
            self._insist = True
            run.warn(f"what the release sets was changed by others, and is set again: {fault.message}")
            raise _Again(replace(fault, reason="Helm"), state, hint="run this again")
        if fault.reason != PASSING:
            return state
        passing = replace(fault, reason=OUTAGE)
        if self._events == DEPLOY and self._entry.revision == 1 and self._for_installs_alone():
            run.warn(
                "Helm is not called again: it would upgrade what it has installed by half, without its install hooks"
            )
            return replace(state, faults=(passing,))
        run.warn(f"this may pass, and is tried {TRIES} times: {fault.message}")
        raise _Again(passing, state, hint="run this again", retry_after=PAUSE)

    def _for_installs_alone(self) -> bool:
        """Whether the chart has hooks that an upgrade leaves out; also where that cannot be had.

        To remove the release and install it anew is no way out: Helm takes over what was there before, and would remove
        that, too; and what takes its time to go would vanish from the new one.
        """
        try:
            hooks = self._release.helm.hooks(self._entry.revision, self._deadline)
        except CdError:
            return True
        events = [set(hook_events(each)) for each in hooks]
        return any(
            each & {"pre-install", "post-install"} and not each & {"pre-upgrade", "post-upgrade"} for each in events
        )

    def _prepare_again(self) -> State | None:
        """End the hooks of the call before, and announce the number that Helm takes now.

        A State where that call has left the release pending, which Helm refuses to upgrade.
        """
        history = patiently(lambda: self._release.history(self._deadline), self._deadline, allowed=True)
        newest = history[-1] if history else None
        if newest and newest.revision == self._entry.revision:
            self.wrote, self._written = True, newest.revision
            if newest.pending and self._events == DEPLOY:
                left = f"Helm was cut off, and has left revision {newest.revision} {newest.status}"
                return State(False, "", (Fault("", "", OUTAGE, left),))
            end_hooks(self._release, self._lease, newest.revision, self._deadline)
        # Helm calls a failed first install superseded then: it must not be taken for what others had deployed before.
        kept = len(history) == 1 and history[0].revision == self._entry.revision
        number = newest.revision + 1 if newest else 1
        renumber(self._release, self._entry, number, self._deadline, kept=kept)
        return None


def remove(release: Release, lease: Lease, deadline: Deadline) -> None:
    """Let Helm remove a release whose first install never ended. Raises Unavailable where it cannot."""

    def once() -> None:
        lease.require()
        done = release.helm.uninstall(deadline)
        if not done.ok:
            why = reason(done)
            raise Unavailable(f"Helm cannot remove the release: {why}", hint="run this again", retryable=passes(why))

    patiently(once, deadline)


def forget(release: Release, entry: Revision, deadline: Deadline) -> None:
    """Take a number out of the record under which nothing was written; where that fails, the next run sees as much."""
    with suppress(CdError):
        release.records.update(lambda record: record.drop(entry.revision), deadline)


def renumber(release: Release, entry: Revision, number: int, deadline: Deadline, *, kept: bool = False) -> None:
    """Give the entry another number, in the record as well: attempts that came to nothing have taken its own.

    The record forgets the number before, unless it is `kept`, as one that was interrupted.
    """
    announced = entry.revision
    if number == announced:
        return

    def change(record: Record) -> None:
        record.drop(announced)
        if kept:
            record.put(replace(entry, status=INTERRUPTED, reason="Helm failed, and was called again"))
        record.put(replace(entry, revision=number))

    patiently(lambda: release.records.update(change, deadline), deadline)
    entry.revision = number
