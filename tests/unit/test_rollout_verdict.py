"""Verdicts from API objects, in the shapes that a kubelet was recorded to show."""

from __future__ import annotations

from typing import Any

import pytest

from cdlib.rollout.verdict import deadline_exceeded, own_pods, pod_faults, pod_ready, workload_done


def pod(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **meta: Any) -> dict[str, Any]:
    status = {"containerStatuses": list(containers), "initContainerStatuses": init or []}
    return {"metadata": {"name": "web-1", "uid": "p1", **meta}, "status": status}


def waiting(reason: str, message: str = "", restarts: int = 0, **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "web", "ready": False, "restartCount": restarts, "state": state, **more}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


FAILED = {
    "invalid image name": waiting("InvalidImageName", "couldn't parse image reference"),
    "image never pulled": waiting("ErrImageNeverPull", "not present with pull policy of Never"),
    "runs as root": waiting(
        "CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: web)"
    ),
    "command not found": waiting(
        "RunContainerError", restarts=0, lastState=ended(128, "StartError", 'exec: "/no/such": no such file or directory')
    ),
    "crash loop": waiting("CrashLoopBackOff", "back-off 20s", restarts=3, lastState=ended(1)),
    "third crash just now": {"name": "web", "ready": False, "restartCount": 2, "state": ended(3), "lastState": ended(3)},
    "server that ends with 0": waiting("CrashLoopBackOff", restarts=3, lastState=ended(0, "Completed")),
    "killed for memory twice": {
        "name": "web", "ready": False, "restartCount": 1,
        "state": ended(137, "OOMKilled"), "lastState": ended(137, "OOMKilled"),
    },
}  # fmt: skip

HARMLESS = {
    "running": {"name": "web", "ready": True, "restartCount": 0, "state": {"running": {}}},
    "creating": waiting("ContainerCreating"),
    "first pull failed": waiting("ErrImagePull", 'failed to pull: "dial tcp: connection refused"'),
    "back-off of a pull": waiting("ImagePullBackOff"),
    "config map not there yet": waiting("CreateContainerConfigError", 'configmap "later" not found'),
    "one restart": {"name": "web", "ready": False, "restartCount": 1, "state": {"running": {}}, "lastState": ended(1)},
    "two ends": waiting("CrashLoopBackOff", "back-off 10s", restarts=2, lastState=ended(1)),
    "recovered after three restarts": {
        "name": "web", "ready": False, "started": True, "restartCount": 3, "state": {"running": {}}, "lastState": ended(1),
    },
    "one kill for memory": {"name": "web", "ready": False, "restartCount": 1, "state": {"running": {}},
                            "lastState": ended(137, "OOMKilled")},
    "node trouble at start": waiting("RunContainerError", lastState=ended(128, "StartError", "cgroup: device busy")),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_failures_are_called(case: str) -> None:
    faults = pod_faults(pod(FAILED[case]))
    assert [(fault.pod, fault.container) for fault in faults] == [("web-1", "web")]
    assert "web-1, container web: " in str(faults[0])


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_states_are_left_alone(case: str) -> None:
    assert pod_faults(pod(HARMLESS[case])) == []


def test_an_init_container_that_has_done_its_work_is_no_failure() -> None:
    done = {"name": "init", "ready": True, "restartCount": 2, "state": ended(0, "Completed"), "lastState": ended(1)}
    assert pod_faults(pod(HARMLESS["running"], init=[done])) == []


def test_a_failing_init_container_is_named() -> None:
    failing = waiting("CrashLoopBackOff", restarts=3, lastState=ended(7)) | {"name": "migrate"}
    assert [f.container for f in pod_faults(pod(waiting("PodInitializing"), init=[failing]))] == ["migrate"]


def deployment(generation: int = 2, observed: int = 2, want: int = 2, **status: int) -> dict[str, Any]:
    counts = {"updatedReplicas": want, "availableReplicas": want, "replicas": want, **status}
    return {
        "metadata": {"name": "web", "uid": "d1", "generation": generation,
                     "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {"replicas": want},
        "status": {"observedGeneration": observed, **counts},
    }  # fmt: skip


def test_a_deployment_that_is_all_new_is_done() -> None:
    assert workload_done("Deployment", deployment()) == (True, "2 of 2 updated, 2 available")


@pytest.mark.parametrize(
    "o",
    [
        deployment(observed=1),  # still shows the counts of the rollout before
        deployment(updatedReplicas=1),
        deployment(availableReplicas=1),
        deployment(replicas=3),  # an old pod is still there
        {"metadata": {"name": "web", "generation": 1}, "spec": {}},
    ],
)
def test_a_deployment_under_way_is_not_done(o: dict[str, Any]) -> None:
    assert not workload_done("Deployment", o)[0]


def test_a_stuck_stateful_set_is_not_done_although_its_revisions_agree() -> None:
    status = {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "readyReplicas": 1, "availableReplicas": 2}
    o = {"metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status}
    assert not workload_done("StatefulSet", o)[0]


def test_a_daemon_set_counts_its_nodes() -> None:
    status = {"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}
    o = {"metadata": {"generation": 1}, "spec": {}, "status": status}
    assert workload_done("DaemonSet", o)[0]
    status["numberAvailable"] = 2
    assert not workload_done("DaemonSet", o)[0]


def owned(name: str, owner: str, uid: str = "", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": uid or name, "ownerReferences": [{"uid": owner}], **meta}, "status": {}}


def test_only_pods_of_the_applied_revision_count() -> None:
    revision = "deployment.kubernetes.io/revision"
    sets = [owned("old", "d1", annotations={revision: "1"}), owned("new", "d1", annotations={revision: "2"}),
            owned("foreign", "d2", annotations={revision: "2"})]  # fmt: skip
    pods = [
        owned("a", "old"),
        owned("b", "new"),
        owned("c", "foreign"),
        owned("d", "new", deletionTimestamp="2026-01-01"),
    ]
    assert [p["metadata"]["name"] for p in own_pods("Deployment", deployment(), sets, pods)] == ["b"]


def test_before_the_controller_has_looked_no_pod_counts() -> None:
    sets = [owned("old", "d1", annotations={"deployment.kubernetes.io/revision": "2"})]
    assert own_pods("Deployment", deployment(generation=3), sets, [owned("crashing", "old")]) == []


def test_pods_of_a_stateful_set_are_told_by_their_hash() -> None:
    o = {
        "metadata": {"name": "db", "uid": "s1", "generation": 4},
        "status": {"updateRevision": "db-2", "observedGeneration": 4},
    }
    pods = [owned(n, "s1", labels={"controller-revision-hash": h}) for n, h in (("db-0", "db-1"), ("db-1", "db-2"))]
    assert [p["metadata"]["name"] for p in own_pods("StatefulSet", o, [], pods)] == ["db-1"]


def test_a_passed_progress_deadline_is_told() -> None:
    o = deployment()
    assert deadline_exceeded(o) == ""
    o["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}
    ]
    assert deadline_exceeded(o) == "has timed out"


def test_ready_is_the_condition() -> None:
    ready = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert pod_ready(ready)
    assert not pod_ready({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    assert not pod_ready({"metadata": {}})
