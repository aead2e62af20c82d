"""The hooks of a revision that run in the cluster: judged while Helm waits for them, and ended before a rollback.

Helm waits for a hook to the end of its time limit, whatever keeps it from ending, and leaves it running when it gives
up. Which hooks a revision has is asked of Helm's own record of it: a name may hold the revision's number, or depend on
what is in the cluster, so that `helm template` does not show it. What an earlier revision has left by the same name is
told by its age: it is older than that record.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import NamedTuple

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, OutOfTime
from cdlib.process import Finished
from cdlib.rollout.api import Conflict, Object, path
from cdlib.rollout.chart import runs_at
from cdlib.rollout.lease import Lease
from cdlib.rollout.meanwhile import NOTHING, Meanwhile, cannot_be_mended, comes_after, with_own
from cdlib.rollout.progress import job_ended, pod_ended
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import Fault, State
from cdlib.rollout.workloads import KINDS, following
from cdlib.streams import Stop

DEPLOY = ("pre-install", "pre-upgrade", "post-install", "post-upgrade")
TEST = ("test", "test-success")
ROLLBACK = ("pre-rollback", "post-rollback")
LOOK_AFTER = 1.0  # seconds; a Helm that takes longer than most waits for a hook
LOOK_EVERY = 0.25
LAST_LOOKS = 8  # until the objects show why Helm says that a hook has failed
ASKING = 5.0  # seconds for one question to the cluster
ENDING = 10.0  # seconds that a rollback waits for the pods of hooks that were ended
_AWAITED = ("Job", "Pod")  # what Helm waits for; anything else it only creates
_LATE = {DEPLOY: "Helm did not end: ", TEST: "", ROLLBACK: "Helm did not end: "}
_SAID = {DEPLOY: "a hook failed", TEST: "helm test failed", ROLLBACK: "a hook failed"}

_IN_VAIN = ("Helm", "OutOfTime")  # of a Helm that may have waited for a hook; what passes has another reason

Found = tuple[tuple[str, str], ...]  # (kind, name)


class Written(NamedTuple):
    """Which of a revision's hooks Helm waits for, `after` those that come once all is applied; no `since`: not yet."""

    revision: int = 0
    since: str = ""  # RFC 3339, by the API server's clock
    found: Found = ()
    after: Found = ()


class Hooks:
    """The hooks of one revision while Helm runs them, followed by a thread: Helm must be ended in any case in time.

    `state` is what was seen of them last, and `own` what was seen of the release's workloads, once Helm has applied
    them and waits for a hook that comes after: a deploy's alone, since more than Helm goes back in a rollback.
    """

    def __init__(self, release: Release, lease: Lease, revision: int, events: tuple[str, ...]) -> None:
        self._release, self._lease, self._revision, self._events = release, lease, revision, events
        self._begin, self._over, self._failed = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="hooks", daemon=True)
        self.state, self.own = State(False, ""), NOTHING

    def run(self, call: Callable[[Stop], Finished]) -> Finished | None:
        """How Helm ended; None where it was ended because a hook has failed, or the release itself, as `found` says.

        Raises what `call` does.
        """
        try:
            return call(self._failed.is_set)
        except OutOfTime:
            raise
        except CdError:
            if self._failed.is_set():
                return None
            raise

    def blame(self, fault: Fault) -> State:
        """Why Helm has failed, as far as its hooks show it; else `fault`, with the hooks that have not ended."""
        self._begin.set()
        for look in range(LAST_LOOKS):
            self._thread.join(LOOK_EVERY)
            if not self._thread.is_alive() or (look and self.state.complete):
                break
        found = self._hooks_fault(fault)
        return with_own(found, self.own) if self.state.faults or fault.reason in _IN_VAIN else found

    @property
    def found(self) -> State:
        """What was seen of both."""
        return with_own(self.state, self.own)

    def _hooks_fault(self, fault: Fault) -> State:
        state = self.state
        if state.faults:
            return state
        if state.complete or not state.summary:
            return State(False, "", (fault,), kept=state.kept)
        why = "; ".join((state.summary, *state.waiting[:1]))
        pod = next((str(p["metadata"]["name"]) for p in state.pods if not pod_ended(p)), "")
        return replace(state, faults=(replace(fault, pod=pod, message=f"{fault.message}: {why}"),))

    def start(self) -> None:
        """Begin to follow them, once Helm has had a moment."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._begin.set()
        self._thread.join(LOOK_EVERY)

    def _follow(self) -> None:
        self._begin.wait(LOOK_AFTER)
        try:
            written = self._asked()
            if written.found:
                self._follow_both(written)
        except Exception as problem:  # Helm's own verdict, and its time limit, are left
            if not self._over.is_set():
                self._release.run.warn(f"hooks cannot be followed: {problem}")

    def _follow_both(self, written: Written) -> None:
        release, lease = self._release, self._lease
        after = written.after if self._events == DEPLOY else ()
        with (
            following(release.run, release.api, release.environment.namespace, written.found, lease,
                      since=written.since) as follower,
            Meanwhile(release, lease, written.revision, written.since, after) as meanwhile,
        ):  # fmt: skip
            while not self._over.wait(LOOK_EVERY) and not self._failed.is_set():
                state = follower.state_now()
                if state is None:
                    continue
                self._take(state)
                self.own = meanwhile.look(follower, last=bool(state.faults))
                if state.faults or cannot_be_mended(self.own):
                    self._failed.set()

    def _asked(self) -> Written:
        """The hooks, once Helm has written down what they are."""
        while not self._over.is_set():
            with suppress(CdError):
                written = _hooks(self._release, self._revision, self._events)
                if written.since:
                    return written
            self._over.wait(LOOK_EVERY)
        return Written()

    def _take(self, state: State) -> None:
        said = _SAID[self._events]
        faults = tuple(replace(fault, message=f"{said}: {fault.message}") for fault in state.faults)
        self.state = replace(state, faults=faults)


@contextmanager
def hooks_of(release: Release, lease: Lease, revision: int, events: tuple[str, ...]) -> Iterator[Hooks]:
    """The hooks that Helm runs for `revision` at `events`; looked at only where Helm takes its time."""
    hooks = Hooks(release, lease, revision, events)
    hooks.start()
    try:
        yield hooks
    finally:
        hooks.stop()


def with_hooks(release: Release, lease: Lease, revision: int, events: tuple[str, ...],
               helm: Callable[[Stop], Finished], fault: Callable[[Finished], Fault]) -> Finished | State:  # fmt: skip
    """Let Helm work while the hooks that it runs for `revision` at `events` are followed.

    How Helm ended where it ended well, else a State that says why it did not: by its hooks, or by `fault`, which is
    asked only then. Raises what `helm` does, save OutOfTime.
    """
    with hooks_of(release, lease, revision, events) as hooks:
        try:
            done = hooks.run(helm)
        except OutOfTime as problem:
            return hooks.blame(Fault("", "", "OutOfTime", f"{_LATE[events]}{problem.message}"))
        if done is None:
            return hooks.found
        return done if done.ok else hooks.blame(fault(done))


def end_hooks(release: Release, lease: Lease, revision: int, deadline: Deadline) -> list[str]:
    """End the hooks of `revision` that still run, pods and all; return what they were, as "Job migrate".

    Helm leaves them running. What cannot be ended is told and left: it must not keep a rollback from beginning. Raises
    Held where the lease is another's by now, whose hooks may have the same names.
    """
    ended: list[str] = []
    share = deadline.part(ENDING, "ending hooks")
    try:
        written = _hooks(release, revision, (*DEPLOY, *TEST, *ROLLBACK))
        seen = {each: _get(release, each, share) for each in written.found}
        running = {each: _uid(o) for each, o in seen.items() if _runs(o, written.since)}
        for (kind, name), uid in running.items():
            lease.require()
            release.run.warn(f"the hook {kind} {name} of revision {revision} still runs: ending it half-way")
            with suppress(Conflict):  # another of that name is there by now
                release.api.delete(
                    _path(release, kind, name), share, propagationPolicy="Foreground", preconditions={"uid": uid}
                )
            ended.append(f"{kind} {name}")
        while any(_uid(_get(release, each, share)) == uid for each, uid in running.items()):
            time.sleep(min(LOOK_EVERY, share.require("ending hooks")))
    except Held:
        raise
    except CdError as problem:
        release.run.warn(f"hooks of revision {revision} may still run: {problem.message}")
    return ended


def _hooks(release: Release, revision: int, events: tuple[str, ...]) -> Written:
    """What Helm wrote down of a revision's hooks at these events; nothing where it has not. Raises CdError.

    Helm may have tried twice, and taken a number more: what it wrote down last is meant.
    """
    asking = Deadline(ASKING, "reading Helm's records")
    history = release.history(asking)
    newest = history[-1] if history else None
    if newest is None or newest.revision < revision:
        return Written()
    every = release.helm.hooks(newest.revision, asking)
    mine = [o for o in every if o["kind"] in _AWAITED and runs_at(o, events)]
    return Written(newest.revision, newest.created, _names(mine), _names(comes_after(mine, events)))


def _names(every: Iterable[Object]) -> Found:
    return tuple((str(o["kind"]), str(o["metadata"]["name"])) for o in every)


def _runs(o: Object | None, since: str) -> bool:
    if o is None or str(o["metadata"].get("creationTimestamp", "")) < since:
        return False
    return not (job_ended(o) or pod_ended(o))


def _uid(o: Object | None) -> str:
    return str(o["metadata"].get("uid", "")) if o else "nothing is there"


def _get(release: Release, hook: tuple[str, str], deadline: Deadline) -> Object | None:
    return release.api.get(_path(release, *hook), deadline)


def _path(release: Release, kind: str, name: str) -> str:
    _, plural, group = KINDS[kind]
    return path(plural, release.environment.namespace, name, group=group)
