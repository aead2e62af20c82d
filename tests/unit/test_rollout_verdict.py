"""Verdicts from API objects, in the shapes that a kubelet was recorded to show."""

from __future__ import annotations

from typing import Any

import pytest

from cdlib.rollout.causes import AT_ONCE, INCONCLUSIVE, Cause
from cdlib.rollout.containers import Memory
from cdlib.rollout.controllers import workload_causes
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.patience import SETTLING
from cdlib.rollout.pods import PodMemory, pod_causes
from cdlib.rollout.progress import own_pods, pod_ready, unproven, workload_done
from cdlib.rollout.pulls import Pulled
from cdlib.rollout.shown import shown_images
from cdlib.rollout.verdict import Fault, Judge


def pod(*containers: dict[str, Any], init: list[dict[str, Any]] | None = None, **meta: Any) -> dict[str, Any]:
    status = {"containerStatuses": list(containers), "initContainerStatuses": init or []}
    return {"metadata": {"name": "web-1", "uid": "p1", **meta}, "status": status}


def waiting(reason: str, message: str = "", restarts: int = 0, **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "web", "ready": False, "restartCount": restarts, "state": state, **more}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def pod_failures(o: dict[str, Any]) -> list[Cause]:
    """What a look at a pod, of which there are no Events, calls a failure, once it was seen being created."""
    memory = PodMemory()
    every = [*o["status"]["initContainerStatuses"], *o["status"]["containerStatuses"]]
    pod_causes(
        pod(*[{"name": c["name"], "state": {"waiting": {}}} for c in every]), memory, Happenings(), Pulled(), 0.0
    )
    return [c for c in pod_causes(o, memory, Happenings(), Pulled(), 1.0) if c.after == AT_ONCE]


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
    "two ends": waiting("CrashLoopBackOff", "back-off 10s", restarts=1, lastState=ended(1)),
    "recovered after three restarts": {
        "name": "web", "ready": False, "started": True, "restartCount": 3, "state": {"running": {}}, "lastState": ended(1),
    },
    "one kill for memory": {"name": "web", "ready": False, "restartCount": 1, "state": {"running": {}},
                            "lastState": ended(137, "OOMKilled")},
    "node trouble at start": waiting("RunContainerError", lastState=ended(128, "StartError", "cgroup: device busy")),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_failures_are_called(case: str) -> None:
    faults = pod_failures(pod(FAILED[case]))
    assert [(fault.pod, fault.container) for fault in faults] == [("web-1", "web")]
    assert "web-1, container web: " in str(faults[0])


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_states_are_left_alone(case: str) -> None:
    assert pod_failures(pod(HARMLESS[case])) == []


_RUNC = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
_INIT = _RUNC + "unable to start container process: error during container init: "


@pytest.mark.parametrize(
    ("message", "final"),
    [
        (_RUNC + 'unable to start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown', 1),
        (_INIT + 'exec: "nosuch": executable file not found in $PATH: unknown', 1),
        (_INIT + 'exec: "./run.sh": permission denied: unknown', 1),
        (_INIT + 'exec: "/etc": is a directory: unknown', 1),
        ("OCI runtime create failed: container_linux.go:380: starting container process caused: "
         'exec: "x": executable file not found in $PATH: unknown', 1),
        (r'OCI runtime create failed: starting container process caused "exec: \"x\": stat x: no such file": unknown', 1),
        (r'container create failed: msg="unable to start container process: exec: \"x y\": permission denied"', 1),
        ('exec: "/no/such": no such file or directory', 1),
        ("standard_init_linux.go:228: exec user process caused: exec format error", 1),
        ('standard_init_linux.go:190: exec user process caused "exec format error"', 1),
        ("exec /bin/app: exec format error", 1),
        ("container create failed: executable file `nosuch` not found in $PATH: No such file or directory", 1),
        ("container create failed: open executable: Permission denied", 1),
        ("exec container process `/bin/app`: Exec format error", 1),
        (_INIT + 'error mounting "/var/lib/x" to rootfs at "/data": no such file or directory: unknown', 0),
        (_INIT + 'error mounting "/exec: \\"a" to rootfs: open /proc/self/fd/7: permission denied: unknown', 0),
        (_INIT + "open /proc/sys/net/core/somaxconn: permission denied: unknown", 0),
        (_INIT + "error running hook #0: fork/exec /usr/bin/hook: no such file or directory: unknown", 0),
        (_INIT + "error running hook #0: fork/exec /usr/bin/hook: exec format error: unknown", 0),
        (_INIT + 'error running hook #0: exec: "nvidia-container-cli": executable file not found in $PATH', 0),
        (_RUNC + "unable to apply cgroup configuration: open /sys/fs/cgroup/x/cgroup.procs: no such file or directory", 0),
        ("OCI runtime create failed: unable to retrieve OCI runtime error (open /run/x/log.json: no such file or "
         'directory): exec: "nvidia-container-runtime": executable file not found in $PATH: unknown', 0),
        ('failed to start shim: exec: "containerd-shim-kata-v2": executable file not found in $PATH', 0),
        ("fork/exec /usr/bin/containerd-shim-runc-v2: permission denied", 0),
    ],
)  # fmt: skip
def test_a_start_error_is_final_only_where_it_is_the_programs(message: str, final: int) -> None:
    once = {"name": "web", "ready": False, "restartCount": 0, "state": ended(128, "StartError", message)}
    assert len(pod_failures(pod(once))) == final
    twice = {**once, "restartCount": 1, "lastState": ended(128, "StartError", message)}
    assert len(pod_failures(pod(twice))) == 1


def test_an_init_container_that_has_done_its_work_is_no_failure() -> None:
    done = {"name": "init", "ready": True, "restartCount": 2, "state": ended(0, "Completed"), "lastState": ended(1)}
    assert pod_failures(pod(HARMLESS["running"], init=[done])) == []


def test_a_failing_init_container_is_named() -> None:
    failing = waiting("CrashLoopBackOff", restarts=3, lastState=ended(7)) | {"name": "migrate"}
    assert [f.container for f in pod_failures(pod(waiting("PodInitializing"), init=[failing]))] == ["migrate"]


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
    assert not list(workload_causes("Deployment", o, [], [], Happenings()))
    o["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"}
    ]
    (cause,) = workload_causes("Deployment", o, [], [], Happenings())
    assert str(cause) == "Deployment web: has timed out"


@pytest.mark.parametrize(("name", "told"), [("web-old", False), ("web-new", True)])
def test_a_progress_deadline_that_other_pods_have_passed_says_nothing_of_these(name: str, told: bool) -> None:
    """The condition of the rollout before stays, also after going back from it, until there is progress."""
    o = deployment()
    sets = [owned("web-new", "d1", annotations={"deployment.kubernetes.io/revision": "2"})]
    said = f'ReplicaSet "{name}" has timed out progressing.'
    o["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": said}
    ]
    assert bool(list(workload_causes("Deployment", o, sets, [], Happenings()))) is told


@pytest.mark.parametrize("whose", ["API server", "controllers", "that of ReplicaSets"])
def test_a_progress_deadline_is_as_much_later_as_nothing_could_act(whose: str) -> None:
    now, o = [0.0], deployment(want=1, availableReplicas=0)
    mine = owned("web-2", "d1", annotations={"deployment.kubernetes.io/revision": "2"}, generation=2)
    judge = Judge([("Deployment", "web")], clock=lambda: now[0])

    def called(second: float, *, away: bool = False) -> bool:
        now[0] = second
        o["status"]["observedGeneration"] = 1 if away and whose == "controllers" else 2
        mine["status"] = {"observedGeneration": 1 if away and whose == "that of ReplicaSets" else 2}
        found = {"Deployment": [o], "ReplicaSet": [mine]}
        return bool(judge.look(found, seen=not away or whose != "API server").faults)

    outage = 20.0
    assert not any((called(5.0), called(5.0 + outage, away=True), called(25.0), called(25.0 + SETTLING)))
    o["status"]["conditions"] = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    passed = 30.0 + SETTLING
    assert not called(passed)
    assert not called(passed + outage + SETTLING - 0.1)
    assert called(passed + outage + SETTLING)


REVISION = "deployment.kubernetes.io/revision"


def paused(**more: Any) -> dict[str, Any]:
    o = deployment(**more)
    o["spec"]["paused"] = True
    return o


@pytest.mark.parametrize(
    ("o", "made", "held"),
    [
        (paused(updatedReplicas=0), True, True),
        (paused(updatedReplicas=1), True, True),  # by a person, in the middle
        (paused(updatedReplicas=0, replicas=0, availableReplicas=0), False, True),
        (paused(updatedReplicas=0, observed=1), True, False),  # what the controller says is of before
        (paused(want=0), False, False),
        (paused(), True, False),
        (paused(want=3, updatedReplicas=2, replicas=2, availableReplicas=2), True, False),  # it is scaled
        (deployment(updatedReplicas=0), True, False),
    ],
)
def test_what_is_paused_is_told_and_the_pods_there_are_not_judged(o: dict[str, Any], made: bool, held: bool) -> None:
    sets = [owned("web-1", "d1", annotations={REVISION: "2"})] if made else []
    bad = owned("web-1-a", "web-1") | {"status": {"containerStatuses": [FAILED["invalid image name"]]}}
    state = Judge([("Deployment", "web")]).look({"Deployment": [o], "ReplicaSet": sets, "Pod": [bad]})
    assert [fault.reason for fault in state.faults if fault.reason == INCONCLUSIVE] == ([INCONCLUSIVE] if held else [])
    if held:
        assert (len(state.faults), state.pods, state.faults[0].about) == (1, (), "Deployment web")


def test_what_cannot_be_judged_is_named_after_what_can() -> None:
    failed = {"metadata": {"name": "j", "uid": "j1"}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    judge = Judge([("Deployment", "web"), ("Job", "j")])
    faults = judge.look({"Deployment": [paused(updatedReplicas=0)], "Job": [failed]}).faults
    assert [fault.reason for fault in faults] == ["JobFailed", INCONCLUSIVE]


@pytest.mark.parametrize(("more", "seen"), [({}, True), ({"observed": 1}, False), ({"availableReplicas": 1}, False)])
def test_an_image_was_seen_once_its_own_rollout_is_done(more: dict[str, int], seen: bool) -> None:
    o = deployment(**more)
    o["spec"]["template"] = {"spec": {"initContainers": [{"image": "a"}], "containers": [{"image": "b"}]}}
    assert set(shown_images("Deployment", o)) == ({"a", "b"} if seen else set())


def test_ready_is_the_condition() -> None:
    ready = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert pod_ready(ready)
    assert not pod_ready({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    assert not pod_ready({"metadata": {}})


def test_a_daemon_set_whose_strategy_alone_has_changed_still_knows_its_pods() -> None:
    about = {"annotations": {"deprecated.daemonset.template.generation": "3"}, "generation": 7}
    o = {"metadata": {"name": "log", "uid": "d1", **about}, "status": {"observedGeneration": 7}}
    pods = [owned(n, "d1", labels={"pod-template-generation": g}) for n, g in (("a", "2"), ("b", "3"))]
    assert [p["metadata"]["name"] for p in own_pods("DaemonSet", o, [], pods)] == ["b"]


@pytest.mark.parametrize(
    ("kind", "strategy", "updated", "done"),
    [
        ("StatefulSet", {"type": "OnDelete"}, 0, True),
        ("StatefulSet", {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, 1, True),
        ("StatefulSet", {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, 0, False),
        ("StatefulSet", {"type": "RollingUpdate"}, 2, False),
    ],
)
def test_what_the_strategy_leaves_to_people_is_not_waited_for(
    kind: str, strategy: object, updated: int, done: bool
) -> None:
    status = {
        "observedGeneration": 2,
        "updatedReplicas": updated,
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    o = {"metadata": {"generation": 2}, "spec": {"replicas": 3, "updateStrategy": strategy}, "status": status}
    assert workload_done(kind, o)[0] is done


@pytest.mark.parametrize(
    ("o", "done"),
    [
        ({"status": {}}, False),
        ({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, True),
        ({"spec": {"suspend": True}}, True),
    ],
)
def test_a_job_is_done_when_it_says_so(o: dict[str, Any], done: bool) -> None:
    assert workload_done("Job", {"metadata": {"name": "j", "generation": 1}, **o})[0] is done


PROBED, BARE = {"name": "a", "readinessProbe": {"periodSeconds": 1}}, {"name": "b"}


@pytest.mark.parametrize(
    ("kind", "pod_spec", "spec", "seconds"),
    [
        ("Deployment", {"containers": [PROBED]}, {}, 0.0),
        ("Deployment", {"containers": [PROBED, BARE]}, {}, 10.0),
        ("DaemonSet", {"containers": [BARE]}, {"minReadySeconds": 4}, 6.0),
        ("StatefulSet", {"containers": [BARE]}, {"minReadySeconds": 20}, 0.0),
        ("Deployment", {"containers": [PROBED], "initContainers": [BARE]}, {}, 0.0),
        ("Deployment", {"containers": [PROBED], "initContainers": [BARE | {"restartPolicy": "Always"}]}, {}, 10.0),
        ("Job", {"containers": [BARE]}, {}, 0.0),
    ],
)
def test_what_only_time_can_prove(kind: str, pod_spec: object, spec: dict[str, Any], seconds: float) -> None:
    assert unproven(kind, {"spec": {"template": {"spec": pod_spec}, **spec}}) == seconds


def test_ends_count_from_none_again_once_the_container_was_steady() -> None:
    memory = Memory()
    up: dict[str, Any] = {"ready": True, "state": {"running": {}}}
    memory.see({"ready": False, "restartCount": 2, "state": {"running": {}}, "lastState": ended(1)}, 0.0)
    memory.see({**up, "restartCount": 2}, 1.0)
    memory.see({"ready": False, "restartCount": 2, "state": ended(1)}, 9.0)
    assert memory.lately == 3
    memory.see({**up, "restartCount": 3}, 10.0)
    memory.see({"ready": False, "restartCount": 3, "state": ended(1)}, 20.0)
    assert memory.lately == 1


def test_ends_from_before_this_rollout_do_not_count() -> None:
    memory = Memory()
    memory.see({"ready": True, "restartCount": 9, "state": {"running": {}}, "lastState": ended(1)}, 0.0)
    assert memory.lately == 0
    memory.see({"ready": False, "restartCount": 9, "state": ended(1), "lastState": ended(1)}, 1.0)
    assert memory.lately == 1


def test_a_pod_that_was_crashing_before_must_crash_once_more() -> None:
    memory = Memory()
    memory.see(waiting("CrashLoopBackOff", restarts=8, lastState=ended(1)), 0.0)
    assert memory.lately == 2
    memory.see({"ready": False, "restartCount": 9, "state": ended(1), "lastState": ended(1)}, 100.0)
    assert memory.lately == 3


@pytest.mark.parametrize(
    ("reason", "message"),
    [("OOMKilled", ""), ("StartError", "cgroup busy"), ("StartError", 'exec: "/a": no such file')],
)
def test_what_ended_an_older_pod_before_must_end_it_once_more(reason: str, message: str) -> None:
    def at_once(restarts: int, *, older: bool, memory: PodMemory | None = None) -> bool:
        end = ended(137, reason, message)
        status = {"name": "web", "ready": False, "restartCount": restarts, "state": end, "lastState": end}
        found = pod_causes(pod(status), memory or PodMemory(older), Happenings(), Pulled(), 0.0)
        return any(c.after == AT_ONCE for c in found)

    assert at_once(1, older=False), "twice, of a pod that is new"
    seen = PodMemory(older=True)
    assert not at_once(3, older=True, memory=seen)
    assert not at_once(3, older=True, memory=seen)
    assert at_once(4, older=True, memory=seen)


def test_only_a_pod_with_a_past_is_asked_for_its_age() -> None:
    asked = list[str]()

    def older(o: dict[str, Any]) -> bool:
        asked.append(o["metadata"]["name"])
        return True

    end = ended(137, "OOMKilled")
    bad = {"name": "web", "ready": False, "restartCount": 1, "state": end, "lastState": end}
    new = {"name": "web", "ready": False, "restartCount": 0, "state": {"waiting": {}}}
    done = {"name": "init", "ready": True, "restartCount": 0, "state": ended(0, "Completed")}
    sets = [owned("web-1", "d1", annotations={REVISION: "2"})]
    for statuses, there in (([new, done], []), ([bad], ["web-1-a"])):
        made = owned("web-1-a", "web-1") | {"status": {"containerStatuses": statuses}}
        judge, asked[:] = Judge([("Deployment", "web")], older=older), []
        for _ in range(2):
            state = judge.look({"Deployment": [deployment(updatedReplicas=1)], "ReplicaSet": sets, "Pod": [made]})
            assert state.pods and state.faults == ()
        assert asked == there


def test_a_job_that_is_gone_has_ended_and_a_service_that_is_gone_has_not() -> None:
    assert Judge([("Job", "migrate")]).look({"Job": []}).complete
    assert not Judge([("Deployment", "web")]).look({"Deployment": []}).complete


def test_an_evicted_pod_is_no_failure_of_the_new_version() -> None:
    o = pod(
        {
            "name": "web",
            "ready": False,
            "restartCount": 4,
            "state": ended(137, "OOMKilled"),
            "lastState": ended(137, "OOMKilled"),
        }
    )
    assert pod_failures(o)
    o["status"] |= {"phase": "Failed", "reason": "Evicted"}
    assert pod_failures(o) == []


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("web-1", "web", "r", "it"), "pod web-1, container web: it"),
        (Fault("web-1", "", "r", "it"), "pod web-1: it"),
        (Fault("", "", "r", "it", about="Deployment web"), "Deployment web: it"),
        (Fault("", "", "r", "it"), "it"),
    ],
)
def test_a_fault_names_what_is_to_blame(fault: Fault, text: str) -> None:
    assert str(fault) == text
