"""What counts as drift: fields that the release sets, and nothing that the server, a controller or an autoscaler does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable
from cdlib.rollout.drift import MOST, find_drift
from cdlib.run import Run

SOON = Deadline(30.0)
RESOURCES = {
    "/api/v1": [("services", "Service", True), ("configmaps", "ConfigMap", True), ("secrets", "Secret", True)],
    "/apis/apps/v1": [("deployments", "Deployment", True), ("deployments/scale", "Scale", True)],
    "/apis/batch/v1": [("jobs", "Job", True)],
    "/apis/rbac.authorization.k8s.io/v1": [("clusterroles", "ClusterRole", False)],
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": None},
    "spec": {"replicas": 2, "template": {"spec": {"containers": [
        {"name": "web", "image": "r/web@sha256:1", "env": [{"name": "KEY", "value": "hunter2222"}]}]}}},
}  # fmt: skip
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "aHVudGVyMjIyMg=="}}


def merged(live: Any, wanted: Any) -> Any:
    """What an apply makes of both, as far as these tests need it."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {key: merged(live.get(key), wanted.get(key, live.get(key))) for key in live.keys() | wanted.keys()}
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [merged(one, other) for one, other in zip(live, wanted, strict=True)]
    return wanted


class Cluster:
    """Has the live objects by path, and applies without keeping."""

    def __init__(self, folder: Path, *manifest: dict[str, Any]) -> None:
        self.manifest = list(manifest)
        self.live: dict[str, Any] = {}
        for o in manifest:
            plural, _, namespaced = next(r for r in RESOURCES[self.root(o)] if r[1] == o["kind"])
            where = f"{self.root(o)}{'/namespaces/ns' if namespaced else ''}/{plural}/{o['metadata']['name']}"
            self.live[where] = self.as_kept(o)
        self.calls: list[tuple[str, str]] = []
        self.patched: list[tuple[Any, dict[str, str]]] = []
        self.refuses: Exception | None = None
        self.scalers: Any = {"items": []}
        self.told: list[str] = []
        run = Run("test", SOON, out=folder)
        run.events.listen(lambda event: self.told.append(str(event.get("text", ""))))
        helm = SimpleNamespace(manifest=lambda revision, deadline: copy.deepcopy(self.manifest))
        self.release = SimpleNamespace(run=run, api=self, helm=helm, environment=SimpleNamespace(namespace="ns"))

    @staticmethod
    def root(o: dict[str, Any]) -> str:
        return "/api/v1" if o["apiVersion"] == "v1" else f"/apis/{o['apiVersion']}"

    @staticmethod
    def as_kept(o: dict[str, Any]) -> dict[str, Any]:
        """As a server has it: with defaults, a status, and who set what."""
        kept = copy.deepcopy(o)
        kept["metadata"] = {"name": o["metadata"]["name"], "uid": "u", "resourceVersion": "7", "managedFields": ["x"]}
        if "spec" in o:
            kept["spec"]["defaulted"] = True
        return {**kept, "status": {"ready": 1}}

    def get(self, where: str, _deadline: Deadline, **_more: Any) -> Any:
        self.calls.append(("GET", where))
        if where in RESOURCES:
            return {"resources": [{"name": n, "kind": k, "namespaced": ns} for n, k, ns in RESOURCES[where]]}
        if where.endswith("/horizontalpodautoscalers"):
            if isinstance(self.scalers, Exception):
                raise self.scalers
            return self.scalers
        return copy.deepcopy(self.live.get(where))

    def patch(self, where: str, body: Any, _deadline: Deadline, kind: str, **params: str) -> Any:
        assert kind == "application/apply-patch+yaml"
        self.patched.append((body, params))
        if self.refuses:
            raise self.refuses
        after = merged(self.live[where], copy.deepcopy(body))
        after["metadata"] = {**after["metadata"], "managedFields": ["x", "y"], "resourceVersion": "8", "generation": 3}
        return after

    def drift(self) -> list[str]:
        return find_drift(self.release, 3, SOON)  # type: ignore[arg-type]

    @property
    def web(self) -> Any:
        return self.live["/apis/apps/v1/namespaces/ns/deployments/web"]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path, DEPLOYMENT, SECRET)


def test_what_is_as_the_release_says_has_no_drift_and_nothing_is_written(cluster: Cluster) -> None:
    assert cluster.drift() == []
    assert all(params["dryRun"] == "All" for _, params in cluster.patched)
    assert not any(value is None for body, _ in cluster.patched for value in body["metadata"].values())


def test_few_calls_are_made(cluster: Cluster) -> None:
    cluster.drift()
    assert len(cluster.calls) + len(cluster.patched) == 2 + 2 * 2  # what kinds there are; and two an object


def test_an_image_set_by_hand_is_shown(cluster: Cluster) -> None:
    cluster.web["spec"]["template"]["spec"]["containers"][0]["image"] = "r/other:1"
    assert cluster.drift() == [
        "Deployment web: spec.template.spec.containers[web].image is r/other:1, the release says r/web@sha256:1"
    ]


def test_values_that_may_be_secret_are_not_shown(cluster: Cluster) -> None:
    cluster.web["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] = "hunter3333"
    cluster.live["/api/v1/namespaces/ns/secrets/s"]["data"]["key"] = "aHVudGVyMzMzMw=="
    found = cluster.drift()
    assert found == [
        "Deployment web: spec.template.spec.containers[web].env[KEY].value differs",
        "Secret s: data.key differs",
    ]


def test_an_object_that_is_gone_is_shown(cluster: Cluster) -> None:
    del cluster.live["/api/v1/namespaces/ns/secrets/s"]
    assert cluster.drift() == ["Secret s is gone"]


def test_a_job_that_has_ended_and_gone_is_none(tmp_path: Path) -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {}}
    cluster = Cluster(tmp_path, job)
    cluster.live.clear()
    assert cluster.drift() == []


def test_what_others_have_added_is_none(cluster: Cluster) -> None:
    cluster.web["spec"]["paused"] = True
    cluster.web["metadata"]["annotations"] = {"somebody": "else"}
    assert cluster.drift() == []


def test_replicas_set_by_hand_are_drift(cluster: Cluster) -> None:
    cluster.web["spec"]["replicas"] = 5
    assert cluster.drift() == ["Deployment web: spec.replicas is 5, the release says 2"]


def test_replicas_that_an_autoscaler_sets_are_none(cluster: Cluster) -> None:
    cluster.web["spec"]["replicas"] = 5
    cluster.scalers = {"items": [{"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}]}
    assert cluster.drift() == []
    cluster.scalers = {"items": [{"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "other"}}}]}
    assert len(cluster.drift()) == 1


def test_where_autoscalers_cannot_be_seen_replicas_do_not_count(cluster: Cluster) -> None:
    cluster.web["spec"]["replicas"] = 5
    cluster.scalers = NotAllowed("no")
    assert cluster.drift() == []


@pytest.mark.parametrize("problem", [NotAllowed("may not patch"), CdError("webhook does not support dry run")])
def test_what_cannot_be_compared_is_said_and_is_no_drift(cluster: Cluster, problem: Exception) -> None:
    cluster.refuses = problem
    assert cluster.drift() == []
    assert any(str(problem) in text for text in cluster.told)


def test_a_server_that_is_away_is_no_answer(cluster: Cluster) -> None:
    cluster.refuses = Unavailable("away")
    with pytest.raises(Unavailable):
        cluster.drift()


def test_objects_outside_of_namespaces_are_found(tmp_path: Path) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "c"}, "rules": []}
    assert Cluster(tmp_path, role).drift() == []


def test_much_drift_is_cut_short(tmp_path: Path) -> None:
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{n}"}} for n in range(MOST + 5)]
    cluster = Cluster(tmp_path, *maps)
    cluster.live.clear()
    found = cluster.drift()
    assert len(found) == MOST + 1
    assert found[-1] == "and 5 more"
    assert json.dumps(found)
