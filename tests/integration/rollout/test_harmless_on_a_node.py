"""Trouble in the middle of a rollout that ends no rollout, made on a real node: each is seen to have come.

What concerns the whole node, a cordon and a kubelet that crashes, is in tests/soak/test_rollout_node.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from subprocess import CalledProcessError
from typing import Any

from amid import HELD, containers, deploy_amid, ends, let_go, name_of, pods_of, ready, running, serves
from charts import KEPT, MOUNT, python, server, through, write_chart
from deployments import BASE, HANG, Deployment, until

from cdlib.deadline import Deadline
from cdlib.image.promote import promote, set_tag
from cdlib.reference import Reference
from cdlib.registry.repository import Registries
from cdlib.run import Run
from lab.testing import RunningLab

ALWAYS = {"exec": {"command": ["true"]}, "periodSeconds": 1}
# Well until somebody breaks it, and then in each start of it.
BREAKABLE = 'test -e /kept/broken && exit 1; exec python3 -u -c "$0"'
QUOTA_HOLDS = 3.0  # seconds


def waiting(pods: list[dict[str, Any]], *reasons: str) -> Iterator[str]:
    """The containers that wait for one of these reasons."""
    for status in (status for pod in pods for status in containers(pod)):
        if (status["state"].get("waiting") or {}).get("reason") in reasons:
            yield str(status["name"])


def publish(lab: RunningLab, digest: str, path: str, tag: str) -> None:
    """Put the image that a test's programs run in into another repository of the lab's registry."""
    registries = Registries(Run("test", Deadline(30.0)))
    base, late = (registries.repository(Reference(lab.registry, name)) for name in (BASE, path))
    manifest = base.manifest(digest)
    assert manifest
    promote(base, late, manifest)
    set_tag(late, tag, manifest)


def evict(web: Deployment, pod: str) -> None:
    """Have a pod evicted, as a drained node has."""
    where = f"/api/v1/namespaces/{web.namespace}/pods/{pod}/eviction"
    file = web.folder.parent / "eviction.json"
    about = {"name": pod, "namespace": web.namespace}
    file.write_text(json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}), encoding="utf-8")
    web.kubectl("create", "--raw", where, "-f", str(file))


def test_an_image_whose_first_pull_fails(web: Deployment, lab: RunningLab) -> None:
    path = f"t/late/{web.namespace}"
    late = python(HANG, "late", image=f"{lab.registry}/{path}:1", readinessProbe=ALWAYS)
    write_chart(web, server(), late)
    commit = web.commit()

    def pushed_late() -> None:
        until(lambda: [*waiting(pods_of(web, commit), "ErrImagePull", "ImagePullBackOff")] == ["late"])
        publish(lab, web.digest, path, "1")

    serves(web, deploy_amid(web, pushed_late), commit)


def test_a_new_pod_that_is_deleted_and_an_old_one_that_is_evicted(web: Deployment) -> None:
    before = web.commit(replicas=2)
    assert web.deploy().code == 0
    write_chart(web, through(HELD), workload={"replicas": 2})
    commit = web.commit()

    def both() -> None:
        (new,) = until(lambda: running(web, commit))
        old = ready(web, before)
        assert len(old) == 2 and not ready(web, commit)
        web.kubectl("delete", "pod", new, "--wait=false")
        evict(web, old[0])
        assert old[0] not in ready(web, before)
        until(lambda: {name_of(pod) for pod in pods_of(web, commit)} - {new})

    serves(web, deploy_amid(web, both, lambda: let_go(web, commit, 2)), commit, replicas=2)


def test_an_old_version_that_crash_loops_while_the_new_one_comes(web: Deployment) -> None:
    write_chart(web, through(BREAKABLE, volumeMounts=MOUNT), volumes=KEPT)
    before = web.commit()
    assert web.deploy().code == 0
    (old,) = ready(web, before)
    web.kubectl("exec", old, "--", "touch", "/kept/broken")
    with suppress(CalledProcessError):  # what is run in a container dies with it
        web.kubectl("exec", old, "--", "sh", "-c", "kill 1")
    write_chart(web, through(HELD))
    commit = web.commit()

    def crashes() -> None:
        until(lambda: running(web, commit))
        until(lambda: min(map(ends, pods_of(web, before))) >= 3)  # which is a failure where they are of the new one

    serves(web, deploy_amid(web, crashes, lambda: let_go(web, commit)), commit)


def test_scaling_in_the_middle(web: Deployment) -> None:
    before = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    # All of them at once, which is sooner than one after the other.
    write_chart(web, through(HELD), workload={"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}})
    commit = web.commit()

    def scaled() -> None:
        until(lambda: running(web, commit))
        assert not ready(web, commit)
        web.kubectl("scale", "deployment/web", "--replicas=3")
        until(lambda: len(pods_of(web, commit)) == 3)
        assert pods_of(web, before), "the old version is still there"

    serves(web, deploy_amid(web, scaled, lambda: let_go(web, commit, 3)), commit, replicas=3)


def test_a_quota_that_is_lifted_in_the_middle(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.kubectl("create", "quota", "full", "--hard=pods=1")
    until(lambda: web.get("resourcequota", "full")["status"]["used"]["pods"] == "1")
    commit = web.commit(text="two")

    def refused() -> bool:
        made = web.get("replicasets", "-l", "app=web")["items"]
        told = [c for each in made for c in each["status"].get("conditions") or []]
        return any(c["type"] == "ReplicaFailure" and "exceeded quota" in c["message"] for c in told)

    def lifted() -> None:
        until(refused)
        time.sleep(QUOTA_HOLDS)  # it is this that is tried
        assert not pods_of(web, commit)
        web.kubectl("delete", "quota", "full")

    serves(web, deploy_amid(web, lifted), commit)
