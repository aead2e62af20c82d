"""The workloads of a release as the cluster has them, and waiting until they are up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.retry import patiently
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.confidential import Secrets
from cdlib.rollout.happenings import SELECTOR
from cdlib.rollout.lease import Lease
from cdlib.rollout.logs import Keepsakes
from cdlib.rollout.lookup import Lookup
from cdlib.rollout.patience import BLINK, Sight
from cdlib.rollout.progress import workload_done
from cdlib.rollout.sightings import Sightings
from cdlib.rollout.stuck import StuckPods
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, Fault, Judge, State, Workloads, pod_ready
from cdlib.rollout.watch import Kind, Watch
from cdlib.run import Run

TICK = 1.0  # seconds between two judgements where nothing changes: time itself may decide
SHARE = 3.0  # times as long as a judgement took is paused after it, so that a storm of changes costs no whole core
LONGEST_PAUSE = 0.5  # seconds
LAG = 2.0  # seconds that the watch of pods may be behind that of what owns them: the pods are named in the result
SOAKS = 3  # a restart in the soak begins it anew, so often at most
LEAST_SEEN = 0.5  # of a soak: where an outage has hidden more of it, and no time is left, it says nothing
LAST_LOOK = 5.0  # seconds that a soak which an outage makes longer leaves for the look at its end
_APPS = "apps/v1"
KINDS: dict[str, Kind] = {
    kind: (kind, plural, group)
    for kind, plural, group in (
        ("Deployment", "deployments", _APPS),
        ("StatefulSet", "statefulsets", _APPS),
        ("DaemonSet", "daemonsets", _APPS),
        ("ReplicaSet", "replicasets", _APPS),
        ("Job", "jobs", "batch/v1"),
        ("Pod", "pods", ""),
    )
}
_EVENTS: Kind = ("Event", "events", "")
Older = Callable[[Object], bool]  # than what was applied is a pod


def look(api: Api, namespace: str, workloads: Workloads, deadline: Deadline) -> State:
    """How the release stands right now, by one list a kind."""
    found = {}
    for kind, plural, group in _kinds(workloads):
        found[kind] = list((api.get(path(plural, namespace, group=group), deadline) or {}).get("items") or [])
    return Judge(workloads).look(found)


class Follower:
    """A rollout as it happens."""

    def __init__(self, run: Run, api: Api, namespace: str, workloads: Workloads, lease: Lease, watch: Watch, *,
                 since: str = "", stuck: StuckPods | None = None, older: Older = lambda _: False) -> None:  # fmt: skip
        self._run, self._api, self._namespace, self._workloads = run, api, namespace, workloads
        self._lease, self._watch, self._since, self._stuck = lease, watch, since, stuck
        self._sets = {name for kind, name in workloads if kind == "StatefulSet"}
        self._lookup, self._keepsakes = Lookup(api, namespace), Keepsakes(api, namespace)
        self._sight = Sight(time.monotonic)
        self._judge, self._sightings = Judge(workloads, self._lookup, older=older), Sightings(run)
        self._secrets = Secrets(run, api, namespace)
        self._ended_well = set[str]()  # Jobs
        self._said = ""

    def states(self, deadline: Deadline) -> Iterator[State]:
        """The state now, after each change, and at every TICK, to the end of `deadline`.

        Pauses while the lease cannot be renewed. Raises Held where it is lost for good.
        """
        self._sight.begin()
        while not deadline.over:
            began = time.monotonic()
            state = self.state_now(deadline)
            if state is not None:
                yield state
                time.sleep(min(SHARE * (time.monotonic() - began), LONGEST_PAUSE, deadline.left))
            self._watch.wait(min(TICK, deadline.left))

    def state_now(self, deadline: Deadline | None = None) -> State | None:
        """How it stands; None where nothing has been seen of it yet. Raises Held where the lease is lost.

        `deadline` bounds what is asked of the cluster beside the watch, which is little in any case.
        """
        deadline = deadline or self._run.deadline
        waited = self._lease.require()
        seen = not (waited or self._watch.trouble)  # what is known may be as old as the lease was lost
        self._sight.look(seen)
        if not self._watch.listed:
            self._tell(self._watch.trouble)
            return None
        found = self._found()
        self._ended_well |= {str(o["metadata"]["name"]) for o in found.get("Job", []) if workload_done("Job", o)[0]}
        self._lookup.begin(deadline)
        state = self._judge.look(found, seen=seen)
        state = replace(state, kept=self._keepsakes.see(state.pods, deadline))
        self._sightings.tell(state.pods)
        text = "; ".join(filter(None, (state.summary, state.trouble)))
        if state.trouble and text != self._said:
            self.learn_secrets(state, deadline.part(TICK, "a look"))
        self._tell(text)
        return state

    def _found(self) -> dict[str, list[Object]]:
        found = self._watch.objects()
        if self._since:  # RFC 3339 in UTC, as all of them are, so that they compare as they are
            for kind in ("Job", "Pod"):
                every = found.get(kind, [])
                found[kind] = [o for o in every if str(o["metadata"].get("creationTimestamp", "")) >= self._since]
        return found

    @property
    def there(self) -> set[tuple[str, str]]:
        """Which of the workloads there are, as (kind, name), without what is older than `since`."""
        found = self._found()
        return {(kind, name) for kind, name in self._workloads
                if any(o["metadata"]["name"] == name for o in found.get(kind, []))}  # fmt: skip

    def learn_secrets(self, state: State, deadline: Deadline) -> None:
        """Have what the pods know hidden, before anything that they say is shown or written."""
        self._secrets.learn(state.pods, deadline)

    @property
    def vanished(self) -> list[str]:
        """The Jobs that are gone, and were not seen to end well."""
        there = {o["metadata"]["name"] for o in self._watch.objects().get("Job", [])}
        jobs = [name for kind, name in self._workloads if kind == "Job"]
        return [name for name in jobs if name not in there and name not in self._ended_well]

    def until_up(self, deadline: Deadline) -> State:
        """Follow it until it is complete or has failed; a State with a fault where `deadline` passes first.

        What is complete has to stay so for its `hold`, with no container ending, as far as there is time. Seconds in
        which nothing could be seen do not count, and what cannot be seen is never complete.
        """
        state, since, ends, held = None, 0.0, -1, False
        for state in self.states(deadline):
            if self._stuck and self._sets and (fault := self._stuck.look(self._watch.objects(), self._sets)):
                return replace(state, faults=(fault,))
            watched = time.monotonic() - self._sight.blind
            if not state.complete or state.ends != ends:
                since, ends = watched, state.ends
            steady = self._sight.clear and watched - since >= max(state.hold, LAG if state.unseen else 0.0)
            if state.faults or (state.complete and steady):
                return state
            if state.complete and state.hold and not held:
                held = True
                self._run.note(f"watched for {state.hold:g} s more: a container has no readiness probe")
        blind = self._watch.trouble
        if state is None or blind or not self._sight.clear:
            why = blind or ("no list" if state is None else "the lease could not be renewed")
            text = f"nothing could be seen of it at the end of {deadline.seconds:.0f} s: {why}"
            return replace(state or State(False, self._said), faults=(Fault("", "", INCONCLUSIVE, text),))
        if state.complete:
            return state
        return replace(state, faults=(_out_of_time(state, deadline),))

    def soak(self, seconds: float, deadline: Deadline) -> State:
        """Watch a rollout that is complete for a while longer: failing liveness and sidecars come after it.

        Returns how it stood at the end. A container that ends in it begins it anew, as long as there is time: one
        restart is no failure, but only the time after it can tell.
        """
        first = last = State(False, self._said)
        for number in range(1, SOAKS + 1):
            states, missing = self._during(seconds, deadline)
            first, last = (states[0], states[-1]) if states else (last, last)
            if last.faults:
                return last
            if missing > seconds * (1 - LEAST_SEEN):
                text = (
                    f"only {seconds - missing:.0f} s of a soak of {seconds:g} s could be watched, and no time is left"
                )
                return replace(last, faults=(Fault("", "", INCONCLUSIVE, text),))
            if missing > TICK:
                self._run.warn(f"only {seconds - missing:.0f} s of a soak of {seconds:g} s could be watched")
            if last.ends <= first.ends:  # as far as the watch has shown; an outage may have hidden an end
                last = self._still_up(last, deadline, first.missed)
                if last.faults or last.ends <= first.ends:
                    return last
            if number < SOAKS and deadline.left < seconds + TICK:
                self._run.warn("containers have been restarted in the soak, and no time is left to watch them longer")
                return self._still_up(last, deadline, first.missed)
        times = last.ends - first.ends
        text = f"containers were restarted in each of {SOAKS} soaks of {seconds:g} s, {times} times in the last"
        return replace(last, faults=(Fault("", "", "Unsteady", text),))

    def _during(self, seconds: float, deadline: Deadline) -> tuple[list[State], float]:
        """The first and the last state of a soak, to the first fault, and how many of its seconds nobody has watched.

        Those in which nothing could be seen are watched again, as long as there is time.
        """
        states, missing, again = list[State](), seconds, seconds
        while again > 0.0:
            began = time.monotonic() - self._sight.blind
            for state in self.states(deadline.part(again, "the soak")):
                states = [*states[:1], state]
                if state.faults:
                    return states, 0.0
            self._sight.look(not self._watch.trouble)  # the last seconds, too
            missing = round(missing - (time.monotonic() - self._sight.blind - began), 3)
            again = min(missing, deadline.left - LAST_LOOK)
        return states, missing

    def _still_up(self, last: State, deadline: Deadline, missed: float) -> State:
        """How it stands at the soak's end, asked of the cluster anew: a silent API server says nothing of the service.

        What is not complete at that moment is waited for: an autoscaler, an eviction or a drained node may come at
        any time. An API server that is away is waited for as well. `missed` is what was when the soak began.
        """
        while True:
            try:
                state = patiently(
                    lambda: look(self._api, self._namespace, self._workloads, deadline), deadline, allowed=True
                )
            except CdError as problem:
                text = f"the soak's end could not be seen: {problem.message}"
                return replace(last, faults=(Fault("", "", INCONCLUSIVE, text),))
            if state.faults or state.complete:
                return state
            last = self._complete_again(state, deadline, missed)
            if last.faults or deadline.over:
                return last

    def _complete_again(self, state: State, deadline: Deadline, missed: float) -> State:
        """How it stands once it seems to be complete again, or has failed; a fault where `deadline` passes first."""
        time.sleep(min(TICK, deadline.left))  # the watch may be behind
        for seen in self.states(deadline):
            state = seen
            if seen.faults or seen.complete:
                return seen
        text = f"was complete and is not any more: {'; '.join((state.summary, *state.waiting[:1]))}"
        reason = OUTAGE if state.missed - missed > BLINK else "Unsteady"  # an outage before the soak excuses nothing
        return replace(state, faults=(Fault("", "", reason, text),))

    def _tell(self, text: str) -> None:
        if text and text != self._said:
            self._said = text
            self._run.note(text)


@contextmanager
def following(run: Run, api: Api, namespace: str, workloads: Workloads, lease: Lease, *,
              since: str = "", stuck: StuckPods | None = None,
              older: Older = lambda _: False) -> Iterator[Follower]:  # fmt: skip
    """Follow a rollout that has been applied already: what is listed now is not older than that.

    `since`, in RFC 3339, leaves out Jobs and Pods that are older, where Helm has not got to all of them yet; `older`
    is asked of a pod that has a past already whether it is.
    """
    events = {"Event": SELECTOR} if workloads else {}
    with Watch(api, namespace, [*_kinds(workloads), *([_EVENTS] if events else [])], events) as watch:
        yield Follower(run, api, namespace, workloads, lease, watch, since=since, stuck=stuck, older=older)


def _kinds(workloads: Workloads) -> list[Kind]:
    """What has to be read to judge these workloads; nothing where there are none."""
    kinds = list(dict.fromkeys(kind for kind, _ in workloads))
    more = [*(["ReplicaSet"] if "Deployment" in kinds else []), "Pod"] if kinds else []
    return [KINDS[kind] for kind in dict.fromkeys([*kinds, *more])]


def _out_of_time(state: State, deadline: Deadline) -> Fault:
    unready = [p for p in state.pods if not pod_ready(p)]
    name = str(unready[0]["metadata"]["name"]) if unready else ""
    why = f"; {state.waiting[0]}" if state.waiting else ""
    text = f"not ready within {deadline.seconds:.0f} s ({state.summary}{why})"
    if state.missed > BLINK:
        text += f"; for {state.missed:.0f} s of them the cluster's API, its controllers or nodes were away"
    if state.missed > BLINK:  # nothing is known against what was applied
        return Fault(name, "", OUTAGE, text)
    return Fault(name, "", "OutOfTime", text) if name else Fault("", "", "OutOfTime", f"no pod came up: {text}")
