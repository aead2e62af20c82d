"""The workloads of a release as the cluster has them, and waiting until they are up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.lease import Lease
from cdlib.rollout.verdict import (
    INCONCLUSIVE,
    Fault,
    State,
    deadline_exceeded,
    own_pods,
    pod_faults,
    pod_ready,
    workload_done,
)
from cdlib.rollout.watch import Kind, Watch
from cdlib.run import Run

TICK = 1.0  # seconds between two judgements where nothing changes: time itself may decide
_APPS = "apps/v1"
_KINDS: dict[str, Kind] = {
    kind: (kind, plural, group)
    for kind, plural, group in (
        ("Deployment", "deployments", _APPS),
        ("StatefulSet", "statefulsets", _APPS),
        ("DaemonSet", "daemonsets", _APPS),
        ("ReplicaSet", "replicasets", _APPS),
        ("Pod", "pods", ""),
    )
}

Workloads = Sequence[tuple[str, str]]  # (kind, name)


def look(api: Api, namespace: str, workloads: Workloads, deadline: Deadline) -> State:
    """How the release stands right now, by one list a kind."""
    found = {}
    for kind, plural, group in _kinds(workloads):
        found[kind] = list((api.get(path(plural, namespace, group=group), deadline) or {}).get("items") or [])
    return judge_objects(found, workloads)


def judge_objects(found: Mapping[str, list[Object]], workloads: Workloads) -> State:
    """How the release stands, by all objects of its namespace, by kind."""
    mine = list(_named(found, workloads))
    done = [workload_done(kind, o) for kind, o in mine]
    summary = "; ".join(f"{o['metadata']['name']} {text}" for (_, o), (_, text) in zip(mine, done, strict=True))
    sets, every = found.get("ReplicaSet", []), found.get("Pod", [])
    pods = [pod for kind, o in mine for pod in own_pods(kind, o, sets, every)]
    faults = [fault for pod in pods for fault in pod_faults(pod)]
    for kind, o in mine:
        late = deadline_exceeded(o) if kind == "Deployment" else ""
        if late and not faults:
            faults.append(_late_fault(o, pods, late))
    complete = len(mine) == len(workloads) and all(ok for ok, _ in done)
    return State(complete, summary or "nothing to wait for", tuple(faults), tuple(pods))


class Follower:
    """A rollout as it happens."""

    def __init__(self, run: Run, api: Api, namespace: str, workloads: Workloads, lease: Lease, watch: Watch) -> None:
        self._run, self._api, self._namespace, self._workloads = run, api, namespace, workloads
        self._lease, self._watch = lease, watch
        self._said = ""

    def states(self, deadline: Deadline) -> Iterator[State]:
        """The state now, after each change, and at every TICK, to the end of `deadline`.

        Raises Held where the lease is lost.
        """
        while not deadline.over:
            self._lease.require()
            if self._watch.listed:
                state = judge_objects(self._watch.objects(), self._workloads)
                self._tell(state.summary)
                yield state
            elif self._watch.trouble:
                self._tell(self._watch.trouble)
            self._watch.wait(min(TICK, deadline.left))

    def until_up(self, deadline: Deadline) -> State:
        """Follow it until it is complete or has failed; a State with a fault where `deadline` passes first."""
        state = None
        for state in self.states(deadline):
            if state.complete or state.faults:
                return state
        blind = self._watch.trouble
        if state is None or blind:
            text = f"nothing could be seen of it at the end of {deadline.seconds:.0f} s: {blind or 'no list'}"
            return State(False, self._said, (Fault("", "", INCONCLUSIVE, text),))
        return State(False, state.summary, (_out_of_time(state, deadline),), state.pods)

    def soak(self, seconds: float, deadline: Deadline) -> tuple[Fault, ...]:
        """Watch a rollout that is complete for a while longer: failing liveness and sidecars come after it.

        At its end the cluster is asked once more, because a silent API server says nothing of the service.
        """
        for state in self.states(deadline.part(seconds, "the soak")):
            if state.faults:
                return state.faults
        try:
            state = look(self._api, self._namespace, self._workloads, deadline)
        except CdError as problem:
            return (Fault("", "", INCONCLUSIVE, f"the soak's end could not be seen: {problem.message}"),)
        if state.faults or state.complete:
            return state.faults
        return (Fault("", "", "Unsteady", f"was complete and is not any more: {state.summary}"),)

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._run.note(text)


@contextmanager
def following(run: Run, api: Api, namespace: str, workloads: Workloads, lease: Lease) -> Iterator[Follower]:
    """Follow a rollout that has been applied already: what is listed now is not older than that."""
    with Watch(api, namespace, _kinds(workloads)) as watch:
        yield Follower(run, api, namespace, workloads, lease, watch)


def _kinds(workloads: Workloads) -> list[Kind]:
    """What has to be read to judge these workloads; nothing where there are none."""
    kinds = list(dict.fromkeys(kind for kind, _ in workloads))
    more = [*(["ReplicaSet"] if "Deployment" in kinds else []), "Pod"] if kinds else []
    return [_KINDS[kind] for kind in [*kinds, *more]]


def _named(found: Mapping[str, list[Object]], workloads: Workloads) -> Iterator[tuple[str, Object]]:
    wanted = set(workloads)
    for kind in dict.fromkeys(kind for kind, _ in workloads):
        yield from ((kind, o) for o in found.get(kind, []) if (kind, o["metadata"]["name"]) in wanted)


def _out_of_time(state: State, deadline: Deadline) -> Fault:
    waiting = [p for p in state.pods if not pod_ready(p)]
    name = str(waiting[0]["metadata"]["name"]) if waiting else ""
    text = f"not ready within {deadline.seconds:.0f} s ({state.summary})"
    return Fault(name, "", "OutOfTime", text) if name else Fault("", "", "OutOfTime", f"no pod came up: {text}")


def _late_fault(o: Object, pods: Sequence[Object], message: str) -> Fault:
    waiting = [p for p in pods if not pod_ready(p)]
    name = str(waiting[0]["metadata"]["name"]) if waiting else str(o["metadata"]["name"])
    return Fault(name, "", "ProgressDeadlineExceeded", message)
