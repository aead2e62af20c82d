"""Pods that are on their way out, and hold what the next one waits for: a host's port, its room, a place in a quota."""

from __future__ import annotations

from collections.abc import Iterator

from cdlib.rollout.api import Object

GRACE = 30.0  # seconds; what Kubernetes takes where nothing is said
# Seconds after its grace period in which a pod is still taken to go: volumes are unmounted, and a kubelet may be busy.
# One that is still there then may stay for good, as on a node that is gone.
LATE = 30.0


class Leaving:
    """Which workloads have pods that are being deleted, and will be gone soon."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._owners: frozenset[str] = frozenset()

    def see(self, pods: list[Object], now: float) -> None:
        """Take in all pods of the namespace, at the judge's own time in seconds."""
        going = {str(p["metadata"]["uid"]): p for p in pods if "deletionTimestamp" in p["metadata"]}
        self._since = {uid: self._since.get(uid, now) for uid in going}
        soon = (p for uid, p in going.items() if now - self._since[uid] < _grace(p) + LATE)
        self._owners = frozenset(uid for pod in soon for uid in _owners(pod))

    def of(self, kind: str, o: Object, replicasets: list[Object]) -> bool:
        """Whether such pods are a workload's own, of any revision."""
        uid = str(o["metadata"].get("uid", ""))
        makers = [str(r["metadata"].get("uid", "")) for r in replicasets if uid in _owners(r)]
        return bool(self._owners.intersection(makers if kind == "Deployment" else [uid]))


def _grace(pod: Object) -> float:
    seconds = pod["metadata"].get("deletionGracePeriodSeconds")
    return GRACE if seconds is None else float(seconds)


def _owners(o: Object) -> Iterator[str]:
    return (str(r.get("uid", "")) for r in o["metadata"].get("ownerReferences") or ())
