"""The workloads of a release as the cluster has them, and waiting until they are up."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, Unavailable
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
from cdlib.run import Run

LOOK_EVERY = 0.1  # seconds
_APPS = "apps/v1"
_PLURAL = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}

Workloads = Sequence[tuple[str, str]]  # (kind, name)


def look(api: Api, namespace: str, workloads: Workloads, deadline: Deadline) -> State:
    """How the release stands right now: one list a kind, and one each of pods and ReplicaSets."""
    found: list[tuple[str, Object]] = []
    for kind in dict.fromkeys(kind for kind, _ in workloads):
        names = {name for k, name in workloads if k == kind}
        listed = _list(api, path(_PLURAL[kind], namespace, group=_APPS), deadline)
        found += [(kind, o) for o in listed if o["metadata"]["name"] in names]
    done = [workload_done(kind, o) for kind, o in found]
    summary = "; ".join(f"{o['metadata']['name']} {text}" for (_, o), (_, text) in zip(found, done, strict=True))
    pods = _pods(api, namespace, found, deadline)
    faults = [fault for pod in pods for fault in pod_faults(pod)]
    for kind, o in found:
        late = deadline_exceeded(o) if kind == "Deployment" else ""
        if late and not faults:
            faults.append(_late_fault(o, pods, late))
    complete = len(found) == len(workloads) and all(ok for ok, _ in done)
    return State(complete, summary or "nothing to wait for", tuple(faults), tuple(pods))


def wait(run: Run, api: Api, namespace: str, workloads: Workloads, deadline: Deadline, lease: Lease) -> State:
    """Look until the release is complete, has failed, or `deadline` passes (a State with a fault then, too)."""
    said = ""
    while True:
        lease.require()
        try:
            state = look(api, namespace, workloads, deadline)
        except (OutOfTime, Unavailable) as problem:
            if deadline.over:
                text = f"nothing could be seen of it at the end of {deadline.seconds:.0f} s: {problem.message}"
                return State(False, said, (Fault("", "", INCONCLUSIVE, text),))
            run.note(problem.message)
            continue
        if state.complete or state.faults:
            return state
        if state.summary != said:
            said = state.summary
            run.note(said)
        if deadline.left <= LOOK_EVERY:
            late = _out_of_time(state, deadline)
            return State(False, state.summary, (late,), state.pods)
        time.sleep(LOOK_EVERY)


def _out_of_time(state: State, deadline: Deadline) -> Fault:
    waiting = [p for p in state.pods if not pod_ready(p)]
    name = str(waiting[0]["metadata"]["name"]) if waiting else ""
    text = f"not ready within {deadline.seconds:.0f} s ({state.summary})"
    return Fault(name, "", "OutOfTime", text) if name else Fault("", "", "OutOfTime", f"no pod came up: {text}")


def _late_fault(o: Object, pods: Sequence[Object], message: str) -> Fault:
    waiting = [p for p in pods if not pod_ready(p)]
    name = str(waiting[0]["metadata"]["name"]) if waiting else str(o["metadata"]["name"])
    return Fault(name, "", "ProgressDeadlineExceeded", message)


def _pods(api: Api, namespace: str, found: Sequence[tuple[str, Object]], deadline: Deadline) -> list[Object]:
    if not found:
        return []
    pods = _list(api, path("pods", namespace), deadline)
    deployments = any(kind == "Deployment" for kind, _ in found)
    sets = _list(api, path("replicasets", namespace, group=_APPS), deadline) if deployments else []
    return [pod for kind, o in found for pod in own_pods(kind, o, sets, pods)]


def _list(api: Api, where: str, deadline: Deadline) -> list[Object]:
    return list((api.get(where, deadline) or {}).get("items") or [])
