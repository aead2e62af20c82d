"""Rollouts whose new pods come late, or not at all: old ones in their place, a pause, and what nobody rolls out."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from charts import IMAGE, server, write_chart
from deployments import Deployment

PORT = 38471  # of the node, which has it once
LEAVES_AFTER = 33  # seconds; more than the 30 s after which a pod that fits nowhere is a failure


def test_a_pod_that_waits_for_the_port_of_its_predecessor_ends_no_rollout(web: Deployment) -> None:
    slow = server(ports=[{"containerPort": 8080, "hostPort": PORT}],
                  lifecycle={"preStop": {"exec": {"command": ["sleep", str(LEAVES_AFTER)]}}})  # fmt: skip
    one_at_a_time = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}
    write_chart(web, slow, workload=one_at_a_time, terminationGracePeriodSeconds=LEAVES_AFTER + 10)
    web.commit()
    assert web.deploy().code == 0
    second = web.commit()
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["revision"] == second
    web.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")  # the namespace need not wait for it


def test_a_paused_deployment_is_told_at_once_and_nothing_is_blamed(web: Deployment, other_digest: str) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    write_chart(web, server(), workload={"paused": True})
    web.commit()
    failed = web.deploy(digest=other_digest)
    assert failed.code == 7, failed.err
    assert "Deployment web: paused, so nothing of it is rolled out" in failed.result["cause"]
    spent = next(e["seconds"] for e in web.events() if e["event"] == "stage_end" and e["stage"] == "rollout")
    assert spent < 5.0
    assert not web.record()["quarantine"]
    assert web.serving()["revision"] == good


def test_what_is_left_to_a_person_is_no_pass(web: Deployment, other_digest: str) -> None:
    web.cd["deploy"]["verify"] = {}
    write_chart(web, server(), kind="StatefulSet", workload={"updateStrategy": {"type": "OnDelete"}})
    good = web.commit()
    first = web.deploy()
    assert first.code == 0, first.err
    web.commit()
    failed = web.deploy(digest=other_digest)
    assert failed.code == 7, failed.err
    assert "nothing was seen to run sha256:" in failed.result["cause"]
    assert not web.record()["quarantine"]
    assert web.serving()["revision"] == good


CRON_JOB: dict[str, Any] = {
    "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "web"},
    "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "web", "image": IMAGE, "command": ["true"]}]}}}}},
}  # fmt: skip
TEST: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {"name": "web-test", "annotations": {
        "helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation"}},
    "spec": {"restartPolicy": "Never", "containers": [{"name": "test", "image": IMAGE, "command": ["true"]}]},
}  # fmt: skip


@pytest.mark.parametrize("tested", [False, True])
def test_a_chart_of_a_cron_job_alone_needs_a_test(web: Deployment, tested: bool) -> None:
    web.cd["deploy"]["verify"] = {"helm_test": True}
    web.targets["environments"]["test"]["inconclusive"] = "keep"
    text = yaml.safe_dump_all([CRON_JOB, *([TEST] if tested else [])])
    (web.folder / "chart" / "templates" / "all.yaml").write_text(text, encoding="utf-8")
    web.commit()
    done = web.deploy()
    assert done.code == (0 if tested else 10), done.err
    assert tested or "nothing was seen to run sha256:" in done.result["cause"]
