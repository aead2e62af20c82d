"""The pod templates of a release's workloads: which ones a revision ran, and getting exactly those back.

Helm merges: what others have added to a live template stays through its rollback, and may be what broke it. So the
whole template is replaced by the one that the controller has kept of the revision, as `kubectl rollout undo` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held
from cdlib.rollout.api import JSON_PATCH, Api, Conflict, Object, path
from cdlib.rollout.lease import Lease
from cdlib.run import Run

_HASH, _REVISION = "pod-template-hash", "controller-revision-hash"
_APPS = "apps/v1"
_TRIES = 5  # a controller writes its own status beside us
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}


def templates_of(pods: Iterable[Object]) -> dict[str, str]:
    """By workload, such as `Deployment web`, the hash by which its controller knows the template of these pods."""
    found = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        for owner in pod["metadata"].get("ownerReferences") or ():
            kind, name = str(owner.get("kind", "")), str(owner.get("name", ""))
            if kind == "ReplicaSet" and _HASH in labels:
                found[f"Deployment {name.removesuffix('-' + labels[_HASH])}"] = str(labels[_HASH])
            elif kind in ("StatefulSet", "DaemonSet") and _REVISION in labels:
                found[f"{kind} {name}"] = str(labels[_REVISION])
    return found


def restore(run: Run, api: Api, lease: Lease, namespace: str, templates: Mapping[str, str],
            deadline: Deadline) -> None:  # fmt: skip
    """Give each workload the whole of its former template, where it differs and its controller still has that.

    What cannot be had is told, and left as Helm has made it. Raises Held where the lease is another's by now.
    """
    for workload, wanted in templates.items():
        kind, _, name = workload.partition(" ")
        try:
            if _restored(api, lease, namespace, kind, name, wanted, deadline):
                run.warn(f"{workload} had been changed by others than Helm: its former template is put back whole")
        except Held:
            raise
        except (CdError, Conflict) as problem:
            run.warn(f"whether {workload} has its former template back cannot be seen: {problem}")


def tell_restored(run: Run, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Say of each workload whether it runs the very template that it ran before."""
    for workload in before.keys() & now.keys():
        if before[workload] == now[workload]:
            run.note(f"{workload} runs its former template again ({now[workload]})")
        else:
            run.warn(f"{workload} runs a template ({now[workload]}) that is not its former one ({before[workload]}): "
                     "something besides Helm sets it, such as a webhook")  # fmt: skip


def _restored(api: Api, lease: Lease, namespace: str, kind: str, name: str, wanted: str,
              deadline: Deadline) -> bool:  # fmt: skip
    """Whether it had to be given back. Raises Conflict where the workload never stands still, CdError."""
    for _ in range(_TRIES - 1):
        lease.require()  # the network may have been away for as long as it takes another to deploy
        try:
            return _restore(api, namespace, kind, name, wanted, deadline)
        except Conflict:
            continue
    lease.require()
    return _restore(api, namespace, kind, name, wanted, deadline)


def _restore(api: Api, namespace: str, kind: str, name: str, wanted: str, deadline: Deadline) -> bool:
    """As `_restored`, if nobody changes the workload meanwhile, else Conflict.

    A patch that the network has kept, or that is sent again, must not fall upon what another has deployed since.
    """
    where = path(_PLURALS[kind], namespace, name, group=_APPS)
    live = api.get(where, deadline)
    former = _former(api, namespace, kind, name, wanted, deadline) if live else None
    if live is None or former is None or _bare(live["spec"]["template"]) == _bare(former):
        return False
    seen = {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
    change = {"op": "replace", "path": "/spec/template", "value": _bare(former)}
    api.patch(where, [seen, change], deadline, JSON_PATCH)
    return True


def _former(api: Api, namespace: str, kind: str, name: str, wanted: str, deadline: Deadline) -> Any:
    """The template that the controller keeps under this hash, None where it has let go of it."""
    if kind == "Deployment":
        kept = api.get(path("replicasets", namespace, f"{name}-{wanted}", group=_APPS), deadline)
        return kept["spec"]["template"] if kept else None
    revision = wanted if kind == "StatefulSet" else f"{name}-{wanted}"
    kept = api.get(path("controllerrevisions", namespace, revision, group=_APPS), deadline)
    return kept["data"]["spec"]["template"] if kept else None


def _bare(template: Any) -> Any:
    """A template without what its keeper has added, and without what is empty."""
    meta = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != _HASH}
    kept = {k: v for k, v in {**meta, "labels": labels}.items() if v not in (None, {}, [])}
    return {**{k: v for k, v in template.items() if k != "$patch"}, "metadata": kept}
