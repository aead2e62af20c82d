"""cd-status on a real cluster: a rollout from its beginning to its end, a run that died, drift, rights, and numbers."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import HANG, Deployment, kill_hard, until
from planted import plant

from cdlib.rollout.api import Api, path
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import Records
from cdlib.run import Deadline


def row(web: Deployment, *argv: str) -> dict[str, Any]:
    """What cd-status says of the service."""
    done = web.run("cd-status", *argv)
    assert done.code == 0, done.err
    (found,) = done.result["releases"]
    return found  # type: ignore[no-any-return]


@contextmanager
def hanging_deploy(web: Deployment) -> Iterator[subprocess.Popen[str]]:
    """A deploy whose hook never ends."""
    web.commit(hook=HANG)
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    yield process
    if process.poll() is None:
        process.terminate()
    process.communicate(timeout=60)


def test_from_nothing_to_verified_to_stuck_and_back(web: Deployment) -> None:
    assert row(web)["state"] == "not deployed"
    first = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    now = row(web)
    assert (now["state"], now["revision"], now["commit"], now["digest"]) == ("verified", 1, first, web.digest)
    assert (now["helm_status"], now["before"], now["attention"], now["holder"]) == ("deployed", None, False, "")
    with hanging_deploy(web) as process:
        now = row(web)
        assert (now["state"], now["revision"], now["helm_status"]) == ("in progress", 2, "pending-upgrade")
        assert now["before"]["commit"] == first and now["holder"] and "available" in now["progress"]
        kill_hard(process)
        until(lambda: row(web)["state"] == "stuck")
        assert row(web)["attention"]
    second = web.commit(text="second")
    assert web.deploy().code == 0
    now = row(web)
    assert (now["state"], now["commit"], now["attention"]) == ("verified", second, False)


def test_a_rollout_is_followed_line_by_line(web: Deployment) -> None:
    assert web.deploy().code == 0
    watching = web.start("cd-status", "--watch", "--timeout", "100", "--out", str(web.folder.parent / "watch"))
    assert watching.stderr is not None
    heard: list[str] = []

    def hear(word: str) -> None:
        assert watching.stderr is not None
        for line in watching.stderr:
            heard.append(line)
            if word in line:
                return
        raise AssertionError(f"{word!r} was never said: {heard}")

    try:
        hear("verified, revision 1")
        with hanging_deploy(web) as process:
            hear("in progress, revision 2")
            process.terminate()
        hear("interrupted")
        web.commit(text="third")
        deploying = web.start("helm-deploy", "--digest", web.digest)
        hear("verified, revision")
        deploying.communicate(timeout=60)
        assert deploying.returncode == 0
    finally:
        watching.terminate()
        watching.communicate(timeout=60)


def test_drift_hold_and_the_page(web: Deployment, tmp_path: Path) -> None:
    assert web.deploy().code == 0
    assert row(web)["drift"] is None
    assert row(web, "--drift")["drift"] == []
    web.kubectl("delete", "service", "web")
    assert web.run("cd-hold", "--set", "freeze <b>until</b> Monday").code == 0
    now = row(web, "--drift", "--html", str(tmp_path / "board.html"))
    assert (now["drift"], now["attention"]) == (["Service web is gone"], True)
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert "Service web is gone" in page and "freeze &lt;b&gt;until&lt;/b&gt; Monday" in page


def test_credentials_for_one_namespace_and_for_no_secrets_are_enough(web: Deployment, lab: Any, tmp_path: Path) -> None:
    assert web.deploy().code == 0
    web.kubectl("create", "serviceaccount", "viewer")
    web.kubectl("create", "role", "viewer", "--verb=list", "--resource=configmaps,leases")
    web.kubectl("create", "rolebinding", "viewer", "--role=viewer", f"--serviceaccount={web.namespace}:viewer")
    token = web.kubectl("create", "token", "viewer").strip()
    document = yaml.safe_load(Path(lab.kubeconfig).read_text(encoding="utf-8"))
    document["users"] = [{"name": user["name"], "user": {"token": token}} for user in document["users"]]
    (tmp_path / "viewer").write_text(yaml.safe_dump(document), encoding="utf-8")
    plant("the token of viewer", token, tmp_path / "viewer")
    web.targets["environments"]["test"]["kubeconfig"] = str(tmp_path / "viewer")
    web.write_targets()
    now = row(web)
    assert (now["state"], now["revision"], now["helm_status"]) == ("verified", 1, "")


CLUSTERS, RELEASES = 5, 200  # as the issue says, and within 3 s
LIMIT = 3.0
TRIES = 10  # since a busy machine is slow, and not all the time


@pytest.fixture
def many(web: Deployment, lab: Any, namespace: str) -> Deployment:
    """200 releases with a history each, that five kubeconfigs lead to."""
    assert web.deploy().code == 0
    (entry,) = web.record()["revisions"]
    revisions = [Revision(**{**entry, "revision": number, "helm_uid": ""}) for number in range(1, 31)]
    api, deadline = Api(lab.kubeconfig, None), Deadline(120)
    environments, services = {}, {}
    for number in range(RELEASES):
        name, where = f"many-{number}", f"cluster-{number % CLUSTERS}"
        write(api, namespace, Record(name, name, list(revisions), 30), deadline)
        place = {"namespace": namespace, "release": name}
        services[name] = {"image": web.image, "environments": {where: place}}
        environments[where] = {"kubeconfig": str(web.folder.parent / where), "policy": "none"}
    for where in environments:
        (web.folder.parent / where).write_bytes(Path(lab.kubeconfig).read_bytes())
    api.close()
    web.targets = {"version": 1, "environments": environments, "services": services}
    web.write_targets()
    return web


def write(api: Api, namespace: str, record: Record, deadline: Deadline) -> None:
    """A release as deploys would have left it: its record, and Helm's newest."""
    Records(api, namespace, record.service, record.release).update(lambda r: vars(r).update(vars(record)), deadline)
    labels = {"owner": "helm", "name": record.release, "version": "30", "status": "deployed"}
    meta = {"name": f"sh.helm.release.v1.{record.release}.v30", "labels": labels}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "helm.sh/release.v1",
            "data": {"release": base64.b64encode(os.urandom(20_000)).decode()}}  # fmt: skip
    api.create(path("secrets", namespace), body, deadline)


def test_200_releases_in_5_clusters_within_3_s(many: Deployment) -> None:
    took: list[float] = []
    while min(took, default=LIMIT) >= LIMIT and len(took) < TRIES:
        began = time.monotonic()
        done = many.run("cd-status")
        took.append(time.monotonic() - began)
        assert done.code == 0, done.err
        assert [row["state"] for row in done.result["releases"]] == ["verified"] * RELEASES
        assert len(done.result["clusters"]) == CLUSTERS
    print(f"cd-status: {RELEASES} releases in {CLUSTERS} clusters: {min(took):.2f} to {max(took):.2f} s")
    assert min(took) < LIMIT


def test_what_a_person_sees(web: Deployment) -> None:
    assert web.deploy().code == 0
    argv = [word for word in web.argv("cd-status") if word != "--json"]
    shown = subprocess.run(argv, env=dict(web.env), capture_output=True, text=True, check=True).stdout
    assert re.search(rf"test +{web.namespace}/web +1 +verified", shown)
    assert json.loads((web.folder / ".cd" / "status" / "cd-result.json").read_text())["command"] == "cd-status"
