"""Single objects, looked up before what seems missing counts as missing."""

from __future__ import annotations

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed
from cdlib.rollout.api import Api, path

PATIENCE = 2.0  # seconds for all answers of one look; where there is none, it is asked again
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"  # a Secret's values are none of our business
_KINDS = {
    "ConfigMap": ("configmaps", ""),
    "Secret": ("secrets", ""),
    "ServiceAccount": ("serviceaccounts", ""),
    "PersistentVolumeClaim": ("persistentvolumeclaims", ""),
    "Pod": ("pods", ""),
    "ReplicaSet": ("replicasets", "apps/v1"),
    "StatefulSet": ("statefulsets", "apps/v1"),
    "DaemonSet": ("daemonsets", "apps/v1"),
    "Job": ("jobs", "batch/v1"),
}


class Lookup:
    """Looks into one namespace; call it as patience.Exists says."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._limit: Deadline | None = None

    def begin(self, deadline: Deadline | None) -> None:
        """Begin a look: what is asked from now on has PATIENCE seconds together, and no more than `deadline` leaves."""
        what = "looking up single objects"
        self._limit = deadline.part(PATIENCE, what) if deadline else Deadline(PATIENCE, what)

    def __call__(self, kind: str, name: str, key: str = "") -> bool | None:
        """Whether the object is there, with the `key` in its data; None where we may not look. Raises CdError."""
        plural, group = _KINDS[kind]
        deadline = self._limit or Deadline(PATIENCE, f"looking up the {kind} {name}")
        accept = "" if key else _METADATA
        try:
            found = self._api.get(path(plural, self._namespace, name, group=group), deadline, accept=accept)
        except NotAllowed:
            return None
        if found is None or not key:
            return found is not None
        return any(key in (found.get(part) or {}) for part in ("data", "binaryData"))
