"""Helm as it is called: what its end means, and what it means that it was cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable, UsageProblem
from cdlib.rollout import helm as helms
from cdlib.rollout.helm import Helm
from cdlib.rollout.helm_answers import passes
from cdlib.rollout.lease import Lease
from cdlib.run import Run

PLACE = SimpleNamespace(namespace="ns", release="web", kubeconfig=None, context="")


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`helm(script)` is a Helm that does what the script does."""

    def make(script: str) -> Helm:
        program = tmp_path / "helm"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setenv(helms.PROGRAM, str(program))
        return Helm(Run("test", Deadline(10)), cast(Any, PLACE))

    return make


@pytest.mark.parametrize(
    "said",
    [
        # As Helm 3.21 and 4.3 say it.
        'Kubernetes cluster unreachable: Get "https://127.0.0.1:6443/version": dial tcp 127.0.0.1:6443: connect: connection refused',
        'UPGRADE FAILED: Get "https://10.0.0.1:6443/api/v1/namespaces/ns/secrets?labelSelector=x": read tcp 10.0.0.2:1->10.0.0.1:6443: read: connection reset by peer',
        'INSTALLATION FAILED: create: failed to create: Post "https://10.0.0.1:6443/api/v1/namespaces/ns/secrets": EOF',
        'UPGRADE FAILED: Patch "https://10.0.0.1:6443/apis/apps/v1/namespaces/ns/deployments/web": net/http: TLS handshake timeout',
    ],
)
def test_a_cluster_that_went_away_is_told_from_a_failure(helm: Any, said: str) -> None:
    with pytest.raises(Unavailable, match="could not reach the cluster"):
        helm(f"echo 'Error: {said}' >&2; exit 1").rollback(1, Deadline(10))


@pytest.mark.parametrize(
    "said",
    [
        "UPGRADE FAILED: failed post-upgrade: job web-migrate failed: BackoffLimitExceeded: connection refused",
        "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
    ],
)
def test_a_failure_is_no_cluster_that_went_away(helm: Any, said: str) -> None:
    done = helm(f"echo 'Error: {said}' >&2; exit 1").rollback(1, Deadline(10))
    assert helms.reason(done) == said


def pull(helm: Helm, folder: Path, budget: Deadline) -> object:
    return helm.pull("oci://r.test/chart", "", folder, budget, plain_http=False)


@pytest.mark.parametrize("stream", [1, 2], ids=["helm 4", "helm 3"])
def test_a_chart_is_the_one_of_its_digest(helm: Any, tmp_path: Path, stream: int) -> None:
    """As Helm 4.3 and 3.21 say it."""
    name = "oci://r.test/chart@sha256:" + "a" * 64
    script = f"touch {tmp_path}/x.tgz; printf 'Pulled: x\\nDigest: sha256:%s\\n' {{}} >&{stream}"
    assert helm(script.format("a" * 64)).pull(name, "", tmp_path, Deadline(9), plain_http=False).name == "x.tgz"
    for another in ("b" * 64, ""):
        with pytest.raises(UsageProblem, match="does not say that it has pulled"):
            helm(script.format(another)).pull(name, "", tmp_path, Deadline(9), plain_http=False)


def render(helm: Helm, folder: Path, budget: Deadline) -> object:
    return helm.render(folder, [], budget, upgrade=True, kube_version="")


@pytest.mark.parametrize("doing", [pull, render])
def test_a_helm_that_never_ends_takes_what_the_budget_has_left(
    helm: Any, tmp_path: Path, doing: Callable[[Helm, Path, Deadline], object]
) -> None:
    """As one whose registry never answers. The run itself may last much longer."""
    made, budget = helm("exec sleep 60"), Deadline(0.5, "the budget of a deploy")
    began = time.monotonic()
    with pytest.raises(OutOfTime, match="helm did not end within 0"):
        doing(made, tmp_path, budget)
    assert time.monotonic() - began < 5


def test_a_helm_that_loses_its_lease_is_stopped(helm: Any) -> None:
    made = helm("sleep 60")
    made.lease = cast(Lease, SimpleNamespace(lost=threading.Event()))
    threading.Timer(0.2, made.lease.lost.set).start()
    with pytest.raises(Unavailable, match="was stopped"):
        made.rollback(1, Deadline(30))


def test_that_it_was_for_its_lease_is_remembered_where_that_is_had_again_while_helm_dies(helm: Any) -> None:
    made = helm("trap '' TERM; sleep 60 & wait; sleep 60")
    made.lease = cast(Lease, SimpleNamespace(lost=threading.Event()))
    threading.Timer(0.2, made.lease.lost.set).start()
    threading.Timer(1.5, made.lease.lost.clear).start()
    with pytest.raises(Unavailable, match="was stopped"):
        made.rollback(1, Deadline(30))
    assert not made.lease.lost.is_set()


def test_whoever_else_ends_helm_it_is_no_lost_lease(helm: Any) -> None:
    made = helm("sleep 60")
    made.lease = cast(Lease, SimpleNamespace(lost=threading.Event()))
    with pytest.raises(CdError, match="was stopped") as caught:
        made.rollback(1, Deadline(30), lambda: True)
    assert not isinstance(caught.value, Unavailable)


def test_what_helm_3_lists_below_its_error_is_part_of_it(helm: Any) -> None:
    """As Helm 3.21 says that a first install met a webhook that did not answer."""
    webhook = 'Internal error occurred: failed calling webhook "w.test": context deadline exceeded'
    said = f"WARNING: old\nError: 1 error occurred:\n\t* {webhook}\n\n"
    done = helm(f"cat >&2 <<'END'\n{said}\nEND\nexit 1").upgrade(Path(), (), Deadline(10))
    assert helms.reason(done) == f"1 error occurred: * {webhook}"
    assert helms.passes(helms.reason(done))


@pytest.mark.parametrize(
    "said",
    [
        'UPGRADE FAILED: Internal error occurred: failed calling webhook "w": failed to call webhook: Post "https://w.ns.svc:443/": dial tcp 10.0.0.1:443: connect: connection refused',
        'UPGRADE FAILED: secrets is forbidden: User "x" cannot create resource "secrets"',
        "Kubernetes cluster unreachable: the server has asked for the client to provide credentials",
    ],
)
def test_what_the_api_server_says_is_no_api_server_that_went_away(helm: Any, said: str) -> None:
    done = helm(f"cat >&2 <<'END'\nError: {said}\nEND\nexit 1").upgrade(Path(), (), Deadline(10))
    assert helms.reason(done) == said


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("release: not found", UsageProblem),
        ('Kubernetes cluster unreachable: Get "https://127.0.0.1:6443/version": connection refused', Unavailable),
        ("etcdserver: leader changed", Unavailable),
        ("kubernetes cluster unreachable: the server has asked for the client to provide credentials", NotAllowed),
        ('query: failed to query with labels: secrets is forbidden: User "x" cannot list', NotAllowed),
    ],
)
def test_why_a_stored_revision_cannot_be_had(helm: Any, said: str, kind: type[CdError]) -> None:
    with pytest.raises(kind) as caught:
        helm(f"cat >&2 <<'END'\nError: {said}\nEND\nexit 1").manifest(3, Deadline(10))
    assert type(caught.value) is kind


def test_a_chart_s_tests_are_run_again_where_a_webhook_did_not_answer(helm: Any) -> None:
    said = 'Internal error occurred: failed calling webhook "w": Post "https://w.ns.svc/": context deadline exceeded'
    with pytest.raises(Unavailable, match="just now"):
        helm(f"echo 'Error: {said}' >&2; exit 1").test(Deadline(10))


@pytest.mark.parametrize(
    "said",
    [
        'Deployment "web" is invalid: spec: Invalid value: "failed calling webhook \\"w\\": no"',
        "etcdserver: request is too large",
        "etcdserver: mvcc: database space exceeded",
        'admission webhook "w" denied the request: no',
        "job web-pre failed: BackoffLimitExceeded",
        "context deadline exceeded",
    ],
)
def test_what_does_not_pass_by_itself(said: str) -> None:
    assert not passes(f"UPGRADE FAILED: {said}")
