"""What the cluster's own programs leave alone for too long, as for up to a minute after an API server was away.

A rollout that begins after such an outage sees nothing else of it: its pods are placed late, started late, and counted
late, while each object by itself looks as it does in any rollout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cdlib.rollout.api import Object
from cdlib.rollout.patience import BLINK
from cdlib.rollout.progress import (
    condition,
    container_statuses,
    observed,
    owners_of,
    pod_ended,
    pod_ready,
)

MOST = 120.0  # seconds; nodes that are worked on come back, as where pods fit on none


class Unheeded:
    """Seconds in which something of a rollout was left alone: nothing is to be held against the rollout then.

    For want of a scheduler or a node for good they are MOST.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._last = 0.0
        self.seconds = 0.0

    def see(self, rollout: Sequence[tuple[str, Object, list[Object]]], sets: Sequence[Object],
            every: Sequence[Object], now: float) -> None:  # fmt: skip
        """Take in the workloads with their own pods, all ReplicaSets and all pods, as they are at `now`, which stands
        still where the cluster cannot be seen."""
        alone = {*_pods(rollout, every), *_counts([o for kind, o, _ in rollout if kind == "Deployment"], sets, every)}
        self._since = {uid: self._since.get(uid, now) for uid in alone}
        if any(now - since > BLINK for since in self._since.values()):  # all of it is heeded sooner than that
            self.seconds = min(MOST, self.seconds + now - self._last)
        self._last = now


def _pods(rollout: Sequence[tuple[str, Object, list[Object]]], every: Iterable[Object]) -> Iterator[str]:
    """The uids of own pods on which neither the scheduler nor a kubelet acts."""
    silent = {node for pod in every if (node := _silent_node(pod))}
    for _, _, own in rollout:
        for pod in own:
            if not _heeded(pod) or (pod.get("spec") or {}).get("nodeName") in silent:
                yield str(pod["metadata"]["uid"])


def _heeded(pod: Object) -> bool:
    """Whether the scheduler and then a kubelet have looked at a pod, as far as the pod itself tells."""
    if pod_ready(pod) or pod_ended(pod):
        return True
    if not (pod.get("spec") or {}).get("nodeName"):
        return bool(condition(pod, "PodScheduled"))
    return bool(container_statuses(pod))


def _silent_node(pod: Object) -> str:
    """The node of a pod, where nothing is heard of that node any more; else empty.

    The controller of nodes calls its pods not ready then, of which their containers know nothing.
    """
    spec = pod.get("spec") or {}
    called = condition(pod, "Ready").get("status") == "False" and not spec.get("readinessGates")
    if not called or pod_ended(pod) or condition(pod, "ContainersReady").get("status") != "True":
        return ""
    return str(spec.get("nodeName") or "")


def _counts(deployments: Iterable[Object], sets: Sequence[Object], every: Iterable[Object]) -> Iterator[str]:
    """Which Deployments and ReplicaSets count other pods as ready than there are, each with its count.

    A count that is late but moves, as where one pod after the other becomes ready, is another one at each look.
    """
    ready = Counter(owner for pod in every if pod_ready(pod) and _active(pod) for owner in owners_of(pod))
    for deployment in deployments:
        uid = str(deployment["metadata"]["uid"])
        mine = [each for each in sets if uid in owners_of(each)]
        for each in mine:
            own = str(each["metadata"]["uid"])
            if not observed(each) or _ready(each) != ready[own]:
                yield f"{own} {_ready(each)}"
        if mine and observed(deployment) and _ready(deployment) != sum(map(_ready, mine)):
            yield f"{uid} {_ready(deployment)}"


def _active(pod: Object) -> bool:
    """Whether a ReplicaSet counts a pod at all."""
    return "deletionTimestamp" not in pod["metadata"] and not pod_ended(pod)


def _ready(o: Object) -> int:
    return int((o.get("status") or {}).get("readyReplicas") or 0)
