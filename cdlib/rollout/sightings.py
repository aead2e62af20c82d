"""The pods of a rollout as they come up, told as events: what a report draws."""

from __future__ import annotations

from collections.abc import Iterable

from cdlib.rollout.api import Object
from cdlib.rollout.progress import container_statuses, pod_ready
from cdlib.run import Run

MOST = 100  # pods of one rollout that are told of: a report has no room for more
_CHANGES = 40  # events of one pod: one that crashes all day must not fill the disk
_Seen = tuple[str, int]


class Sightings:
    """Tells when a pod comes into another state, or a container of it has ended, and when it is gone."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._objects: dict[str, Object] = {}
        self._seen: dict[str, _Seen] = {}
        self._told: dict[str, int] = {}

    def tell(self, pods: Iterable[Object]) -> None:
        """Take in how the pods are now."""
        there = set()
        for pod in pods:
            name = str(pod["metadata"]["name"])
            there.add(name)
            if self._objects.get(name) is pod:  # nearly always: a watch hands out what it has
                continue
            if name not in self._told and len(self._told) >= MOST:
                continue
            self._objects[name] = pod
            self._tell(name, (pod_state(pod), _restarts(pod)))
        for name in self._seen.keys() - there:
            self._tell(name, ("gone", self._seen[name][1]))
            del self._seen[name], self._objects[name]

    def _tell(self, name: str, seen: _Seen) -> None:
        if self._seen.get(name) == seen:
            return
        self._seen[name] = seen
        self._told[name] = self._told.get(name, 0) + 1
        if self._told[name] <= _CHANGES:
            self._run.events.emit("pod", pod=name, state=seen[0], restarts=seen[1])


def pod_state(pod: Object) -> str:
    """A pod's state in a word, as `kubectl get pods` has it, save that one that is ready is Ready."""
    status = pod.get("status") or {}
    if pod_ready(pod):
        return "Ready"
    if status.get("phase") in ("Succeeded", "Failed"):
        return str(status.get("reason") or status["phase"])
    word = str(status.get("phase") or "Pending")
    for container in container_statuses(pod):
        state = container.get("state") or {}
        ended = state.get("terminated") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            word = str(reason)
        elif ended and ended.get("exitCode") != 0:
            word = str(ended.get("reason") or "Error")
        else:
            continue
        if word not in ("ContainerCreating", "PodInitializing"):
            break
    return word


def _restarts(pod: Object) -> int:
    status = pod.get("status") or {}
    return sum(int(container.get("restartCount", 0)) for container in status.get("containerStatuses") or [])
