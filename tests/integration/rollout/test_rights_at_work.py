"""Least rights on a real cluster: everything works by the accounts that cd-rights makes, and nothing else does."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accounts import Accounts
from deployments import CRASH, Deployment, Ran, until
from reviewed import Reviewed

STRANGER = "registry.example.org/stranger"


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


@pytest.fixture
def reviewed(web: Deployment, tmp_path: Path) -> Reviewed:
    web.cd["deploy"]["verify"]["helm_test"] = True
    web.commit()
    return Reviewed.create(web, tmp_path, web.digest)


@pytest.fixture
def accounts(web: Deployment, reviewed: Reviewed, tmp_path: Path) -> Iterator[Accounts]:
    made = Accounts.create(web, tmp_path)
    yield made
    made.remove()


def pod(image: str, **more: Any) -> dict[str, Any]:
    container = {"name": "c", "image": image, "command": ["sleep", "600"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **more}}  # fmt: skip


def templated(kind: str, image: str) -> dict[str, Any]:
    """A workload of that kind whose pods run `image`."""
    labels = {"app": "p"}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": pod(image)["spec"]}
    if kind in ("Job", "CronJob"):
        template["spec"]["restartPolicy"] = "Never"
    spec: dict[str, Any] = {"template": template}
    if kind not in ("Job", "CronJob"):
        spec["selector"] = {"matchLabels": labels}
    if kind == "StatefulSet":
        spec["serviceName"] = "p"
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    group = "batch/v1" if kind in ("Job", "CronJob") else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "p"}, "spec": spec}


def test_everything_works_by_these_accounts(accounts: Accounts, reviewed: Reviewed) -> None:
    web = reviewed.web

    def ship(**values: Any) -> Ran:
        reviewed.change(**values)
        reviewed.attest()
        accounts.act_as("authorize")
        done(reviewed.authorize())
        accounts.act_as("deploy")
        return reviewed.deploy()

    hook, test = "print('migrated')", "print('tested')"
    done(ship(text="one", hook=hook, test=test))
    assert web.serving()["text"] == "one"
    assert done(reviewed.deploy()).result["outcome"] == "unchanged"
    web.kubectl("scale", "deployment", "web", "--replicas", "2")
    (row,) = done(web.run("cd-status", "--drift")).result["releases"]
    assert row["drift"] == ["Deployment web: spec.replicas is 2, the release says 1"]
    failed = ship(text="two", program=CRASH)
    assert failed.code == 7, failed.err
    assert web.serving()["text"] == "one" and "boom: no database" in web.evidence()
    foreign = ship(text="two", sidecar=STRANGER)
    assert foreign.code == 7 and "may run here" in foreign.err, foreign.err
    done(ship(text="three"))
    accounts.act_as("authorize")
    done(reviewed.authorize("--rollback", "--to", "1"))
    accounts.act_as("deploy")
    done(reviewed.rollback("--to", "1"))
    assert web.serving()["text"] == "one"
    assert done(web.run("cd-hold", "--lift")).result["hold"] is None
    accounts.act_as("status")
    (row,) = done(web.run("cd-status")).result["releases"]
    assert row["state"] == "verified" and row["commit"] == web.record()["revisions"][-1]["commit"]
    for who in ("authorize", "status"):
        accounts.act_as(who)
        assert web.run("cd-hold", "--set", "no").code == 77
        assert reviewed.deploy().code == 77
    assert web.record()["hold"] is None


@pytest.mark.parametrize(
    ("who", "argv"),
    [
        *((who, argv) for who in ("deploy", "authorize", "status") for argv in (
            "-n kube-system get secrets", "-n kube-system get configmaps", "get nodes", "get namespaces",
            "-n {accounts} get serviceaccounts", "-n {accounts} create token cd-deploy-test",
            "-n {here} create token default", "get clusterroles", "create clusterrole x --verb=get --resource=pods",
            "-n {here} create role x --verb=get --resource=pods",
            "-n {here} create rolebinding x --role=cd-deploy-test --serviceaccount={accounts}:cd-status-test",
            "create namespace {here}-x", "delete namespace {here}", "label namespace {here} a=b",
            "delete validatingadmissionpolicy cd-images-{here}", "-n {here} get roles",
            "-n kube-system get leases", "-n kube-system get pods", "get persistentvolumes",
        )),
        *((who, argv) for who in ("authorize", "status") for argv in (
            "-n {here} get secrets", "-n {here} get pods", "-n {here} create configmap x", "-n {here} delete configmaps --all",
            "-n {here} create deployment x --image=x",
        )),
        ("authorize", "-n {here} get configmaps"), ("authorize", "-n {here} get configmap kube-root-ca.crt"),
        ("authorize", "-n {here} get leases"),
        ("status", "-n {here} get configmap cd-web"), ("status", "get configmaps -A"),
        ("deploy", "-n {here} create quota x --hard=pods=1"), ("deploy", "-n {here} delete resourcequotas --all"),
        ("deploy", "get secrets -A"),
    ],
)  # fmt: skip
def test_nothing_else_does(forbidden: Accounts, who: str, argv: str) -> None:
    words = argv.format(here=forbidden.web.namespace, accounts=forbidden.namespace).split()
    ran = forbidden.kubectl(who, *words)
    assert ran.returncode != 0 and "forbidden" in ran.stderr.lower(), ran


@pytest.mark.parametrize("what", ["exec", "attach", "portforward", "proxy", "eviction"])
def test_nobody_gets_into_a_pod(forbidden: Accounts, what: str) -> None:
    for who in ("deploy", "authorize", "status"):
        ran = forbidden.kubectl(
            who, "-n", forbidden.web.namespace, "auth", "can-i", "create", "pods", "--subresource", what
        )
        assert ran.stdout.strip() == "no", ran


@pytest.fixture(scope="module")
def forbidden(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    """Accounts whose namespace has a pod, for what nobody may do there."""
    namespace = f"t-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("rights")
    lab.kubectl("create", "namespace", namespace)
    web = Deployment.create(folder, namespace, STRANGER, "", lab.env)
    lab.kubectl("-n", namespace, "create", "configmap", "cd-web")
    made = Accounts.create(web, folder)
    yield made
    made.remove()
    lab.kubectl("delete", "namespace", namespace, "--wait=false")


def test_only_the_services_images_run_there_by_digest(accounts: Accounts, reviewed: Reviewed) -> None:
    here = ("-n", reviewed.web.namespace)

    def create(o: dict[str, Any], who: str = "deploy") -> str:
        """What the API server says against it, as a dry run; empty where nothing."""
        ran = accounts.kubectl(who, *here, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(o))
        return ran.stderr if ran.returncode else ""

    repository, digest = reviewed.image, reviewed.digest
    good = f"{repository}@{digest}"
    until(lambda: "may run here" in create(pod(STRANGER)))  # a policy takes some seconds to be in force
    bad = [
        f"{repository}:latest", repository, f"{repository}:latest@{digest}", f"{STRANGER}@{digest}",
        f"{repository}x@{digest}", f"x/{good}", f"{repository}/x@{digest}", f"{good}0", f"{repository}@sha256:{'A' * 64}",
        f"{repository}@md5:{'0' * 64}",
    ]  # fmt: skip
    assert create(pod(good)) == ""
    assert [image for image in bad if "may run here" not in create(pod(image))] == []
    more = {"name": "m", "image": STRANGER}
    assert "may run here" in create(pod(good, initContainers=[more]))
    volume = pod(good, volumes=[{"name": "v", "image": {"reference": STRANGER}}])
    ran = accounts.kubectl(
        "deploy", *here, "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(volume)
    )
    if ran.returncode == 0:  # a server without the feature ImageVolume leaves it out
        assert all("image" not in each for each in json.loads(ran.stdout)["spec"]["volumes"])
    else:
        assert "may run here" in ran.stderr
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
        assert create(templated(kind, good)) == "", kind
        assert "may run here" in create(templated(kind, STRANGER)), kind
    with pytest.raises(subprocess.CalledProcessError):  # nor may an administrator
        reviewed.web.kubectl("run", "p", "--image", STRANGER)


def test_what_runs_cannot_be_changed_into_something_else(accounts: Accounts, reviewed: Reviewed) -> None:
    web = reviewed.web
    here = ("-n", web.namespace)
    until(lambda: _refused(accounts, *here, "run", "x", f"--image={STRANGER}", "--dry-run=server"))
    good = f"{reviewed.image}@{reviewed.digest}"
    web.kubectl("run", "p", f"--image={good}", "--command", "--", "sleep", "600")
    web.kubectl("label", "pod", "p", "a=b")
    assert _refused(accounts, *here, "set", "image", "pod/p", f"p={STRANGER}")
    with pytest.raises(subprocess.CalledProcessError):
        web.kubectl("debug", "p", f"--image={STRANGER}", "--container", "d")
    web.kubectl("delete", "pod", "p", "--now")


def test_what_was_there_before_the_policy_stays_and_can_be_deleted(web: Deployment, tmp_path: Path) -> None:
    good = f"{web.image}@{web.digest}"
    web.targets["services"]["web"]["image"] = STRANGER
    web.write_targets()
    web.kubectl("run", "p", f"--image={good}", "--command", "--", "sleep", "600")
    accounts = Accounts.create(web, tmp_path)
    try:
        here = ("-n", web.namespace)
        until(lambda: _refused(accounts, *here, "run", "x", f"--image={good}", "--dry-run=server"))
        web.kubectl("label", "pod", "p", "a=b")
        web.kubectl("delete", "pod", "p", "--now")
    finally:
        accounts.remove()


def test_others_run_beside_where_the_operators_say_so(web: Deployment, tmp_path: Path) -> None:
    accounts = Accounts.create(web, tmp_path, STRANGER)
    try:
        here = ("-n", web.namespace)
        until(lambda: _refused(accounts, *here, "run", "x", f"--image={STRANGER}", "--dry-run=server"))
        digest = f"--image={STRANGER}@{web.digest}"
        assert accounts.kubectl("deploy", *here, "run", "x", digest, "--dry-run=server").returncode == 0
    finally:
        accounts.remove()


def _refused(accounts: Accounts, *argv: str) -> bool:
    ran = accounts.kubectl("deploy", *argv)
    return ran.returncode != 0 and "may run here" in ran.stderr
