"""Verdicts on a real cluster: what cannot come up is called in time and by its cause, and harmless trouble is not.

Seconds are counted from the moment at which the cluster had the workload, seen from outside, to the verdict with its
evidence saved. Each bound is the rule's own, with some more for a machine that does other things, too; `pytest -rP`
shows the seconds of each. Most cases are a first deploy, so that nothing but the verdict is waited for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from subprocess import CalledProcessError
from typing import Any

import pytest
from charts import GREEDY, KEPT, LIMITS, MOUNT, READINESS, SERVE, prepare, python, server, through, write_chart
from deployments import CRASH, Deployment, Ran

from cdlib.rollout.kubeconfig import read_cluster
from lab.observer import Observer
from lab.testing import RunningLab

# Seconds. The same kind takes 1 to 3 s more on a busy node, as one is where other tests run beside; of what is recorded,
# an init container that fails at once is the nearest to its bound, with 18.8 s of 20.
SLACK = 3.0
CRASH_LATER = "import time; time.sleep(5); raise SystemExit(4)"
# What the shell does before it becomes the chart's own program.
RESTART_ONCE = 'test -e /kept/once || { touch /kept/once; exit 1; }; exec python3 -u -c "$0"'
START_SLOWLY = 'sleep 12; exec python3 -u -c "$0"'


@dataclass(frozen=True)
class Case:
    """A chart, what else is there, and the verdict: its words, and the second by which it falls."""

    containers: tuple[dict[str, Any], ...]
    says: str
    within: float
    pod: dict[str, Any]
    kind: str = "Deployment"
    soak: str = ""
    before: tuple[str, ...] = ()  # a manifest that the namespace has first


def case(*containers: dict[str, Any], says: str, within: float, kind: str = "Deployment", soak: str = "",
         before: tuple[str, ...] = (), **pod: Any) -> Case:  # fmt: skip
    return Case(containers or (server(),), says, within, pod, kind, soak, before)


def variable(source: str, name: str, key: str) -> list[dict[str, Any]]:
    return [{"name": "X", "valueFrom": {source: {"name": name, "key": key}}}]


QUOTA = '{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}'
FAILING = {"exec": {"command": ["false"]}, "periodSeconds": 1}

CASES = {
    "image missing": case(server(), {"name": "other", "image": "localhost:5000/lab/nothing:1"},
                          says="container other: its image cannot be pulled (tried 2 times)", within=20),
    "image name invalid": case(server(), {"name": "other", "image": "lab/NoSuch:1"}, says="no valid name", within=5),
    "command missing": case(python("") | {"command": ["/no/such"]}, says="cannot be started", within=5),
    "runs as root": case(server(securityContext={"runAsNonRoot": True}), says="runAsNonRoot", within=5),
    "root by its user, and may not": case(server(securityContext={"runAsNonRoot": True, "runAsUser": 0}),
                                          says="breaks non-root policy", within=5),
    "ConfigMap missing": case(python(SERVE) | {"env": variable("configMapKeyRef", "gone", "a")},
                              says="the ConfigMap gone does not exist", within=30),
    "key missing": case(python(SERVE) | {"env": variable("configMapKeyRef", "kube-root-ca.crt", "gone")},
                        says="the ConfigMap kube-root-ca.crt has no key gone", within=30),
    "Secret of a volume missing": case(server(volumeMounts=[{"name": "v", "mountPath": "/v"}]), says="the Secret gone does not exist", within=30,
                                       volumes=[{"name": "v", "secret": {"secretName": "gone"}}]),
    "crash at once": case(python(CRASH), says="ended 3 times, the last time with exit code 3", within=20),
    "crash after 5 s": case(python(CRASH_LATER), says="ended 3 times, the last time with exit code 4", within=35),
    "out of memory": case(python(GREEDY, resources={"limits": {"memory": "24Mi"}}),
                          says="killed 2 times for using more memory", within=5),
    "sidecar dies before it could be complete for long": case(
        server(), python("import time; time.sleep(3); raise SystemExit(1)", "side"),
        says="container side: ended 3 times", within=35),
    "init container fails": case(initContainers=[python("raise SystemExit(7)", "prepare")],
                                 says="container prepare: ended 3 times, the last time with exit code 7", within=20),
    "startup probe fails": case(server(startupProbe={**FAILING, "failureThreshold": 3}),
                                says="its startup probe failed to the end", within=25),
    "postStart hook fails": case(server(lifecycle={"postStart": {"exec": {"command": ["false"]}}}),
                                 says="its postStart hook failed 2 times", within=10),
    "liveness fails after it was complete": case(server(livenessProbe={**FAILING, "failureThreshold": 2}), soak="35s",
                                                 says="killed 3 times because its liveness probe failed", within=35),
    "sidecar dies after it was complete": case(
        soak="35s", says="container side: ended 3 times", within=35,
        initContainers=[python("import time; time.sleep(3); raise SystemExit(1)", "side", restartPolicy="Always")]),
    "quota": case(says="exceeded quota: q", within=25, before=("apply", QUOTA)),
    "LimitRange": case(server(resources={"limits": {"cpu": "1"}}), says="maximum cpu usage", within=5,
                       before=("apply", LIMITS)),
    "PodSecurity": case(says="violates PodSecurity", within=5,
                        before=("label", "pod-security.kubernetes.io/enforce=restricted")),
    "ServiceAccount missing": case(says="the ServiceAccount ghost does not exist", within=8, serviceAccountName="ghost"),
    "no such node": case(says="fits on no node", within=35, nodeSelector={"no": "such"}),
    "claim missing": case(says="the PersistentVolumeClaim gone does not exist", within=35,
                          volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "gone"}}]),
    "StatefulSet": case(python("") | {"command": ["/no/such"]}, says="pod web-0, container web: cannot be started",
                        within=5, kind="StatefulSet"),
    "DaemonSet": case(python(CRASH), says="ended 3 times", within=20, kind="DaemonSet"),
}  # fmt: skip


def deploy_broken(service: Deployment, case: Case, lab: RunningLab) -> tuple[Ran, float]:
    """Deploy the case's chart; returns how that ended, and the seconds from the apply to the verdict."""
    prepare(service, case.before)
    service.cd["deploy"]["verify"] = {"soak": case.soak} if case.soak else {}
    write_chart(service, *case.containers, kind=case.kind, **case.pod)
    service.commit()
    place = f"/apis/apps/v1/namespaces/{service.namespace}/{case.kind.lower()}s"
    with Observer(read_cluster(lab.kubeconfig, None), place) as observer:
        failed = service.deploy()
    assert failed.code == 8, failed.err  # it was the first, so there is nothing to go back to
    judged = next(event["t"] for event in service.events() if event["event"] == "verdict")
    return failed, datetime.fromisoformat(judged).timestamp() - observer.seen[0].at


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_come_up_is_called_in_time_and_by_its_cause(name: str, web: Deployment, lab: RunningLab) -> None:
    case = CASES[name]
    failed, seconds = deploy_broken(web, case, lab)
    assert case.says in failed.result["cause"], failed.err
    took = f"{name}: {seconds:.1f} s from the apply to the verdict, of {case.within:g} and {SLACK:g} for a busy machine"
    print(took)
    assert 0 < seconds <= case.within + SLACK, f"{took}\n{failed.err}"
    kept = json.loads((web.folder / ".cd" / "evidence" / "verdict.json").read_text(encoding="utf-8"))
    assert kept["faults"][0]["message"] in failed.result["cause"]


def later(seconds: float, act: Callable[[], object]) -> threading.Thread:
    """Do something in some seconds."""

    def run() -> None:
        time.sleep(seconds)
        with suppress(CalledProcessError):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


HARMLESS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one restart": (through(RESTART_ONCE, volumeMounts=MOUNT), {"volumes": KEPT}),
    "slow start in the startup probe's allowance": (
        through(START_SLOWLY, startupProbe={**READINESS, "failureThreshold": 40}), {}),
    "slow init container": (server(), {"initContainers": [python("import time; time.sleep(12)", "prepare")]}),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_trouble_ends_no_rollout(name: str, request: pytest.FixtureRequest) -> None:
    web: Deployment = request.getfixturevalue("web")
    container, pod = HARMLESS[name]
    web.cd["deploy"]["verify"] = {"soak": "3s"}
    write_chart(web, container, **pod)
    web.commit()
    done = web.deploy()
    assert done.code == 0, done.err


def test_a_config_map_that_comes_late_ends_no_rollout(web: Deployment) -> None:
    # The second container is all that needs it.
    waits = python("import time; time.sleep(600)", "waits") | {"env": variable("configMapKeyRef", "late", "a")}
    write_chart(web, server(), waits)
    web.commit()
    making = later(8.0, lambda: web.kubectl("create", "configmap", "late", "--from-literal=a=1"))
    done = web.deploy()
    making.join()
    assert done.code == 0, done.err


def test_a_failure_beside_a_good_version_goes_back_and_shows_why(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    write_chart(web, python("print('password=hunter2222 was wrong'); raise SystemExit(5)", readinessProbe=READINESS))
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert web.serving()["revision"] == good
    shown = [line for line in failed.err.splitlines() if not line.startswith(("✓", "…", "  │"))][:20]
    assert any("ended 3 times, the last time with exit code 5" in line for line in shown), failed.err
    assert any("was wrong" in line for line in shown), failed.err
    files = list((web.folder / ".cd" / "evidence").glob("*.json"))
    assert len(files) == 2
    assert "hunter2222" not in "".join(file.read_text(encoding="utf-8") for file in files) + failed.err
