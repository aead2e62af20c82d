"""Pods that a StatefulSet waits for, and that will never be ready: kubernetes#67250.

A StatefulSet that starts its pods in order replaces none while one of them is not ready, even where that one is of
the broken revision that is being undone. Only deleting the pod helps, which targets.yaml has to allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import Api, Conflict, Object, path
from cdlib.rollout.progress import observed, pod_ready
from cdlib.rollout.verdict import Fault
from cdlib.run import Run
from cdlib.target import Environment

# Seconds for which such a pod must have been seen not ready. In a rollback it belongs to what has just been called
# broken; in a rollout it may be a good old one that is coming up again. Without permission nothing is lost by waiting.
IN_ROLLBACK, IN_ROLLOUT, WITHOUT_PERMISSION = 3.0, 30.0, 10.0
MOST = 3  # times that a pod of one name is deleted
_REVISION = "controller-revision-hash"


class StuckPods:
    """Watches for them during one rollout or rollback; call it with all objects at each look.

    Deletes what it may, and otherwise says what to do: a rollback by a Fault, because it cannot go on by itself.
    """

    def __init__(self, run: Run, api: Api, environment: Environment, *, rollback: bool,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._run, self._api, self._environment, self._clock = run, api, environment, clock
        self._rollback, self._allowed = rollback, environment.delete_stuck_pods
        self._since: dict[str, float] = {}
        self._deleted: dict[str, int] = {}
        self._told: set[str] = set()

    def look(self, found: Mapping[str, list[Object]], names: set[str]) -> Fault | None:
        """Delete pods that the StatefulSets of these names are stuck on; a Fault where nothing but a person can."""
        now = self._clock()
        mine = [o for o in found.get("StatefulSet", []) if o["metadata"]["name"] in names]
        stuck = {str(p["metadata"]["uid"]): p for o in mine for p in stuck_pods(o, found.get("Pod", []))}
        self._since = {uid: self._since.get(uid, now) for uid in stuck}
        for uid, pod in stuck.items():
            seconds = now - self._since[uid]
            may = self._allowed and self._deleted.get(str(pod["metadata"]["name"]), 0) < MOST
            if may and seconds >= (IN_ROLLBACK if self._rollback else IN_ROLLOUT):
                self._delete(pod)
            elif not may and seconds >= WITHOUT_PERMISSION:
                fault = self._fault(pod)
                if self._rollback:
                    return fault
                self._tell(fault)
        return None

    def _delete(self, pod: Object) -> None:
        """Delete this very pod, as it was seen: one that has become ready meanwhile stays."""
        meta = pod["metadata"]
        name, where = str(meta["name"]), path("pods", self._environment.namespace, str(meta["name"]))
        seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        try:
            self._api.delete(where, Deadline(5.0, f"deleting the pod {name}"), preconditions=seen)
        except Conflict:
            return  # it has changed; the next look decides
        except CdError as problem:
            self._allowed = False
            self._run.warn(f"the pod {name} is in the way, and cannot be deleted: {problem.message}")
            return
        self._deleted[name] = self._deleted.get(name, 0) + 1
        self._run.warn(f"the pod {name} of the earlier revision never became ready, and is deleted to be replaced")

    def _fault(self, pod: Object) -> Fault:
        name = str(pod["metadata"]["name"])
        text = (
            "is of another revision and not ready, and its StatefulSet replaces it only once it is deleted: "
            f"kubectl -n {self._environment.namespace} delete pod {name}"
        )
        return Fault(name, "", "StuckPod", text)

    def _tell(self, fault: Fault) -> None:
        if fault.pod not in self._told:
            self._told.add(fault.pod)
            self._run.warn(str(fault))


def stuck_pods(o: Object, pods: list[Object]) -> Iterator[Object]:
    """The pods that a StatefulSet has to replace, and does not because they are not ready."""
    spec, status = o.get("spec") or {}, o.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    in_order = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    if not in_order or strategy.get("type", "RollingUpdate") != "RollingUpdate" or not observed(o):
        return
    first = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    for pod in pods:
        meta = pod["metadata"]
        mine = any(r.get("uid") == o["metadata"].get("uid") for r in meta.get("ownerReferences") or ())
        other = (meta.get("labels") or {}).get(_REVISION) != status.get("updateRevision")
        ordinal = str(meta["name"]).rpartition("-")[2]
        if mine and other and "deletionTimestamp" not in meta and not pod_ready(pod) and int(ordinal) >= first:
            yield pod
