"""Helm called for one entry of the record, with its hooks followed; and again where that helps.

A webhook or an etcd that did not answer once ends no rollout. Each call takes a number of Helm's, and the record has it
before that call: so whatever a run that dies then has left is known to be its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import Held, Unavailable
from cdlib.process import Finished
from cdlib.retry import patiently, retrying
from cdlib.rollout.helm_answers import HelmRevision, in_conflict, passes, reason
from cdlib.rollout.hooks import DEPLOY, with_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import OUTAGE, Fault, State
from cdlib.streams import Stop

PASSING = "Passing"  # the reason of a fault for which Helm is worth another call
TRIES = 4  # each takes one of the revisions that Helm keeps
PAUSE = 3.0  # seconds between them: what passes takes a moment
_CONFLICT = "Conflict"

Call = Callable[[Stop, bool], Finished]  # Helm; told when to end, and whether to set what others have set since
# The fault of a call that failed with these words, or of which something else was raised. Where such a call has written
# nothing, it raises in place of that: Unavailable where Helm is to be called again.
Failed = Callable[[str, Exception | None], Fault]


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

        return patiently(some_times, self._deadline)

    def _once(self, helm: Call, failed: Failed) -> Finished | State:
        self._lease.require()
        if self._called:
            self._prepare_again()
        self._called, before, self.wrote = True, self.wrote, True
        try:
            ended = self._call(helm, failed)
        except Held:
            raise
        except Exception:  # as `failed` says: this call has written nothing
            self.wrote = before
            raise
        if isinstance(ended, State):
            self._call_again_over(ended)
        return ended

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

    def _call_again_over(self, state: State) -> None:
        """Raise _Again where the state is worth it."""
        fault, run = state.faults[0], self._release.run
        if fault.reason == _CONFLICT:
            # Helm 4 does not touch a field that somebody else has set since, and fails: it is told to.
            self._insist = True
            run.warn(f"what the release sets was changed by others, and is set again: {fault.message}")
            raise _Again(replace(fault, reason="Helm"), state, hint="run this again")
        if fault.reason == PASSING:
            run.warn(f"this may pass, and is tried {TRIES} times: {fault.message}")
            raise _Again(replace(fault, reason=OUTAGE), state, hint="run this again", retry_after=PAUSE)

    def _prepare_again(self) -> None:
        """Announce the number that Helm takes now."""
        history = patiently(lambda: self._release.history(self._deadline), self._deadline)
        if self._events == DEPLOY and _first_install(history, self._entry):
            self._release.run.warn("the first install is removed and made again, so that its hooks run as in one")
            remove(self._release, self._lease, self._deadline)
            history, self.wrote = [], False
        renumber(self._release, self._entry, history[-1].revision + 1 if history else 1, self._deadline)


def remove(release: Release, lease: Lease, deadline: Deadline) -> None:
    """Let Helm remove a release whose first install never ended. Raises Unavailable where it cannot."""

    def once() -> None:
        lease.require()
        done = release.helm.uninstall(deadline)
        if not done.ok:
            why = reason(done)
            raise Unavailable(f"Helm cannot remove the release: {why}", hint="run this again", retryable=passes(why))

    patiently(once, deadline)


def renumber(release: Release, entry: Revision, number: int, deadline: Deadline) -> None:
    """Give the entry another number, in the record as well: attempts that came to nothing have taken its own."""
    announced = entry.revision
    if number == announced:
        return

    def change(record: Record) -> None:
        record.drop(announced)
        record.put(replace(entry, revision=number))

    patiently(lambda: release.records.update(change, deadline), deadline)
    entry.revision = number


def _first_install(history: list[HelmRevision], entry: Revision) -> bool:
    """Whether Helm has nothing but an install of ours that failed: an upgrade of that would leave out its hooks."""
    return [(each.revision, each.status) for each in history] == [(1, "failed")] and entry.revision == 1
