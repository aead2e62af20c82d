"""The whole template of an earlier revision, put back where a merge has left something in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helms import a_lease

from cdlib.deadline import Deadline
from cdlib.errors import Held, NotAllowed
from cdlib.rollout.api import Conflict
from cdlib.rollout.templates import restore, tell_restored, templates_of
from cdlib.run import Run

SOON = Deadline(30.0)
APPS = "/apis/apps/v1/namespaces/ns"
TEMPLATE = {
    "metadata": {"labels": {"app": "web"}, "creationTimestamp": None},
    "spec": {"containers": [{"name": "web", "image": "i"}]},
}


def a_pod(kind: str, owner: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": labels, "ownerReferences": [{"kind": kind, "name": owner}]}}


def test_each_workload_is_known_by_the_hash_of_its_template() -> None:
    pods = [
        a_pod("ReplicaSet", "web-5d4f", **{"pod-template-hash": "5d4f"}),
        a_pod("StatefulSet", "db", **{"controller-revision-hash": "db-77aa"}),
        a_pod("DaemonSet", "log", **{"controller-revision-hash": "66bb"}),
        a_pod("Job", "once"),
        {"metadata": {"name": "alone"}},
    ]
    assert templates_of(pods) == {"Deployment web": "5d4f", "StatefulSet db": "db-77aa", "DaemonSet log": "66bb"}


class Cluster:
    """Live workloads, and what their controllers keep of earlier templates."""

    def __init__(self, folder: Path) -> None:
        self.objects: dict[str, Any] = {}
        self.patches: list[tuple[str, Any]] = []
        self.lease = a_lease()
        self.refuses: Exception | None = None
        self.meanwhile = list[Callable[[], None]]()  # what happens before each patch arrives
        self.told: list[tuple[str, str]] = []
        self.run = Run("test", SOON, out=folder)
        self.run.events.listen(lambda event: self.told.append((str(event.get("event")), str(event.get("text", "")))))

    def get(self, where: str, _deadline: Deadline) -> Any:
        if self.refuses:
            raise self.refuses
        return copy.deepcopy(self.objects.get(where))

    def patch(self, where: str, body: Any, _deadline: Deadline, _kind: str) -> Any:
        """As the API server does it: a resourceVersion that is not current is a conflict."""
        self.meanwhile.pop(0)() if self.meanwhile else None
        seen, change = body
        assert (seen["op"], seen["path"]) == ("replace", "/metadata/resourceVersion")
        if seen["value"] != self.objects[where]["metadata"]["resourceVersion"]:
            raise Conflict("the object has been modified")
        self.patches.append((where, change))

    def changed(self, where: str, template: Any = None) -> None:
        """Somebody else writes the object, with another template where one is given."""
        meta = self.objects[where]["metadata"]
        meta["resourceVersion"] = f"{meta['resourceVersion']}1"
        if template is not None:
            self.objects[where]["spec"]["template"] = template

    def restore(self, **templates: str) -> None:
        named = {key.replace("_", " "): value for key, value in templates.items()}
        restore(self.run, self, self.lease, "ns", named, SOON)  # type: ignore[arg-type]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path)
    live = copy.deepcopy(TEMPLATE)
    live["spec"]["containers"][0]["env"] = [{"name": "ADDED", "value": "by hand"}]  # type: ignore[index]
    kept = {**copy.deepcopy(TEMPLATE), "metadata": {"labels": {"app": "web", "pod-template-hash": "5d4f"}}}
    revision = {"data": {"spec": {"template": {**TEMPLATE, "$patch": "replace"}}}}
    made.objects = {
        f"{APPS}/deployments/web": {"metadata": {"resourceVersion": "7"}, "spec": {"template": live}},
        f"{APPS}/replicasets/web-5d4f": {"spec": {"template": kept}},
        f"{APPS}/statefulsets/db": {"metadata": {"resourceVersion": "7"}, "spec": {"template": live}},
        f"{APPS}/controllerrevisions/db-77aa": revision,
        f"{APPS}/daemonsets/log": {"metadata": {"resourceVersion": "7"}, "spec": {"template": live}},
        f"{APPS}/controllerrevisions/log-66bb": revision,
    }
    return made


@pytest.mark.parametrize(
    ("workload", "hashed", "where"),
    [
        ("Deployment_web", "5d4f", "deployments/web"),
        ("StatefulSet_db", "db-77aa", "statefulsets/db"),
        ("DaemonSet_log", "66bb", "daemonsets/log"),
    ],
)
def test_what_a_merge_has_left_is_replaced_whole(cluster: Cluster, workload: str, hashed: str, where: str) -> None:
    cluster.restore(**{workload: hashed})
    ((patched, change),) = cluster.patches
    assert patched == f"{APPS}/{where}"
    wanted = {**TEMPLATE, "metadata": {"labels": {"app": "web"}}}
    assert change == {"op": "replace", "path": "/spec/template", "value": wanted}


def test_what_is_the_same_is_left_alone(cluster: Cluster) -> None:
    cluster.objects[f"{APPS}/deployments/web"]["spec"]["template"] = TEMPLATE
    cluster.restore(Deployment_web="5d4f")
    assert cluster.patches == []


def test_what_its_controller_has_let_go_of_is_left_as_helm_made_it(cluster: Cluster) -> None:
    cluster.restore(Deployment_web="gone", Deployment_other="5d4f", StatefulSet_db="db-gone")
    assert cluster.patches == []


WEB = f"{APPS}/deployments/web"


def test_a_status_that_is_written_meanwhile_is_only_looked_at_anew(cluster: Cluster) -> None:
    cluster.meanwhile = [lambda: cluster.changed(WEB)] * 2
    cluster.restore(Deployment_web="5d4f")
    assert len(cluster.patches) == 1


def test_what_another_run_has_deployed_meanwhile_is_not_overwritten(cluster: Cluster) -> None:
    def gone() -> bool:
        raise Held("the lease cd-web is not ours any more")

    def deployed() -> None:
        cluster.changed(WEB, {**TEMPLATE, "spec": {"containers": [{"name": "web", "image": "newer"}]}})
        lease.require = gone  # type: ignore[method-assign]

    lease, cluster.meanwhile = cluster.lease, [deployed]
    with pytest.raises(Held):
        cluster.restore(Deployment_web="5d4f")
    assert cluster.patches == []


def test_a_workload_that_never_stands_still_is_told_of(cluster: Cluster) -> None:
    cluster.meanwhile = [lambda: cluster.changed(WEB)] * 100
    cluster.restore(Deployment_web="5d4f")
    assert cluster.patches == [] and "cannot be seen" in cluster.told[-1][1]


def test_what_may_not_be_read_is_said_and_stops_nothing(cluster: Cluster) -> None:
    cluster.refuses = NotAllowed("controllerrevisions is forbidden")
    cluster.restore(StatefulSet_db="db-77aa")
    assert any(event == "warning" and "forbidden" in text for event, text in cluster.told)


def test_whether_the_former_template_runs_is_said(cluster: Cluster) -> None:
    tell_restored(
        cluster.run, {"Deployment web": "a", "Deployment x": "b"}, {"Deployment web": "a", "Deployment x": "c"}
    )
    said = dict(cluster.told)
    assert "Deployment web runs its former template again (a)" in said["note"]
    assert "Deployment x" in said["warning"]
