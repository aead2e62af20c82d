"""One pod: what keeps it from running, from its own state and what has happened to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from cdlib.rollout.api import Object
from cdlib.rollout.causes import (
    CLAIM,
    MISSING,
    NEVER,
    UNSCHEDULABLE,
    UNSCHEDULABLE_DRAINED,
    UNSCHEDULABLE_SCALING,
    Cause,
    Place,
    Question,
)
from cdlib.rollout.containers import Memory, container_causes, waiting_causes
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.progress import condition, container_statuses, containers_of, owner_kind, pod_ready
from cdlib.rollout.pulls import Pulled, pull_cause

_NO_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_UNBOUND = "unbound immediate PersistentVolumeClaims"
# From 1.34 on the scheduler names no taint's key. Where every node has one that keeps the pod off they may all be not
# ready, as after an API server that was away: the controllers hear of the nodes again half a minute after it is back.
_DRAINED = re.compile(
    r"were unschedulable|node\.kubernetes\.io/(?:unschedulable|not-ready|unreachable)"
    r"|^0/(\d+) nodes are available: \1 node\(s\) had untolerated taint\(s\)"
)
_SCALING = ("TriggeredScaleUp", "Nominated")  # as the cluster autoscaler says it, and as Karpenter does
_VOLUME = re.compile(r'for volume "([^"]+)"')
_NOT_FOUND = re.compile(r'\b(configmap|secret) "([^"]+)" not found')
_NO_KEY = re.compile(r"references non-existent (config|secret) key: (\S+)")
UNREADY = "NotReady"
_WAITS = {"ContainerCreating": "is being created", "PodInitializing": "waits for the init containers"}
_CREATING = ("ContainerCreating", "PodInitializing")


@dataclass
class PodMemory:
    """What is remembered of one pod between looks."""

    older: bool = False  # than what was applied
    containers: dict[str, Memory] = field(default_factory=dict)
    judged: tuple[int, int] = (0, -1)  # the very object and the Events that were judged last
    quiet: bool = False  # and nothing kept it from running
    pod: Object | None = None  # keeps that object, so that its identity is not given to another

    def same(self, pod: Object, changes: int) -> bool:
        """Whether nothing has changed since it was seen to be fine."""
        return self.quiet and self.judged == (id(pod), changes)


def pod_causes(pod: Object, memory: PodMemory, told: Happenings, pulled: Pulled, now: float,
               leaving: bool = False) -> list[Cause]:  # fmt: skip
    """What keeps this pod from running; nothing where it runs, or where it was evicted and is being replaced.

    `leaving` is whether pods of the same workload are on their way out, whose place it may wait for.
    """
    changes = told.changes(str(pod["metadata"]["uid"]))
    if memory.same(pod, changes):
        return []
    found = list(_causes(pod, memory, told, pulled, now, leaving)) or list(_unready(pod))
    memory.pod, memory.judged, memory.quiet = pod, (id(pod), changes), not found
    return found


def _causes(pod: Object, memory: PodMemory, told: Happenings, pulled: Pulled, now: float,
            leaving: bool) -> Iterator[Cause]:  # fmt: skip
    status = pod.get("status") or {}
    job = owner_kind(pod) == "Job"
    if status.get("phase") in ("Failed", "Succeeded") and not job:
        return  # evicted, preempted, or its node shut down: its controller makes another
    yield from _unscheduled(pod, told, leaving)
    yield from _unmounted(pod, told)
    allowances = _allowances(pod)
    for container in container_statuses(pod):
        place = Place.of(pod, container)
        mine = memory.containers.setdefault(place.container, Memory(memory.older))
        mine.see(container, now)
        if (cause := pull_cause(place, container, mine.pulls, told, pulled, now)) is not None:
            yield cause
        if job:  # a Job counts its own failures
            yield from waiting_causes(place, container, mine)
        else:
            yield from container_causes(place, container, mine, told, allowances.get(place.container, 0.0), now)


def _unready(pod: Object) -> Iterator[Cause]:
    """What a pod is at that is not ready, and has nothing wrong with it that could be told."""
    status = pod.get("status") or {}
    if pod_ready(pod) or status.get("phase") in ("Failed", "Succeeded"):
        return
    for container in container_statuses(pod):
        state = container.get("state") or {}
        if "running" in state and not container.get("ready"):
            started = container.get("started") is not False
            text = "runs, and is not ready yet" if started else "runs, and its startup probe has not succeeded yet"
        else:
            text = _WAITS.get(str((state.get("waiting") or {}).get("reason", "")), "")
        if text:
            yield Place.of(pod, container).cause("unready", UNREADY, text, NEVER)
            return


def _unscheduled(pod: Object, told: Happenings, leaving: bool) -> Iterator[Cause]:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "False" or scheduled.get("reason") != "Unschedulable":
        return
    place, message = Place.of(pod), str(scheduled.get("message", ""))
    if found := _NO_CLAIM.search(message):
        claim = Question("PersistentVolumeClaim", found.group(1))
        text = f"the PersistentVolumeClaim {found.group(1)} does not exist"
        yield place.cause("claim", "MissingPersistentVolumeClaim", text, CLAIM, claim)
    elif _UNBOUND in message:
        yield place.cause("unschedulable", "UnboundClaim", f"no volume for it: {message}", CLAIM, place.alive)
    else:
        after = UNSCHEDULABLE_DRAINED if _DRAINED.search(message) else UNSCHEDULABLE
        if any(h.reason in _SCALING for h in told.about(place.uid)):
            after = UNSCHEDULABLE_SCALING
        cause = place.cause("unschedulable", "Unschedulable", f"fits on no node: {message}", after, place.alive)
        yield replace(cause, stands=int(leaving))


def _unmounted(pod: Object, told: Happenings) -> Iterator[Cause]:
    """Volumes show in no state, only in Events: a container is being created, and nothing says why it stays so."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    if not any(((s.get("state") or {}).get("waiting") or {}).get("reason") in _CREATING for s in statuses):
        return
    place = Place.of(pod)
    for h in told.about(place.uid):
        if h.reason != "FailedMount":
            continue
        if found := _NOT_FOUND.search(h.message):
            wanted = Question(_kind(found.group(1)), found.group(2))
            text = f"the {wanted.kind} {wanted.name} does not exist, and a volume needs it"
            yield place.cause(f"{wanted.kind} {wanted.name}", f"Missing{wanted.kind}", text, MISSING, wanted)
        elif found := _NO_KEY.search(h.message):
            yield _missing_item(pod, h.message, _kind(found.group(1)), found.group(2).rstrip(","))


def _missing_item(pod: Object, message: str, kind: str, key: str) -> Cause:
    place, volume = Place.of(pod), _VOLUME.search(message)
    source = _source(pod, volume.group(1) if volume else "", kind)
    question = Question(kind, source, key) if source else place.alive
    text = f"the {kind} {source or 'of a volume'} has no key {key}"
    return place.cause(f"{kind} {source} {key}", "MissingKey", text, MISSING, question)


def _source(pod: Object, volume: str, kind: str) -> str:
    """The name of the ConfigMap or Secret that a volume is made of."""
    for each in (pod.get("spec") or {}).get("volumes") or []:
        if each.get("name") == volume:
            found: dict[str, Any] = each.get("configMap" if kind == "ConfigMap" else "secret") or {}
            return str(found.get("name") or found.get("secretName") or "")
    return ""


def _allowances(pod: Object) -> dict[str, float]:
    """For how many seconds each container may take to start, as its own startup probe says."""
    spec = pod.get("spec") or {}
    probes = {str(c.get("name")): c["startupProbe"] for c in containers_of(spec) if c.get("startupProbe")}
    return {
        name: float(p.get("initialDelaySeconds", 0) + p.get("failureThreshold", 3) * p.get("periodSeconds", 10))
        for name, p in probes.items()
    }


def _kind(word: str) -> str:
    return "Secret" if word == "secret" else "ConfigMap"
