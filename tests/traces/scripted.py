"""Rollouts that were not recorded, written in the recordings' own form from the seconds that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.traces.replay import Line, Tape, tape

Step = tuple[float, dict[str, Any] | None]
IMAGE = "registry.test/lab/web:2"
NEW, OLD = "web-2", "web-1"


def container(state: str = "running", *, rc: int = 0, ready: bool = False, name: str = "web", message: str = "",
              last: tuple[str, int] | None = None, ended: tuple[str, int] | None = None,
              image: str = IMAGE) -> dict[str, Any]:  # fmt: skip
    """A container's status: it runs, waits for `state`, or has `ended` with a reason and an exit code."""
    if ended:
        now: dict[str, Any] = {"terminated": {"reason": ended[0], "exitCode": ended[1], "message": message}}
    elif state == "running":
        now = {"running": {}}
    else:
        now = {"waiting": {"reason": state, "message": message}}
    made = {"name": name, "ready": ready, "rc": rc, "started": state == "running" and not ended, "state": now,
            "image": image}  # fmt: skip
    return made | ({"last": {"terminated": {"reason": last[0], "exitCode": last[1]}}} if last else {})


def pod(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A pod's state: ready where all its containers are. `more` may name another phase, owner, conditions, …"""
    ready = bool(containers) and all(c["ready"] for c in containers)
    cond = {"PodScheduled": "True", "Ready": "True" if ready else "False/ContainersNotReady: …"}
    phase = "Running" if any("waiting" not in c["state"] for c in containers) else "Pending"
    made = {"phase": phase, "owner": f"ReplicaSet/{NEW}", "node": True, "hash": "2", "cond": cond, "c": containers}
    return made | more


CREATING = pod(container("ContainerCreating"))
READY = pod(container(ready=True))
RUNS = pod(container())
PLACED = pod(cond={"PodScheduled": "True"}, phase="Pending")  # on a node whose kubelet has not looked at it
# An old pod as the controller of nodes leaves it, once it has not heard of its node for a while.
UNHEARD = pod(container(ready=True), owner=f"ReplicaSet/{OLD}", hash="1",
              cond={"PodScheduled": "True", "ContainersReady": "True", "Ready": "False"})  # fmt: skip


def waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """A pod whose container waits."""
    return pod(container(reason, message=message, **more))


def unscheduled(message: str) -> dict[str, Any]:
    """A pod that is placed on no node."""
    return pod(cond={"PodScheduled": f"False/Unschedulable: {message}"}, node=False, phase="Pending")


def ends(*seconds: float, why: tuple[str, int] = ("Error", 1), runs: float = 0.4) -> list[Step]:
    """A pod whose container ends at each of these seconds, having run so long."""
    steps: list[Step] = []
    for rc, t in enumerate(seconds):
        last = why if rc else None
        steps += [(t - runs, pod(container(rc=rc, last=last))), (t, pod(container(rc=rc, last=last, ended=why)))]
        steps += [(t + 1.0, pod(container("CrashLoopBackOff", rc=rc, last=why)))] if rc else []
    return steps


def event(t: float, reason: str, message: str, *, on: str = "Pod/web-2-a#spec.containers{web}", count: int = 1,
          name: str = "") -> Line:  # fmt: skip
    """An Event; a later one of the same reason and message counts the first on."""
    s = {"type": "Warning", "reason": reason, "on": on, "count": count, "msg": message, "src": "kubelet"}
    return {"t": t, "k": "Event", "n": "e", "u": f"event {name}{reason} {message} {on}", "e": "ADDED", "s": s}


def pod_steps(steps: Sequence[Step], name: str = "web-2-a") -> list[Line]:
    """The lines of one pod; a state of None deletes it."""
    return [{"t": t, "k": "Pod", "n": name, "u": name, "e": "DELETED" if s is None else "MODIFIED",
             "s": s or CREATING} for t, s in steps]  # fmt: skip


def deployment(t: float, *, gen: int = 2, obs: int = 2, rev: str = "2", want: int = 2, replicas: int = 3,
               updated: int = 1, available: int = 2, cond: dict[str, str] | None = None,
               **more: Any) -> Line:  # fmt: skip
    """The Deployment at one second. `more` may say that it is `paused`, and its `image`."""
    s = more | {"gen": gen, "obs": obs, "rev": rev, "want": want, "replicas": replicas, "updated": updated,
         "ready": available, "avail": available, "cond": cond or {}}  # fmt: skip
    return {"t": t, "k": "Deployment", "n": "web", "u": "web", "e": "MODIFIED", "s": s}


def replicaset(t: float, *, replicas: int = 1, ready: int = 0, refused: str = "", rev: str = "2",
               name: str = NEW) -> Line:  # fmt: skip
    """A ReplicaSet at one second; `refused` is why it can make no pods."""
    cond = {"ReplicaFailure": f"True/FailedCreate: {refused}"} if refused else {}
    s = {"owner": "Deployment/web", "rev": rev, "want": 2, "replicas": replicas, "ready": ready, "avail": ready,
         "cond": cond}  # fmt: skip
    return {"t": t, "k": "ReplicaSet", "n": name, "u": name, "e": "MODIFIED", "s": s}


def statefulset(t: float, *, want: int = 2, replicas: int = 2, ready: int = 2, updated: int = 2, gen: int = 1,
                new: str = "2", **more: Any) -> Line:  # fmt: skip
    """The StatefulSet at one second. `more` may name its update `strategy` and its `image`."""
    s = more | {"gen": gen, "obs": gen, "want": want, "replicas": replicas, "readyReplicas": ready,
                "availableReplicas": ready, "updatedReplicas": updated, "cur": "1", "upd": new}  # fmt: skip
    return {"t": t, "k": "StatefulSet", "n": "db", "u": "db", "e": "MODIFIED", "s": s}


def daemonset(t: float, nodes: int, **more: Any) -> Line:
    """The DaemonSet at one second, up on all of so many nodes."""
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    s = more | {"gen": 1, "obs": 1} | dict.fromkeys(counts, nodes)
    return {"t": t, "k": "DaemonSet", "n": "log", "u": "log", "e": "MODIFIED", "s": s}


def job(t: float, *, cond: dict[str, str] | None = None, **more: Any) -> Line:
    """The Job at one second."""
    s = more | {"spec": more.get("spec", {}), "cond": cond or {}, "active": 0, "ready": 0, "failed": 0, "succeeded": 0}
    return {"t": t, "k": "Job", "n": "migrate", "u": "migrate", "e": "MODIFIED", "s": s}


def alone(*lines: Line | list[Line], end: float = 60.0) -> Tape:
    """Just these lines, in their order of time."""
    every = [each for line in lines for each in (line if isinstance(line, list) else [line])]
    every.sort(key=lambda line: line["t"])
    return tape([*every, {"t": end, "k": "Mark", "n": "end", "s": {}}])


def rollout(*lines: Line | list[Line], done: float | None = None, end: float = 60.0,
            specs: dict[str, Any] | None = None, begins: bool = True) -> Tape:  # fmt: skip
    """A Deployment's rollout of two replicas: how each begins, these lines, and where it ends well its end."""
    old = pod(container(ready=True), owner=f"ReplicaSet/{OLD}", hash="1")
    every: list[Line] = [
        deployment(-1.0, gen=1, obs=1, rev="1", replicas=2, updated=2),
        replicaset(-1.0, name=OLD, rev="1", replicas=2, ready=2),
        *pod_steps([(-1.0, old)], "web-1-a"),
        *pod_steps([(-1.0, old)], "web-1-b"),
    ]
    if begins:
        every += [deployment(0.02, gen=2, obs=1, rev="1", replicas=2, updated=2), replicaset(0.03), deployment(0.1)]
        every += pod_steps([(0.05, CREATING)])
    for line in lines:
        every += line if isinstance(line, list) else [line]
    if done is not None:
        every += [*pod_steps([(done, None)], "web-1-a"), *pod_steps([(done, None)], "web-1-b")]
        every += [replicaset(done, name=OLD, rev="1", replicas=0), replicaset(done, replicas=2, ready=2)]
        every += [deployment(done, replicas=2, updated=2)]
    every.sort(key=lambda line: line["t"])
    return tape([*every, {"t": end, "k": "Mark", "n": "end", "s": {}}], specs)


def late(t: float, available: int = 2) -> Line:
    """The Deployment once its progress deadline has passed."""
    text = f'ReplicaSet "{NEW}" has timed out progressing.'
    return deployment(t, available=available, cond={"Progressing": f"False/ProgressDeadlineExceeded: {text}"})


def second_pod(ready: float) -> list[Line]:
    """The second replica, which comes up as it should."""
    return pod_steps([(ready - 1.0, CREATING), (ready, READY)], "web-2-b")


def leaving(*steps: tuple[float, float], grace: int = 60, name: str = "web-1-a") -> list[Line]:
    """An old pod that is being deleted from the first to the second of these seconds."""
    old = pod(container(ready=True), owner=f"ReplicaSet/{OLD}", hash="1", deleting=True, grace=grace)
    return pod_steps([each for begin, end in steps for each in ((begin, old), (end, None))], name)


def pulled(t: float, tries: int, why: str) -> list[Line]:
    """The Events of a pull that has failed so often."""
    return [event(t, "Failed", f'Failed to pull image "{IMAGE}": {why}', count=tries)]
