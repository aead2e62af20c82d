"""How a rollout stands, judged from API objects alone: no clock, no server, no side effect.

The rules come from recorded rollouts of a real kubelet: which states are final, which only when repeated, and
which look the same in a rollout that ends well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cdlib.rollout.api import Object

# States that no time mends: the kubelet itself will not try anything else.
FINAL = ("InvalidImageName", "ErrImageNeverPull")
FINAL_CONFIG = "runAsNonRoot"  # CreateContainerConfigError alone may be a ConfigMap that comes in a moment
FINAL_START = ("no such file", "permission denied", "exec format error")
ENDS = 3  # ends of one container before it ever was ready; one or two are seen in rollouts that end well
OOM_KILLS = 2
INCONCLUSIVE = "Inconclusive"  # the reason of a fault that is only the want of data


@dataclass(frozen=True)
class Fault:
    """Why a rollout has failed: which pod and container, the reason, and what the state says of it."""

    pod: str
    container: str
    reason: str
    message: str

    def __str__(self) -> str:
        where = f"pod {self.pod}" + (f", container {self.container}" if self.container else "")
        return f"{where}: {self.message}"


@dataclass(frozen=True)
class State:
    """One look at a rollout: complete, failed (with its faults), or still under way."""

    complete: bool
    summary: str
    faults: tuple[Fault, ...] = ()
    pods: tuple[Object, ...] = field(default=(), repr=False)


def workload_done(kind: str, o: Object) -> tuple[bool, str]:
    """Whether the controller has brought all of the applied generation up, and how far it is."""
    status, spec = o.get("status") or {}, o.get("spec") or {}
    if not observed(o):
        return False, "not yet seen by its controller"
    if kind == "DaemonSet":
        want = status.get("desiredNumberScheduled", 0)
        counts = (status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0), want)
    else:
        want = spec.get("replicas", 1)
        available = status.get("availableReplicas", 0)
        if kind == "StatefulSet":
            available = min(status.get("readyReplicas", 0), available)
        counts = (status.get("updatedReplicas", 0), available, status.get("replicas", 0))
    done = all(count == want for count in counts)
    return done, f"{counts[0]} of {want} updated, {counts[1]} available"


def observed(o: Object) -> bool:
    """Whether the controller has seen the applied generation; until then all status tells of the one before."""
    return bool((o.get("status") or {}).get("observedGeneration", 0) >= o["metadata"].get("generation", 0))


def deadline_exceeded(o: Object) -> str:
    """The message of a Deployment whose progressDeadlineSeconds has passed, else nothing."""
    for condition in (o.get("status") or {}).get("conditions") or [] if observed(o) else []:
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return str(condition.get("message", "its progress deadline has passed"))
    return ""


def own_pods(kind: str, o: Object, replicasets: list[Object], pods: list[Object]) -> list[Object]:
    """The pods of the very revision that was applied, by owner and never by label alone.

    Pods that are being deleted do not count: their end says nothing of the new version. Before the controller
    has seen the applied generation there are none, and the newest pods are those of the rollout before.
    """
    if not observed(o):
        return []
    alive = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    if kind == "Deployment":
        revision = _annotation(o, "deployment.kubernetes.io/revision")
        sets = [
            r for r in replicasets if _owned(r, o) and _annotation(r, "deployment.kubernetes.io/revision") == revision
        ]
        return [p for p in alive if any(_owned(p, r) for r in sets)]
    mine = [p for p in alive if _owned(p, o)]
    if kind == "StatefulSet":
        wanted = (o.get("status") or {}).get("updateRevision")
        return [p for p in mine if (p["metadata"].get("labels") or {}).get("controller-revision-hash") == wanted]
    generation = str(o["metadata"].get("generation"))
    return [p for p in mine if (p["metadata"].get("labels") or {}).get("pod-template-generation") == generation]


def pod_faults(pod: Object) -> list[Fault]:
    """What in this pod can be called a failure already."""
    status, name = pod.get("status") or {}, str(pod["metadata"]["name"])
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    found = [(container, _container_fault(container)) for container in every]
    return [Fault(name, str(c.get("name")), why[0], why[1]) for c, why in found if why]


def pod_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _container_fault(container: Object) -> tuple[str, str] | None:
    """(reason, message) of a container that has failed for good."""
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    end = ended or last
    if reason in FINAL or (reason == "CreateContainerConfigError" and FINAL_CONFIG in message):
        return reason, f"{reason}: {message}"
    if end.get("reason") == "StartError" and any(text in str(end.get("message", "")) for text in FINAL_START):
        return "StartError", f"cannot be started: {end.get('message', '')}"
    ends = container.get("restartCount", 0) + (1 if ended and not _finished_init(container, ended) else 0)
    if end.get("reason") == "OOMKilled" and last.get("reason", "OOMKilled") == "OOMKilled" and ends >= OOM_KILLS:
        return "OOMKilled", f"killed {ends} times for using more memory than its limit"
    if ends >= ENDS and not container.get("ready") and not ("running" in state and container.get("started")):
        return "CrashLoop", f"ended {ends} times, the last time with exit code {end.get('exitCode', 'unknown')}"
    return None


def _finished_init(container: Object, ended: Object) -> bool:
    return bool(container.get("ready")) and ended.get("exitCode") == 0


def _owned(o: Object, owner: Object) -> bool:
    references = o["metadata"].get("ownerReferences") or []
    return any(r.get("uid") == owner["metadata"].get("uid") for r in references)


def _annotation(o: Object, name: str) -> str:
    return str((o["metadata"].get("annotations") or {}).get(name, ""))
