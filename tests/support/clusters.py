"""Stand-ins for clusters that hold releases: what the API server lists of records, Helm's Secrets and Leases.

Also the API of one record alone, with its entries, and the kubeconfig by which commands find a stand-in.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from planted import plant
from stand_ins import Seen, Server

from cdlib.deadline import Deadline
from cdlib.rollout.api import Conflict, path
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import Records


def kubeconfig(folder: Path, server: str) -> Path:
    file = folder / "kubeconfig"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "tok-12345678"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(document))
    plant("a kubeconfig's token", "tok-12345678", file)
    return file


def entry(number: int, status: str = "verified", digest: str = "", **more: Any) -> Revision:
    digest = digest or f"sha256:{number:064d}"
    base = Revision(
        number,
        f"{number:040d}",
        f"r/hello@{digest}",
        digest,
        "chart",
        "values",
        status,
        "2026-01-01T00:00:00Z",
        "me",
        "run",
    )
    return replace(base, **more)


def record(*entries: Revision, live: int = 0, **more: Any) -> Record:
    return Record("hello", "hello", list(entries), live or max(e.revision for e in entries), **more)


class OneObject:
    """The API of a single ConfigMap, with resourceVersion as the server keeps it."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.interfere: Any = None
        self.ahead = timedelta()  # of the server's clock

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def get(self, where: str, _deadline: Deadline) -> Any:
        found = self.stored.get(where.rsplit("/", 1)[1])
        return json.loads(json.dumps(found)) if found else None

    def create(self, where: str, body: dict[str, Any], _deadline: Deadline) -> Any:
        assert where.endswith("/configmaps")
        if body["metadata"]["name"] in self.stored:
            raise Conflict("exists")
        return self._keep(body)

    def replace(self, where: str, body: dict[str, Any], _deadline: Deadline) -> Any:
        if self.interfere:
            interfere, self.interfere = self.interfere, None
            interfere()
        if body["metadata"]["resourceVersion"] != self.stored[where.rsplit("/", 1)[1]]["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._keep(body)

    def _keep(self, body: dict[str, Any]) -> Any:
        self.version += 1
        body = json.loads(json.dumps(body))
        body["metadata"]["resourceVersion"] = str(self.version)
        self.stored[body["metadata"]["name"]] = body
        return body


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
