"""Whether a cluster knows by now which pods a Service leads to: until then a check says nothing of the service."""

from __future__ import annotations

from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.progress import pod_ready

# At more addresses than that the controller leaves some out (and says so by an annotation).
_FULL = "endpoints.kubernetes.io/over-capacity"


def behind(api: Api, namespace: str, service: Object, deadline: Deadline) -> bool:
    """Whether the Endpoints of a Service are not those of its ready pods, so that their controller has not acted yet.

    `service` is as the chart has it. The API server's proxy goes by the Endpoints, and answers 404 where there are
    none yet, 503 where none of them is ready. False where this cannot be told: where no pod of the Service is ready,
    the Service selects none, or we may not look.
    """
    spec = service.get("spec") or {}
    selector = spec.get("selector")
    if not isinstance(selector, dict) or not selector or spec.get("publishNotReadyAddresses"):
        return False
    try:
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        listed = api.get(path("pods", namespace), deadline, labelSelector=labels) or {}
        found = api.get(path("endpoints", namespace, str(service["metadata"]["name"])), deadline) or {}
    except NotAllowed:
        return False
    except CdError:
        return True  # who cannot be asked just now has not come to itself
    ready = {str(pod["metadata"]["uid"]) for pod in listed.get("items") or [] if _leads_to(pod, spec)}
    full = _FULL in ((found.get("metadata") or {}).get("annotations") or {})
    return bool(ready) and not full and ready != _addresses(found)


def _leads_to(pod: Object, spec: dict[str, Any]) -> bool:
    """Whether a pod of the selector belongs to the Endpoints: it is ready, stays, and has one of the named ports."""
    if not pod_ready(pod) or "deletionTimestamp" in pod["metadata"]:
        return False
    wanted = [port.get("targetPort") for port in spec.get("ports") or [] if isinstance(port, dict)]
    containers = (pod.get("spec") or {}).get("containers") or []
    named = {port.get("name") for container in containers for port in container.get("ports") or []}
    return not wanted or any(not isinstance(port, str) or port in named for port in wanted)


def _addresses(endpoints: Object) -> set[str]:
    """The uids of the pods that are listed as ready."""
    every = [address for subset in endpoints.get("subsets") or [] for address in subset.get("addresses") or []]
    return {str((address.get("targetRef") or {}).get("uid", "")) for address in every}
