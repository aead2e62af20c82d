"""Going back on a real cluster: to what can still be pulled, past what is stuck, and to the very template."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from deployments import CRASH, Deployment, until
from test_verdicts import server, write_chart

GONE = "sha256:" + "0" * 64


def removed_from_the_registry(web: Deployment, *revisions: int) -> None:
    """Make the record name an image, for these revisions, that the registry does not have: as one that was removed."""
    found = web.get("configmap", "cd-web")
    record = json.loads(found["data"]["record.json"])
    for entry in record["revisions"]:
        if entry["revision"] in revisions:
            entry["image"] = f"{web.image}@{GONE}"
    patch = {"data": {"record.json": json.dumps(record)}}
    web.kubectl("patch", "configmap", "cd-web", "--type=merge", "-p", json.dumps(patch))


@pytest.fixture
def three(web: Deployment) -> Deployment:
    """A release with three good revisions."""
    for text in ("one", "two", "three"):
        web.commit(text=text)
        done = web.deploy()
        assert done.code == 0, done.err
    return web


def test_an_automatic_rollback_passes_over_an_image_that_is_gone(three: Deployment) -> None:
    removed_from_the_registry(three, 3)
    three.commit(program=CRASH)
    failed = three.deploy()
    assert failed.code == 7, failed.err
    assert failed.result["rolled_back_to"] == 2
    assert "revision 3 cannot be gone back to" in failed.err
    assert three.serving()["text"] == "two"


def test_where_no_image_is_left_a_person_is_needed_and_told_why(web: Deployment) -> None:
    assert web.deploy().code == 0
    removed_from_the_registry(web, 1)
    web.commit(program=CRASH)
    failed = web.deploy()
    assert failed.code == 8, failed.err
    assert "the images of all verified revisions are gone" in failed.result["error"]["message"]
    assert web.helm_statuses() == [(1, "superseded"), (2, "deployed")]


def test_a_rollback_by_hand_passes_over_it_or_refuses_it_before_anything_is_written(three: Deployment) -> None:
    removed_from_the_registry(three, 2)
    before = three.helm_statuses(), three.record()
    refused = three.run("helm-rollback", "--to", "2")
    assert refused.code == 5, refused.err
    assert "publish commit" in refused.result["error"]["hint"]
    assert (three.helm_statuses(), three.record()) == before
    back = three.run("helm-rollback")
    assert back.code == 0, back.err
    assert back.result["rolled_back_to"] == 1


def test_a_registry_that_is_away_keeps_nobody_from_going_back(three: Deployment) -> None:
    nobody = "localhost:9/lab/python"  # the port of `discard`, on which nothing listens
    text = three.get("configmap", "cd-web")["data"]["record.json"].replace(three.image, nobody)
    three.kubectl("patch", "configmap", "cd-web", "--type=merge", "-p", json.dumps({"data": {"record.json": text}}))
    back = three.run("helm-rollback", "--to", "2")
    assert back.code == 0, back.err
    assert "cannot be asked, and is believed" in back.err
    assert three.serving()["text"] == "two"


def test_an_image_that_the_registry_does_not_have_is_refused_before_anything_is_written(web: Deployment) -> None:
    refused = web.deploy(digest=GONE)
    assert refused.code == 5, refused.err
    assert web.get("all,secrets,leases")["items"] == []
    assert "cd-web" not in web.kubectl("get", "configmaps")


@pytest.fixture(params=["helm 3", "helm 4"])
def any_helm(request: pytest.FixtureRequest, web: Deployment, lab: Any) -> Deployment:
    """The service, deployed by each of both Helms in turn."""
    program = lab.helm3 if request.param == "helm 3" else lab.helm4
    web.env = {**web.env, "CD_HELM": str(program)}
    return web


def replica_sets(web: Deployment) -> set[str]:
    """The ReplicaSets that the release's pods are of."""
    pods = [p for p in web.get("pods", "-l", "app=web")["items"] if "deletionTimestamp" not in p["metadata"]]
    return {str(p["metadata"]["ownerReferences"][0]["name"]) for p in pods}


def test_the_very_template_comes_back_whatever_others_have_added(any_helm: Deployment) -> None:
    web = any_helm
    assert web.deploy().code == 0
    before = replica_sets(web)
    web.commit(text="two")
    assert web.deploy().code == 0
    web.kubectl("set", "env", "deployment/web", "ADDED=by hand")
    web.kubectl("set", "env", "deployment/web", "TEXT=by hand")
    web.kubectl("rollout", "status", "deployment/web")
    back = web.run("helm-rollback", "--to", "1")
    assert back.code == 0, back.err
    until(lambda: replica_sets(web) == before)
    assert "runs its former template again" in back.err
    env = web.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "ADDED" not in {variable["name"] for variable in env}
    web.run("cd-hold", "--lift")
    web.commit(text="three")
    assert web.deploy().code == 0, "what was put back is no conflict for the next deploy"
    assert web.serving()["text"] == "three"


def a_stateful_set(web: Deployment, **values: str) -> str:
    """Commit a chart of one StatefulSet, whose pods start in order."""
    write_chart(web, server(), kind="StatefulSet")
    return web.commit(**values)


@pytest.fixture
def stuck(web: Deployment) -> tuple[Deployment, str]:
    """A StatefulSet with a good revision, whose commit this is, and a newer commit whose pod never becomes ready."""
    good = a_stateful_set(web)
    done = web.deploy()
    assert done.code == 0, done.err
    a_stateful_set(web, program=CRASH)
    return web, good


def test_a_stateful_set_that_is_stuck_is_freed_where_that_is_allowed(stuck: tuple[Deployment, str]) -> None:
    web, good = stuck
    web.targets["environments"]["test"]["delete_stuck_pods"] = True
    web.write_targets()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert "the pod web-0 of the earlier revision never became ready" in failed.err
    assert web.record()["revisions"][-1]["status"] == "verified"
    assert "StatefulSet web runs its former template again" in failed.err
    assert web.serving()["revision"] == good


def test_without_permission_the_command_to_type_is_told_and_helps(stuck: tuple[Deployment, str]) -> None:
    web, good = stuck
    failed = web.deploy()
    assert failed.code == 8, failed.err
    line = f"kubectl -n {web.namespace} delete pod web-0"
    assert line in failed.result["error"]["message"]
    subprocess.run(line.split(), env=dict(web.env), check=True, capture_output=True)
    until(lambda: web.serving()["revision"] == good)
    back = web.run("helm-rollback", "--to", "1")
    assert back.code == 0, back.err


def test_a_mended_commit_gets_past_a_pod_that_is_stuck(web: Deployment) -> None:
    a_stateful_set(web, program=CRASH)
    assert web.deploy().code == 8
    web.targets["environments"]["test"]["delete_stuck_pods"] = True
    commit = a_stateful_set(web)
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
