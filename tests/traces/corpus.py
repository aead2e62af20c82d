"""Every kind of broken rollout and of harmless trouble that verdicts are held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.traces.replay import Line, Tape, There, nothing_missing, recorded, tape
from tests.traces.scripted import (
    CREATING,
    IMAGE,
    PLACED,
    READY,
    RUNS,
    UNHEARD,
    alone,
    container,
    daemonset,
    deployment,
    ends,
    event,
    job,
    late,
    leaving,
    pod,
    pod_steps,
    pulled,
    replicaset,
    rollout,
    second_pod,
    statefulset,
    unscheduled,
    waits,
)

NOT_FOUND = "rpc error: code = NotFound desc = registry.test/lab/web:2: not found"
DENIED = "pulling from host registry.test failed with status code [manifests 2]: 401 Unauthorized"
BROKEN_503 = "pulling from host registry.test failed with status code [manifests 2]: 503 Service Unavailable"
CPU = "0/3 nodes are available: 3 Insufficient cpu."
TAINTED = (  # as the scheduler of 1.34 says it
    "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/1 nodes are "
    "available: 1 Preemption is not helpful for scheduling."
)
ROOT = "container has runAsNonRoot and image will run as root"
USER_0 = "container's runAsUser breaks non-root policy"
CGROUP = "OCI runtime create failed: unable to apply cgroup configuration: device or resource busy"
STARTING = ("failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
            "failed: unable to start container process: ")  # fmt: skip
NO_MOUNT = STARTING + (
    'error during container init: error mounting "/var/lib/kubelet/pods/p/volumes/v" to rootfs at "/data": '
    "no such file or directory: unknown"
)
PORTS = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
FULL = 'pods "x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'


@dataclass(frozen=True)
class Broken:
    """A rollout that must be called a failure for `reason`, with `says` in the message, by second `within`."""

    tape: Callable[[], Tape]
    reason: str
    says: str
    within: float
    there: There = nothing_missing
    start: float = 0.0


@dataclass(frozen=True)
class Harmless:
    """Trouble that must not end a rollout."""

    tape: Callable[[], Tape]
    there: There = nothing_missing
    start: float = 0.0


def _recorded(name: str) -> Callable[[], Tape]:
    return lambda: recorded(name)


def _without(*names: str) -> There:
    return lambda _kind, name, _second: name not in names


def _from(second: float, *kinds: str) -> There:
    """Objects of these kinds are there from a second on."""
    return lambda kind, _name, now: kind not in kinds or now >= second


def _key_missing(kind: str, _name: str, _second: float) -> bool:
    return kind == "Pod"


def _pull(name: str, says: str, within: float) -> Broken:
    return Broken(_recorded(name), "ImagePull", says, within)


def _crash(name: str, within: float, code: int = 1) -> Broken:
    return Broken(_recorded(name), "CrashLoop", f"ended 3 times, the last time with exit code {code}", within)


# Deciding seconds of the recordings vary by 1 to 3 s with the load of the machine that they were made on: the
# limits that verdicts are held to are for a machine that is not crowded, so those of recordings made on a crowded one
# (badarch, the StatefulSets) are wider.
BROKEN: Mapping[str, Broken] = {
    "image: tag missing": _pull("badtag", "tried 2 times): registry.test/lab/web:nosuch: not found", 20),
    "image: tag missing, behind a slow pull": _pull("badtag-behind-slowpull", "not found", 60),
    "image: tag missing, behind a hung registry": _pull("behind-hung", "not found", 91),
    "image: 403": _pull("deny403", "403", 20),
    "image: 401": Broken(lambda: rollout(
        pulled(0.5, 1, DENIED), pod_steps([(0.8, waits("ErrImagePull", DENIED))]), pulled(13.7, 2, DENIED),
        pod_steps([(13.8, waits("ImagePullBackOff", f"Back-off pulling image: ErrImagePull: {DENIED}"))])),
        "ImagePull", "401 Unauthorized", 20),
    "image: registry refuses connections": _pull("noreg", "tried 4 times", 92),
    "image: registry answers 503": Broken(lambda: rollout(
        *[pulled(t, n, BROKEN_503) for n, t in enumerate((0.5, 13.7, 41.7, 91.7), 1)],
        pod_steps([(0.9, waits("ErrImagePull", BROKEN_503))]), end=120), "ImagePull", "tried 4 times", 93),
    "image: index without the platform": _pull("armindex", "no match for platform", 5),
    "image: for another processor": _crash("badarch", 24),
    "image: name invalid": Broken(_recorded("badname"), "InvalidImageName", "no valid name", 5),
    "image: never pulled and absent": Broken(_recorded("neverpull"), "ErrImageNeverPull", "is not on the node", 5),
    "command not found": Broken(_recorded("nocmd"), "StartError", 'exec: "/no/such"', 5),
    "runtime cannot start it, twice": Broken(lambda: rollout(pod_steps([
        (0.8, pod(container(ended=("StartError", 128), message=CGROUP))),
        (1.9, pod(container(rc=1, ended=("StartError", 128), message=CGROUP, last=("StartError", 128))))])),
        "StartError", "cgroup", 5),
    "command not in the path": Broken(
        lambda: rollout(pod_steps([(0.8, pod(container(ended=("StartError", 128), message=STARTING + (
            'error during container init: exec: "nosuch": executable file not found in $PATH: unknown'))))])),
        "StartError", 'exec: "nosuch"', 1),
    "volume cannot be mounted, twice": Broken(lambda: rollout(pod_steps([
        (0.8, pod(container(ended=("StartError", 128), message=NO_MOUNT))),
        (1.9, pod(container(rc=1, ended=("StartError", 128), message=NO_MOUNT, last=("StartError", 128))))])),
        "StartError", "error mounting", 5),
    "runs as root, and may not": Broken(
        lambda: rollout(pod_steps([(0.7, waits("CreateContainerConfigError", ROOT))])), "RunsAsRoot", ROOT, 5),
    "runs as user 0, and may not": Broken(
        lambda: rollout(pod_steps([(0.7, waits("CreateContainerConfigError", USER_0))])), "RunsAsRoot", "non-root", 5),
    "configuration wrong in an unknown way": Broken(
        lambda: rollout(pod_steps([(0.7, waits("CreateContainerConfigError", "something else"))]), end=90),
        "CreateContainerConfigError", "something else", 62),
    "container cannot be made": Broken(
        lambda: rollout(pod_steps([(0.7, waits("CreateContainerError", "name is reserved"))])),
        "CreateContainerError", "name is reserved", 35),
    "crash at once": _crash("crash0", 20),
    "exit 0 at once": Broken(lambda: rollout(pod_steps(ends(0.8, 1.9, 17.0, why=("Completed", 0)))),
                             "CrashLoop", "ended 3 times, the last time with exit code 0", 20),
    "crash after 5 s": _crash("crash5", 35),
    "crash after 20 s": _crash("crash20", 80, code=3),
    "crash at once, in the startup probe's allowance": Broken(lambda: rollout(
        pod_steps(ends(0.8, 1.9, 18.2, 44.4)), specs={"containers": [{"name": "web", "startupProbe": {
            "periodSeconds": 2, "failureThreshold": 45}}]}), "CrashLoop", "ended 4 times", 45),
    "out of memory": Broken(lambda: rollout(pod_steps(ends(1.0, 2.0, why=("OOMKilled", 137)))),
                            "OOMKilled", "killed 2 times for using more memory than its limit", 5),
    "liveness fails after it was complete": Broken(
        _recorded("live"), "FailedLivenessProbe", "killed 3 times because its liveness probe failed", 33),
    "startup probe fails": Broken(lambda: rollout(
        event(13.7, "Killing", "Container web failed startup probe, will be restarted"),
        event(25.0, "Killing", "Container web failed startup probe, will be restarted", count=2),
        pod_steps([(0.8, RUNS), (15.4, pod(container(rc=1, last=("Error", 137)))),
                   (27.8, pod(container(rc=2, last=("Error", 137))))])),
        "FailedStartupProbe", "killed 2 times because its startup probe failed", 28),
    "postStart hook fails": Broken(lambda: rollout(
        event(0.4, "FailedPostStartHook", "PostStartHook failed"), pod_steps([(3.0, waits("PostStartHookError"))]),
        event(3.4, "FailedPostStartHook", "PostStartHook failed", count=2)),
        "FailedPostStartHook", "its postStart hook failed 2 times", 7),
    "init container fails": _crash("initfail", 20, code=7),
    "second container dies after it was complete": _crash("second", 30),
    "sidecar dies after it was complete": Broken(lambda: rollout(
        pod_steps([(t, pod(container(ready=True), init=[c])) for t, c in (
            (1.8, container(name="side", ready=True)),
            (4.0, container(name="side", ended=("Error", 1))),
            (5.4, container(name="side", ready=True, rc=1, last=("Error", 1))),
            (8.4, container(name="side", rc=1, ended=("Error", 1), last=("Error", 1))),
            (21.9, container(name="side", ready=True, rc=2, last=("Error", 1))),
            (24.9, container(name="side", rc=2, ended=("Error", 1), last=("Error", 1))))]),
        second_pod(2.0), done=3.1), "CrashLoop", "ended 3 times", 26),
    "ConfigMap missing": Broken(_recorded("nocm"), "MissingConfigMap", "the ConfigMap gone does not exist", 30,
                                _without("gone")),
    "ConfigMap missing, and we may not look": Broken(
        _recorded("nocm"), "MissingConfigMap", "the ConfigMap gone does not exist", 45,
        lambda kind, _name, _second: None if kind == "ConfigMap" else True),
    "key missing in ConfigMap": Broken(_recorded("nokey"), "MissingKey", "has no key a", 30, _key_missing),
    "Secret missing (variable)": Broken(lambda: rollout(pod_steps([
        (0.9, waits("CreateContainerConfigError", 'secret "gone" not found'))])), "MissingSecret",
        "the Secret gone does not exist", 30, _without("gone")),
    "Secret missing (volume)": Broken(_recorded("nosecretvol"), "MissingSecret", "the Secret gone does not exist", 30,
                                      _without("gone")),
    "key missing in a Secret (volume)": Broken(lambda: rollout(
        event(2.7, "FailedMount", 'MountVolume.SetUp failed for volume "s" : references non-existent secret key: k'),
        specs={"volumes": [{"name": "s", "secret": {"secretName": "keys"}}]}),
        "MissingKey", "the Secret keys has no key k", 30, _key_missing),
    "PersistentVolumeClaim missing": Broken(_recorded("nopvc"), "MissingPersistentVolumeClaim", "absent", 35,
                                            _without("absent")),
    "PersistentVolumeClaim unbound": Broken(_recorded("pvc"), "UnboundClaim", "unbound immediate", 35),
    "too much CPU": Broken(_recorded("toobig"), "Unschedulable", "Insufficient cpu", 35),
    "node selector fits no node": Broken(_recorded("nodesel"), "Unschedulable", "node affinity/selector", 35),
    "fits nowhere, and the old pod does not go": Broken(lambda: rollout(
        leaving((0.05, 300.0), grace=10), pod_steps([(0.1, unscheduled(PORTS))]), end=90),
        "Unschedulable", "free ports", 75),
    "fits nowhere, once the old pod is gone": Broken(lambda: rollout(
        leaving((0.05, 8.0)), pod_steps([(0.1, unscheduled(PORTS))])), "Unschedulable", "free ports", 40),
    "quota": Broken(_recorded("quota"), "Quota", "exceeded quota: q", 25),
    "quota, once the old pod is gone": Broken(lambda: rollout(
        leaving((0.05, 8.0)), replicaset(0.1, replicas=0, refused=FULL)), "Quota", "exceeded quota: q", 40),
    "StatefulSet: quota": Broken(lambda: _short(3.0, 5.5, 10.5, 20.8), "Quota", "exceeded quota: q", 26),
    "paused, and an old pod crashes": Broken(
        lambda: _paused(updated=0), "Inconclusive", "paused, so nothing of it is rolled out", 1),
    "paused, and nothing of it has ever run": Broken(
        lambda: alone(deployment(0.0, gen=1, obs=1, rev="", replicas=0, updated=0, available=0, paused=True)),
        "Inconclusive", "paused", 1),
    "LimitRange": Broken(lambda: rollout(replicaset(0.1, replicas=0, refused=(
        'pods "web-2-a" is forbidden: maximum cpu usage per Container is 100m, but limit is 1'))),
        "PodForbidden", "maximum cpu usage", 5),
    "PodSecurity": Broken(_recorded("psa"), "PodForbidden", "violates PodSecurity", 5),
    "ServiceAccount missing": Broken(lambda: rollout(replicaset(0.1, replicas=0, refused=(
        'pods "web-2-a" is forbidden: error looking up service account x/ghost: serviceaccount "ghost" not found'))),
        "MissingServiceAccount", "the ServiceAccount ghost does not exist", 8, _without("ghost")),
    "webhook says no": Broken(lambda: rollout(replicaset(0.1, replicas=0, refused=(
        'admission webhook "policy.test" denied the request: no team label')), end=90),
        "PodRefused", "no team label", 62),
    "no kubelet takes its pod, and its progress deadline passes": Broken(lambda: rollout(
        pod_steps([(0.06, PLACED)]), late(20.5), end=150), "ProgressDeadlineExceeded", "timed out", 145),
    "progress deadline of 20 s": Broken(_recorded("deadline20"), "ProgressDeadlineExceeded", "timed out", 22),
    "StatefulSet: image missing, first": _pull("sts-new-badimg", "not found", 20),
    "StatefulSet: image missing": _pull("sts-upg-badimg", "not found", 22),
    "StatefulSet: crash": _crash("sts-upg-crash", 23),
    "DaemonSet: image missing": _pull("ds-badimg-surge", "not found", 20),
    "DaemonSet: crash": _crash("ds-crash", 23),
    "Job: exit 3": Broken(_recorded("job-fail0"), "JobFailed", "ended with exit code 3", 9, start=0.4),
    "Job: exit 3, three tries": Broken(_recorded("job-fail2"), "JobFailed", "backoff limit", 40, start=0.4),
    "Job: command not found": Broken(_recorded("job-nocmd"), "StartError", "/no/such", 5, start=0.4),
    "Job: image missing": _pull("job-badimg", "not found", 20),
    "Job: its deadline passes": Broken(_recorded("job-hang-ads"), "JobFailed", "longer than specified", 15, start=0.4),
    "Job: quota": Broken(_recorded("job-quota"), "Quota", "exceeded quota", 25, start=0.4),
}  # fmt: skip

# Only the caller's own time limit ends these: they look like a slow rollout to the end.
UNDECIDED = ("badtag-behind-slowpull-behind-hung-registry", "h-slowpull-behind-hung-registry", "hangreg", "hangreg2",
             "inithang", "job-hang", "readynever", "sts-upg-notready")  # fmt: skip

PATIENT = {"containers": [{"name": "web", "startupProbe": {"periodSeconds": 2, "failureThreshold": 30}}]}
AWAY = 'failed calling webhook "policy.test": context deadline exceeded'


def _scaled() -> Tape:
    """Two replicas become four in the middle of it, and the old ReplicaSet grows, too."""
    return rollout(
        pod_steps([(2.0, READY)]), deployment(3.0, gen=3, want=4), deployment(3.1, gen=3, obs=3, want=4, replicas=6),
        replicaset(3.1, replicas=3, ready=1), second_pod(5.0), pod_steps([(3.2, CREATING), (6.0, READY)], "web-2-c"),
        pod_steps([(4.0, CREATING), (7.0, READY)], "web-2-d"), replicaset(8.0, replicas=4, ready=4),
        deployment(8.0, gen=3, obs=3, want=4, replicas=4, updated=4, available=4), end=20)  # fmt: skip


def _paused(updated: int) -> Tape:
    """A Deployment that rolls nothing out; one of its pods crashes to second 30. Where it is of another template, it
    ends once more."""
    crashes = pod(container("CrashLoopBackOff", rc=7, last=("Error", 1)), owner="ReplicaSet/web-1", hash="1")
    ended = pod(container(rc=8, ended=("Error", 1), last=("Error", 1)), owner="ReplicaSet/web-1", hash="1")
    halted = deployment(-0.5, rev="1", replicas=2, updated=updated, available=1, paused=True)
    mended = deployment(30.0, rev="1", replicas=2, updated=updated, paused=True)
    between = [(-0.5, crashes), (20.0, ended)] if updated == 0 else [(-0.5, crashes)]
    up = {**READY, "owner": "ReplicaSet/web-1", "hash": "1"}
    return rollout(pod_steps([*between, (30.0, up)], "web-1-a"), halted, mended, begins=False)


def _ordinal(name: str, *steps: tuple[float, dict[str, object]]) -> list[Line]:
    """A pod of the StatefulSet."""
    return pod_steps([(t, {**state, "owner": "StatefulSet/db"}) for t, state in steps], name)


def _short(*seconds: float) -> Tape:
    """A StatefulSet's second pod, refused at these seconds."""
    refusals = [event(t, "FailedCreate", FULL, on="StatefulSet/db", count=n) for n, t in enumerate(seconds, 1)]
    return alone(statefulset(0.0, replicas=0, ready=0, updated=0), _ordinal("db-0", (0.5, CREATING), (2.0, READY)),
                 statefulset(0.5, replicas=1, ready=0, updated=1), refusals)  # fmt: skip


def _refused_once(text: str) -> Tape:
    """A StatefulSet's first pod, refused once, and slow to start when it comes."""
    return alone(
        statefulset(0.0, replicas=0, ready=0, updated=0), event(1.5, "FailedCreate", text, on="StatefulSet/db"),
        _ordinal("db-0", (2.0, CREATING), (3.0, RUNS), (64.0, READY)), statefulset(2.1, replicas=1, ready=0, updated=1),
        _ordinal("db-1", (64.2, CREATING), (66.0, READY)), statefulset(64.3, ready=1), statefulset(66.1), end=70,
    )  # fmt: skip


def _drained() -> Tape:
    """The node of a new pod is drained: it is evicted, and the next one waits until a node can be used again."""
    evicted = {"PodScheduled": "True", "Ready": "False/PodFailed: …",
               "DisruptionTarget": "True/EvictionByEvictionAPI: Eviction API: evicting"}  # fmt: skip
    ended = pod(container(ended=("Error", 137)), phase="Failed", deleting=True, cond=evicted)
    drained = unscheduled("0/2 nodes are available: 2 node(s) were unschedulable.")
    return rollout(pod_steps([(1.5, READY), (4.0, {**READY, "deleting": True}), (6.0, ended), (6.2, None)]),
                   pod_steps([(4.1, drained), (58.0, CREATING), (60.0, READY)], "web-2-c"), second_pod(62.0),
                   done=62.1, end=70)  # fmt: skip


def _flapping() -> Tape:
    up, down = READY, pod(container())
    flaps = [(t, up if n % 2 == 0 else down) for n, t in enumerate((1.5, 9.2, 11.3, 15.0, 17.1, 21.0, 34.7))]
    back = [deployment(9.3, replicas=2, updated=2, available=0), deployment(34.7, replicas=2, updated=2)]
    return rollout(pod_steps(flaps), second_pod(4.0), deployment(6.5, replicas=2, updated=2), *back, done=34.8)


def _redeployed() -> Tape:
    """Only a ConfigMap has changed: the pods are those of before, one with a past, which dies once more meanwhile."""
    past = {"owner": f"ReplicaSet/{'web-2'}"}
    seven = pod(container(rc=7, ready=True, last=("Error", 137)), **past)
    dies = pod(container(rc=7, ended=("Error", 1), last=("Error", 137)), **past)
    again = pod(container(rc=8, ready=True, last=("Error", 1)), **past)
    kills = event(-0.9, "Killing", "Container web failed liveness probe, will be restarted", count=7)
    lines = [replicaset(-1.0, replicas=2, ready=2), deployment(-0.9, replicas=2, updated=2),
             *pod_steps([(-1.0, seven), (6.0, dies), (8.0, again)])]  # fmt: skip
    return rollout(lines, kills, second_pod(-0.5), begins=False)


HARMLESS: Mapping[str, Harmless] = {
    "nothing at all": Harmless(_recorded("h-plain")),
    "nothing at all, by Helm 3": Harmless(_recorded("helm-h3-ok")),
    "nothing at all, by Helm 4": Harmless(_recorded("helm-h4-ok")),
    "API server restarted": Harmless(_recorded("h-apiserver")),
    "ConfigMap comes late": Harmless(_recorded("h-cmlate"), _from(8.0, "ConfigMap")),
    "Secret of a volume comes late": Harmless(lambda: rollout(
        event(2.7, "FailedMount", 'MountVolume.SetUp failed for volume "s" : secret "late" not found', count=3),
        pod_steps([(24.0, READY)]), second_pod(26.0), done=26.1), _from(18.0, "Secret")),
    "node cordoned for 15 s": Harmless(_recorded("h-cordon")),
    "node drained for a minute": Harmless(lambda: rollout(
        pod_steps([(0.1, unscheduled("0/2 nodes are available: 2 node(s) were unschedulable.")), (60.0, CREATING),
                   (62.0, READY)]), second_pod(64.0), done=64.1, end=70)),
    "every node not ready after an API server that was away": Harmless(lambda: rollout(
        pod_steps([(0.1, unscheduled(TAINTED)), (57.0, CREATING), (59.0, READY)]), second_pod(61.0), done=61.1,
        end=70)),
    "kubelets hear late of new pods, past the progress deadline": Harmless(lambda: rollout(
        pod_steps([(0.06, PLACED), (55.0, CREATING), (57.0, READY)]), late(30.0), second_pod(59.0), done=59.1, end=70)),
    "the nodes are not heard of, past the progress deadline": Harmless(lambda: rollout(
        pod_steps([(1.0, RUNS), (56.0, READY)]), pod_steps([(20.0, UNHEARD), (55.0, None)], "web-1-a"),
        replicaset(20.0, name="web-1", rev="1", ready=1), deployment(20.0, available=1), late(30.0, available=1),
        second_pod(58.0), done=58.1, end=70)),
    "what is ready is counted late, past the progress deadline": Harmless(lambda: rollout(
        pod_steps([(8.0, READY)]), late(30.0), replicaset(52.0, ready=1), second_pod(55.0), done=55.1, end=70)),
    "what is counted is acted on late, past the progress deadline": Harmless(lambda: rollout(
        pod_steps([(8.0, READY)]), replicaset(8.1, ready=1), late(30.0), second_pod(55.0), done=55.1, end=70)),
    "autoscaler adds a node": Harmless(lambda: rollout(
        pod_steps([(0.1, unscheduled(CPU)), (95.0, CREATING), (99.0, READY)]),
        event(9.0, "TriggeredScaleUp", "pod triggered scale-up: [{pool 3->4 (max: 9)}]", on="Pod/web-2-a"),
        second_pod(101.0), done=101.1, end=110)),
    "Karpenter adds a node": Harmless(lambda: rollout(
        pod_steps([(0.1, unscheduled(CPU)), (95.0, CREATING), (99.0, READY)]),
        event(9.0, "Nominated", "Pod should schedule on: nodeclaim/default-2hfk8", on="Pod/web-2-a"),
        second_pod(101.0), done=101.1, end=110)),
    "the old pod has the port until it is gone": Harmless(lambda: rollout(
        leaving((0.05, 45.0)), pod_steps([(0.1, unscheduled(PORTS)), (46.0, CREATING), (48.0, READY)]),
        second_pod(50.0), done=50.1)),
    "old pods have the nodes, one after the other": Harmless(lambda: rollout(
        leaving((0.05, 40.0)), leaving((42.0, 80.0), name="web-1-b"),
        pod_steps([(0.1, unscheduled(CPU)), (41.0, CREATING), (42.0, READY)]),
        pod_steps([(42.1, unscheduled(CPU)), (81.0, CREATING), (82.0, READY)], "web-2-b"), done=82.1, end=90)),
    "the old pod has the quota, and the next try is late": Harmless(lambda: rollout(
        leaving((0.05, 45.0)), replicaset(0.1, replicas=0, refused=FULL), replicaset(82.0, replicas=1),
        pod_steps([(82.0, CREATING), (84.0, READY)], "web-2-c"), second_pod(86.0), done=86.1, end=90)),
    "StatefulSet: quota exceeded once, slow start": Harmless(lambda: _refused_once(FULL)),
    "StatefulSet: webhook times out once, slow start": Harmless(lambda: _refused_once(AWAY)),
    "a new pod's node is drained": Harmless(_drained),
    "paused, and its template is as it was": Harmless(lambda: _paused(updated=2)),
    "claim is bound after 12 s": Harmless(lambda: rollout(
        pod_steps([(0.1, unscheduled("pod has unbound immediate PersistentVolumeClaims.")), (12.0, CREATING),
                   (14.0, READY)]), second_pod(16.0), done=16.1)),
    "a new pod deleted, an old one evicted": Harmless(_recorded("h-delpod")),
    "a new pod evicted": Harmless(lambda: rollout(
        pod_steps([(1.5, READY), (3.0, pod(container(ended=("Error", 137)), phase="Failed", why="Evicted"))]),
        pod_steps([(3.2, CREATING), (5.0, READY)], "web-2-c"), second_pod(7.0), done=7.1)),
    "Job": Harmless(_recorded("h-job-ok"), start=0.4),
    "Job with a second try": Harmless(_recorded("h-job-retry"), start=0.4),
    "kubelet restarted, slow start": Harmless(_recorded("h-kubelet3-slow30")),
    "kubelet away for 65 s": Harmless(_recorded("h-kubelet60")),
    "old version crash-looping": Harmless(_recorded("h-oldcrash")),
    "pods of the same version with a past": Harmless(_redeployed),
    "first pull fails": Harmless(_recorded("h-pull1")),
    "two pulls fail": Harmless(_recorded("h-pull3")),
    "first pull of each pod: not found yet": Harmless(lambda: rollout(
        pulled(0.4, 1, NOT_FOUND), pod_steps([(0.9, waits("ErrImagePull", NOT_FOUND)), (15.0, READY)]),
        pod_steps([(15.2, CREATING), (15.9, waits("ErrImagePull", NOT_FOUND)), (30.0, READY)], "web-2-b"),
        event(15.5, "Failed", f'Failed to pull image "x/y:2": {NOT_FOUND}', on="Pod/web-2-b#spec.containers{web}"),
        done=30.1)),
    "one pod's pulls fail, others get theirs": Harmless(lambda: rollout(
        *[pulled(t, n, BROKEN_503) for n, t in enumerate((0.5, 13.7, 41.7, 91.7), 1)],
        pod_steps([(0.9, waits("ErrImagePull", BROKEN_503)), (110.0, READY)]),
        event(60.0, "Pulled", 'Successfully pulled image "registry.test/lab/web:2" in 1s', on="Pod/web-2-b"),
        second_pod(61.0), done=110.1, end=120)),
    "slow pull": Harmless(_recorded("h-slowpull")),
    "slow start": Harmless(_recorded("h-slowstart")),
    "quota lifted late": Harmless(_recorded("h-quotalate")),
    "three crashes in the startup probe's allowance": Harmless(lambda: _with_specs("h-restart3", PATIENT)),
    "one restart": Harmless(lambda: rollout(pod_steps([*ends(6.0), (7.0, pod(container(rc=1, last=("Error", 1)))),
                                                       (9.0, pod(container(rc=1, ready=True, last=("Error", 1))))]),
                                            second_pod(11.0), done=11.1)),
    "one kill for memory": Harmless(lambda: rollout(pod_steps([
        *ends(1.0, why=("OOMKilled", 137)), (3.0, pod(container(rc=1, ready=True, last=("OOMKilled", 137))))]),
        second_pod(5.0), done=5.1)),
    "one kill by liveness": Harmless(lambda: rollout(
        pod_steps([(1.5, READY), (12.0, pod(container(rc=1, ready=True, last=("Error", 137))))]),
        event(9.0, "Killing", "Container web failed liveness probe, will be restarted"), second_pod(3.0), done=3.1)),
    "runtime in trouble once": Harmless(lambda: rollout(pod_steps([
        (0.8, pod(container(ended=("StartError", 128), message=CGROUP))),
        (2.0, pod(container(rc=1, ready=True, last=("StartError", 128))))]), second_pod(4.0), done=4.1)),
    "a mount fails once, for want of a file": Harmless(lambda: rollout(pod_steps([
        (0.8, pod(container(ended=("StartError", 128), message=NO_MOUNT))),
        (2.0, pod(container(rc=1, ready=True, last=("StartError", 128))))]), second_pod(4.0), done=4.1)),
    "webhook times out once": Harmless(lambda: rollout(
        replicaset(0.04, replicas=0, refused=AWAY), replicaset(10.5, replicas=1), pod_steps([(12.0, READY)]),
        second_pod(14.0), done=14.1)),
    "volume's cache is late": Harmless(lambda: rollout(
        event(3.7, "FailedMount", 'MountVolume.SetUp failed for volume "kube-api-access-x" : failed to sync configmap '
              "cache: timed out waiting for the condition"), pod_steps([(30.0, READY)]), second_pod(32.0), done=32.1)),
    "variables' cache is late": Harmless(lambda: rollout(pod_steps([
        (0.9, waits("CreateContainerConfigError", "failed to sync configmap cache: timed out waiting for the condition")),
        (40.0, READY)]), second_pod(42.0), done=42.1)),
    "API server away while a pod waits for a node": Harmless(lambda: _away(rollout(
        pod_steps([(0.1, unscheduled(CPU)), (62.0, CREATING), (64.0, READY)]), second_pod(66.0), done=66.1, end=75),
        10.0, 50.0)),
    "scaled in the middle": Harmless(_scaled),
    "readiness flaps": Harmless(_flapping),
}  # fmt: skip


# Complete, and nothing that runs the image was seen: no data is never a pass.
NOTHING_SEEN: Mapping[str, Callable[[], Tape]] = {
    "nothing that is watched": lambda: Tape((), (), 5.0),
    "StatefulSet: OnDelete": lambda: alone(statefulset(0.0, updated=0, strategy={"type": "OnDelete"}, image=IMAGE), end=5),
    "StatefulSet: partition of all": lambda: alone(
        statefulset(0.0, updated=0, strategy={"rollingUpdate": {"partition": 2}}, image=IMAGE), end=5),
    "DaemonSet: no node is its own": lambda: alone(daemonset(0.0, 0, image=IMAGE), end=5),
}  # fmt: skip
# Complete, and by what was seen, or because nothing shall run.
SEEN: Mapping[str, Callable[[], Tape]] = {
    "Deployment": lambda: alone(deployment(0.0, replicas=2, updated=2, image=IMAGE), replicaset(0.0, ready=2), end=5),
    "Deployment: no replicas": lambda: alone(
        deployment(0.0, want=0, replicas=0, updated=0, available=0, image=IMAGE), end=5),
    "StatefulSet: partition of one": lambda: alone(
        statefulset(0.0, updated=1, strategy={"rollingUpdate": {"partition": 1}}, image=IMAGE), end=5),
    "DaemonSet": lambda: alone(daemonset(0.0, 3, image=IMAGE), end=5),
    "Job": lambda: alone(job(0.0, cond={"Complete": "True"}, image=IMAGE), end=5),
    "Job: suspended": lambda: alone(job(0.0, spec={"suspend": True}, image=IMAGE), end=5),
    "Job: gone once it had ended": lambda: alone(
        job(0.0, cond={"Complete": "True"}, image=IMAGE), {**job(3.0), "e": "DELETED"}, end=5),
}  # fmt: skip


def _with_specs(name: str, specs: dict[str, object]) -> Tape:
    import json

    from tests.traces.replay import RECORDED

    with (RECORDED / f"{name}.jsonl").open(encoding="utf-8") as file:
        return tape((json.loads(line) for line in file), specs)


def _away(made: Tape, begin: float, end: float) -> Tape:
    return Tape(made.workloads, made.changes, made.end, ((begin, end),))
