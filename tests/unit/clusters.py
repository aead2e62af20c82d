"""Stand-ins for clusters that hold releases: what the API server lists of records, Helm's Secrets and Leases."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from stand_ins import Seen, Server
from test_rollout_api import kubeconfig
from test_rollout_record import entry

from cdlib.rollout.api import path
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import Records


class Cluster(Server):
    """An API server with releases. `namespaced` makes it refuse lists of everything, `refused` lists of a kind."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.lists: dict[str, list[dict[str, Any]]] = {
            "configmaps": [],
            "secrets": [],
            "leases": [],
            "pods": [],
            "deployments": [],
            "replicasets": [],
        }
        self.namespaced, self.refused = False, ""
        self.after: dict[str, Callable[[], None]] = {}  # what happens right after the next list of a kind

    def release(
        self, name: str, *entries: Revision, namespace: str = "apps", helm: str = "deployed", **more: Any
    ) -> None:
        """A release with these revisions; `helm` is the status of the newest, empty for none."""
        record = Record(name, name, list(entries), entries[-1].revision if entries else 0, **more)
        self.lists["configmaps"].append(stored(record, namespace))
        if helm:
            self.helm(name, entries[-1].revision, helm, namespace=namespace)

    def helm(self, name: str, revision: int, status: str, *, namespace: str = "apps") -> None:
        """Helm's own record of a revision."""
        labels = {"owner": "helm", "name": name, "version": str(revision), "status": status}
        meta = {
            "name": f"sh.helm.release.v1.{name}.v{revision}",
            "namespace": namespace,
            "labels": labels,
            "uid": f"{name}-{revision}",
        }
        self.lists["secrets"].append({"metadata": {**meta, "creationTimestamp": "2026-02-03T04:05:06Z"}})

    def lease(self, name: str, holder: str, age: float, *, namespace: str = "apps") -> None:
        """A Lease that was renewed `age` seconds ago."""
        renewed = (datetime.now(UTC) - timedelta(seconds=age)).isoformat().replace("+00:00", "Z")
        spec = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}
        self.lists["leases"].append({"metadata": {"name": f"cd-{name}", "namespace": namespace}, "spec": spec})

    def _serve(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        url = urllib.parse.urlsplit(seen.path)
        kind = url.path.rpartition("/")[2]
        namespace = url.path.split("/namespaces/")[1].split("/")[0] if "/namespaces/" in url.path else ""
        if kind == self.refused or (self.namespaced and not namespace):
            return 403, {}, json.dumps({"message": f"{kind} is forbidden"}).encode()
        selector = dict(urllib.parse.parse_qsl(url.query)).get("labelSelector", "")
        found = [o for o in self.lists[kind] if namespace in ("", o["metadata"]["namespace"]) and selected(o, selector)]
        answer = json.dumps({"items": found}).encode()
        self.after.pop(kind, lambda: None)()
        return 200, {}, answer


def stored(record: Record, namespace: str) -> dict[str, Any]:
    """The ConfigMap that a record is kept in, as the library itself writes it."""
    kept: list[dict[str, Any]] = []

    class Keeps:
        def get(self, *_: Any) -> None:
            return None

        def create(self, where: str, body: dict[str, Any], _deadline: Any) -> dict[str, Any]:
            assert where == path("configmaps", namespace)
            kept.append(body)
            return body

    def fill(empty: Record) -> None:
        empty.__dict__.update(record.__dict__)

    Records(Keeps(), namespace, record.service, record.release).update(fill, None)  # type: ignore[arg-type]
    return kept[-1]


def selected(o: dict[str, Any], selector: str) -> bool:
    """Whether the label selector, of the forms `a=b`, `a!=b`, `a` and `!a`, takes an object."""
    labels = o["metadata"].get("labels", {})
    for part in filter(None, selector.split(",")):
        name, unequal, value = part.partition("!=")
        if unequal:
            if labels.get(name) == value:
                return False
        elif "=" in part:
            name, _, value = part.partition("=")
            if labels.get(name) != value:
                return False
        elif (part.removeprefix("!") in labels) == part.startswith("!"):
            return False
    return True


def targets(folder: Path, clusters: dict[str, str], places: dict[str, list[tuple[str, str]]]) -> Path:
    """targets.yaml: `clusters` are URLs by environment, `places` (namespace, release) by environment."""
    environments: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for name, url in clusters.items():
        (folder / name).mkdir()
        kubeconfig(folder / name, url)
        environments[name] = {"kubeconfig": f"{name}/kubeconfig", "policy": "none"}
        for namespace, release in places[name]:
            service = services.setdefault(release, {"image": f"r.example.org/{release}", "environments": {}})
            service["environments"][name] = {"namespace": namespace, "release": release}
    file = folder / "targets.yaml"
    file.write_text(
        yaml.safe_dump({"version": 1, "environments": environments, "services": services}, allow_unicode=True),
        encoding="utf-8",
    )
    return file


__all__ = ["Cluster", "entry", "stored", "targets"]
