"""The release's own workloads while Helm waits for a hook that comes after them.

A hook that waits for the new version waits in vain where that cannot start, and its own end says nothing of why. Only
such a hook, once it is seen in the cluster, shows that Helm has applied everything: before that, the pods are those of
the revision before.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from cdlib.deadline import Deadline
from cdlib.errors import Held, OutOfTime, Unavailable
from cdlib.rollout.api import Object
from cdlib.rollout.causes import UNMENDABLE
from cdlib.rollout.chart import hook_events, of_interest
from cdlib.rollout.lease import Lease
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, State, Workloads
from cdlib.rollout.workloads import Follower, following

ASKING = 5.0  # seconds for what Helm has applied
LAST_LOOKS = 4  # for the first list of the workloads, where the hook has failed already
LOOK_EVERY = 0.25
NOTHING = State(False, "")


def comes_after(hooks: Sequence[Object], events: Collection[str]) -> list[Object]:
    """The hooks that, of these events, Helm runs only at those that come once all has been applied.

    None whose name another hook has that may come earlier.
    """
    every = {(o["kind"], o["metadata"]["name"], event) for o in hooks for event in hook_events(o) if event in events}
    early = {(kind, name) for kind, name, event in every if not event.startswith("post-")}
    return [o for o in hooks if (o["kind"], o["metadata"]["name"]) not in early]


def cannot_be_mended(own: State) -> bool:
    """Whether the workloads have failed in a way that is not worth waiting for any hook."""
    return any(fault.reason in UNMENDABLE for fault in own.faults)


def with_own(state: State, own: State) -> State:
    """What has failed, by the `state` of the hooks, with the workloads first: the hooks may have waited for them.

    Workloads of which nothing worse is known than that they are not up yet are named beside.
    """
    faults = state.faults
    if not own.faults and own.waiting and faults:
        faults = (replace(faults[0], message=f"{faults[0].message}; meanwhile {own.waiting[0]}"), *faults[1:])
    return replace(state, faults=(*own.faults, *faults), kept=(*state.kept, *own.kept),
                   pods=(*state.pods, *own.pods), waiting=(*state.waiting, *own.waiting))  # fmt: skip


class Meanwhile:
    """The workloads of `revision`, which Helm wrote down at `since`, followed from the first of the hooks `after`."""

    def __init__(self, release: Release, lease: Lease, revision: int, since: str, after: Workloads) -> None:
        self._release, self._lease = release, lease
        self._revision, self._since, self._after = revision, since, set(after)
        self._stack = ExitStack()
        self._follower: Follower | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def look(self, hooks: Follower, *, last: bool) -> State:
        """How they stand, as far as that shows; `last` says that nobody looks again, so that they are waited for.

        What cannot be judged or seen is left to the judge that comes after Helm. Raises Held where the lease is lost.
        """
        if not self._after or (self._follower is None and not self._after & hooks.there):
            return NOTHING
        try:
            state = self._seen(LAST_LOOKS if last else 0)
        except Held:
            raise
        except (Unavailable, OutOfTime):
            return NOTHING  # Helm is asked again at the next look
        except Exception as problem:  # Helm and its hooks go on without
            self._release.run.warn(f"the workloads cannot be followed while a hook runs: {problem}")
            self._after.clear()
            return NOTHING
        if state is None:
            return NOTHING
        faults = [fault for fault in state.faults if fault.reason != INCONCLUSIVE]
        return replace(state, faults=tuple(sorted(faults, key=lambda fault: fault.reason not in UNMENDABLE)))

    def _seen(self, more: int) -> State | None:
        """How they stand; None where that is not known after so many `more` looks."""
        follower = self._follower = self._follower or self._begun()
        state = follower.state_now()
        for _ in range(more):
            if state is not None:
                break
            time.sleep(LOOK_EVERY)
            state = follower.state_now()
        return state

    def _begun(self) -> Follower:
        """Follow what Helm has applied, by its own record of it: the chart may have looked things up."""
        release = self._release
        objects = release.helm.manifest(self._revision, Deadline(ASKING, "asking Helm what it has applied"))
        workloads, namespace = of_interest(objects).workloads, release.environment.namespace
        return self._stack.enter_context(
            following(release.run, release.api, namespace, workloads, self._lease, older=self._older)
        )

    def _older(self, pod: Object) -> bool:
        return str(pod["metadata"].get("creationTimestamp", "")) < self._since
