"""An admission webhook that does not answer while Helm applies: once ends nothing, and to the end blames no image."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from deployments import Deployment, until
from stand_ins import Fault, Seen, Server, serving

from cdlib.rollout.attempts import TRIES
from lab.layout import LOOPBACK
from lab.pki import Subject, issue

LIMIT = 3  # seconds that the API server waits; a busy machine needs more than 1 for an answer
SLOWER = LIMIT + 1.0
GUARDED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {guarded: "yes"}}
data: {text: {{ .Values.text | quote }}}
"""
# What only an install makes, and no upgrade.
SEED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: seed, annotations: {helm.sh/hook: post-install}}
"""


@dataclass
class Guard:
    """The webhook that every guarded ConfigMap passes. The next `late` questions are answered too late."""

    folder: Path
    late: int = 0
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        issue(self.folder, [Subject("webhook", "webhook", (), (LOOPBACK,))])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.folder / "webhook.crt", self.folder / "webhook.key")
        self.server = Server(self._allow)
        self.server.secure(tls)

    def configuration(self, namespace: str) -> dict[str, Any]:
        """What tells the API server to ask it, about one namespace."""
        port = self.server.host.rpartition(":")[2]
        authority = base64.b64encode((self.folder / "ca.crt").read_bytes()).decode()
        rule = {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["configmaps"],
        }
        hook = {
            "name": "guard.test.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Fail", "timeoutSeconds": LIMIT, "rules": [rule],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "objectSelector": {"matchLabels": {"guarded": "yes"}},
            "clientConfig": {"url": f"https://{LOOPBACK}:{port}/", "caBundle": authority},
        }  # fmt: skip
        return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": f"guard-{namespace}"}, "webhooks": [hook]}  # fmt: skip

    def _allow(self, seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if self.late:
            self.late -= 1
            time.sleep(SLOWER)
        review = json.loads(seen.body)
        review["response"] = {"uid": review.pop("request")["uid"], "allowed": True}
        return 200, {"Content-Type": "application/json"}, json.dumps(review).encode()


@pytest.fixture
def guard(web: Deployment, tmp_path: Path) -> Iterator[Guard]:
    """A webhook that is asked, and answers; the service's chart has a ConfigMap that it guards."""
    (web.folder / "chart" / "templates" / "guarded.yaml").write_text(GUARDED, encoding="utf-8")
    web.commit(text="one")
    made, file = Guard(tmp_path / "webhook"), tmp_path / "guard.json"
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "labels": {"guarded": "yes"}}}
    (tmp_path / "probe.json").write_text(json.dumps(probe), encoding="utf-8")

    def asked() -> bool:
        web.kubectl("create", "-f", str(tmp_path / "probe.json"), "--dry-run=server")
        return bool(made.server.seen)

    with serving(made.server):
        file.write_text(json.dumps(made.configuration(web.namespace)), encoding="utf-8")
        web.kubectl("create", "-f", str(file))
        try:
            until(asked)
            yield made
        finally:
            web.kubectl("delete", "-f", str(file))


@pytest.fixture(params=["helm 3", "helm 4"])
def any_helm(request: pytest.FixtureRequest, web: Deployment, lab: Any) -> Deployment:
    """The service, deployed by each of both Helms in turn."""
    web.env = {**web.env, "CD_HELM": str(lab.helm3 if request.param == "helm 3" else lab.helm4)}
    return web


@pytest.mark.parametrize("how", ["too late", "not at all"])
def test_a_webhook_that_fails_once_ends_nothing(any_helm: Deployment, guard: Guard, how: str) -> None:
    web = any_helm
    assert web.deploy().code == 0
    commit = web.commit(text="two")
    if how == "too late":
        guard.late = 1
    else:
        guard.server.faults.append(Fault("POST", "/", drop=True, times=1))
    done = web.deploy()
    assert done.code == 0, done.err
    assert "this may pass, and is tried" in done.err
    assert web.serving() == {"revision": commit, "text": "two"}
    assert web.helm_statuses() == [(1, "superseded"), (2, "failed"), (3, "deployed")]
    assert [(e["revision"], e["status"]) for e in web.record()["revisions"]] == [(1, "verified"), (3, "verified")]
    assert web.deploy().result["outcome"] == "unchanged"


def test_a_first_install_is_gone_on_with(any_helm: Deployment, guard: Guard) -> None:
    web = any_helm
    guard.late = 1
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.helm_statuses() == [(1, "superseded"), (2, "deployed")]
    assert [(e["revision"], e["status"]) for e in web.record()["revisions"]] == [(1, "interrupted"), (2, "verified")]
    assert web.deploy().result["outcome"] == "unchanged"


def test_an_install_whose_hooks_an_upgrade_leaves_out_is_left_to_a_person(web: Deployment, guard: Guard) -> None:
    (web.folder / "chart" / "templates" / "seed.yaml").write_text(SEED, encoding="utf-8")
    web.commit(text="one")
    guard.late = 1
    done = web.deploy()
    assert done.code == 8, done.err
    assert "without its install hooks" in done.err and "failed calling webhook" in done.err
    assert web.helm_statuses() == [(1, "failed")] and not web.record()["quarantine"]


def test_one_that_never_answers_is_a_failure_that_blames_no_image(
    web: Deployment, guard: Guard, other_digest: str
) -> None:
    assert web.deploy().code == 0
    web.commit(text="two")
    guard.late = TRIES
    failed = web.deploy(digest=other_digest)
    assert failed.code == 7, failed.err
    assert "failed calling webhook" in failed.result["cause"]
    assert web.serving()["text"] == "one"
    assert web.record()["quarantine"] == {}
    statuses = [status for _, status in web.helm_statuses()]
    assert statuses.count("failed") == TRIES and statuses[-1] == "deployed"
