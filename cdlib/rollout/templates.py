"""The pod templates of a release's workloads: which ones a revision ran, and getting exactly those back.

Helm merges: what others have added to a live template stays through its rollback, and may be what broke it. So the
whole template is replaced by the one that the controller has kept of the revision, as `kubectl rollout undo` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import JSON_PATCH, Api, Conflict, Object, path
from cdlib.run import Run

_HASH, _REVISION = "pod-template-hash", "controller-revision-hash"
_APPS = "apps/v1"
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


def restore(run: Run, api: Api, namespace: str, templates: Mapping[str, str], deadline: Deadline) -> None:
    """Give each workload the whole of its former template, where it differs and its controller still has that.

    What cannot be had is told, and left as Helm has made it.
    """
    for workload, wanted in templates.items():
        kind, _, name = workload.partition(" ")
        try:
            if _restore(api, namespace, kind, name, wanted, deadline):
                run.warn(f"{workload} had been changed by others than Helm: its former template is put back whole")
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


def _restore(api: Api, namespace: str, kind: str, name: str, wanted: str, deadline: Deadline) -> bool:
    where = path(_PLURALS[kind], namespace, name, group=_APPS)
    live = api.get(where, deadline)
    former = _former(api, namespace, kind, name, wanted, deadline) if live else None
    if live is None or former is None or _bare(live["spec"]["template"]) == _bare(former):
        return False
    api.patch(where, [{"op": "replace", "path": "/spec/template", "value": _bare(former)}], deadline, JSON_PATCH)
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
