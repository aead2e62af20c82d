"""How far a workload is, and which pods are of the very revision that was applied: from API objects alone."""

from __future__ import annotations

from cdlib.rollout.api import Object
from cdlib.rollout.causes import STEADY

REVISION = "deployment.kubernetes.io/revision"
# Set by the API server; the object's own generation also counts changes that leave the template alone.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def workload_done(kind: str, o: Object) -> tuple[bool, str]:
    """Whether the controller has brought all of the applied generation up, and how far it is."""
    if kind == "Job":
        return _job_done(o)
    if kind == "Pod":
        return (o.get("status") or {}).get("phase") == "Succeeded", "has ended" if pod_ended(o) else "still runs"
    if not observed(o):
        return False, "not yet seen by its controller"
    status = o.get("status") or {}
    if kind == "DaemonSet":
        every = want = status.get("desiredNumberScheduled", 0)
        updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    else:
        every, want = status.get("replicas", 0), (o.get("spec") or {}).get("replicas", 1)
        updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
        if kind == "StatefulSet":
            available = min(status.get("readyReplicas", 0), available)
    to_update = _to_update(kind, o, want)
    text = f"{updated} of {to_update} updated, {available} available"
    return to_update <= updated <= want == available == every, text


def counted_available(kind: str, o: Object) -> int:
    """How many pods of the applied revision the controller has seen to be available."""
    status = o.get("status") or {}
    if kind == "DaemonSet":
        return int(min(status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)))
    return int(min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)))


def unproven(kind: str, o: Object) -> float:
    """Seconds for which a complete workload has to stay so, because nothing but time says that it works.

    A container without a readiness probe counts as ready from its start to its end, so that one that crashes is
    complete for a moment. What minReadySeconds has waited for already is left out.
    """
    spec = o.get("spec") or {}
    pod = (spec.get("template") or {}).get("spec") or {}
    sidecars = [c for c in pod.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    if kind == "Job" or all(c.get("readinessProbe") for c in [*(pod.get("containers") or []), *sidecars]):
        return 0.0
    return max(0.0, STEADY - float(spec.get("minReadySeconds") or 0))


def observed(o: Object) -> bool:
    """Whether the controller has seen the applied generation; until then all status tells of the one before."""
    return bool((o.get("status") or {}).get("observedGeneration", 0) >= o["metadata"].get("generation", 0))


def own_pods(kind: str, o: Object, replicasets: list[Object], pods: list[Object]) -> list[Object]:
    """The pods of the very revision that was applied, by owner and never by label alone.

    Pods that are being deleted do not count: their end says nothing of the new version. Before the controller
    has seen the applied generation there are none, and the newest pods are those of the rollout before.
    """
    if kind == "Pod":
        return [o] if "deletionTimestamp" not in o["metadata"] else []
    owner = own_replicaset(o, replicasets) if kind == "Deployment" else o
    if owner is None or (kind != "Job" and not observed(o)):
        return []
    uid = owner["metadata"].get("uid")
    mine = [p for p in pods if _owned(p, uid) and "deletionTimestamp" not in p["metadata"]]
    if kind == "StatefulSet":
        wanted = (o.get("status") or {}).get("updateRevision")
        return [p for p in mine if _label(p, "controller-revision-hash") == wanted]
    if kind == "DaemonSet":
        generation = annotation(o, TEMPLATE_GENERATION) or str(o["metadata"].get("generation"))
        return [p for p in mine if _label(p, "pod-template-generation") == generation]
    return mine


def own_replicaset(o: Object, replicasets: list[Object]) -> Object | None:
    """The ReplicaSet of the applied revision of a Deployment; None where there is none yet."""
    revision, uid = annotation(o, REVISION), o["metadata"].get("uid")
    return next((r for r in replicasets if annotation(r, REVISION) == revision and _owned(r, uid)), None)


def pod_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    return condition(pod, "Ready").get("status") == "True"


def has_past(pod: Object) -> bool:
    """Whether one of its containers that are not ready has ended, now or before."""
    unready = [status for status in container_statuses(pod) if not status.get("ready")]
    return any(s.get("restartCount") or s.get("lastState") or "terminated" in (s.get("state") or {}) for s in unready)


def pod_ended(pod: Object) -> bool:
    """Whether all of a pod's containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def job_ended(o: Object) -> bool:
    """Whether a Job has ended, well or not."""
    return any(condition(o, kind).get("status") == "True" for kind in ("Complete", "Failed"))


def containers_of(spec: Object) -> list[Object]:
    """The containers of a pod's spec, those that come first among them."""
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def container_statuses(pod: Object) -> list[Object]:
    """What the kubelet says of a pod's containers, those that come first among them."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def condition(o: Object, kind: str) -> Object:
    """The condition `kind` of an object; empty where it has none."""
    found: Object
    for found in (o.get("status") or {}).get("conditions") or []:
        if found.get("type") == kind:
            return found
    return {}


def annotation(o: Object, name: str) -> str:
    """One annotation; empty where there is none."""
    return str((o["metadata"].get("annotations") or {}).get(name, ""))


def owner_kind(o: Object) -> str:
    """The kind of the controller that owns an object; empty where nothing does."""
    references = o["metadata"].get("ownerReferences") or []
    return str(references[0].get("kind", "")) if references else ""


def _job_done(o: Object) -> tuple[bool, str]:
    if (o.get("spec") or {}).get("suspend"):
        return True, "suspended"
    done = condition(o, "Complete").get("status") == "True"
    return done, "has ended well" if done else "still runs"


def _to_update(kind: str, o: Object, want: int) -> int:
    """How many pods the controller itself is going to replace: OnDelete and partition leave that to people."""
    spec = o.get("spec") or {}
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return 0
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0 if kind == "StatefulSet" else 0
    return max(0, want - int(partition))


def owners_of(o: Object) -> list[str]:
    """The uids of what owns an object."""
    return [str(r.get("uid")) for r in o["metadata"].get("ownerReferences") or ()]


def _owned(o: Object, uid: str | None) -> bool:
    return any(r.get("uid") == uid for r in o["metadata"].get("ownerReferences") or ())


def _label(o: Object, name: str) -> str:
    return str((o["metadata"].get("labels") or {}).get(name, ""))
