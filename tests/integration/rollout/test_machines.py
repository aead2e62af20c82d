"""What machines read of real rollouts: the checks, the metrics and the DORA figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployments import CRASH, Deployment

from cdlib.image.junit import read_tests


def test_a_good_deploy_a_crash_and_a_rollback_by_hand(web: Deployment, other_digest: str, tmp_path: Path) -> None:
    metrics, checks = tmp_path / "cd.prom", web.folder / ".cd" / "rollout.xml"
    web.env = {**web.env, "CD_METRICS_FILE": str(metrics)}
    assert web.deploy().code == 0
    assert read_tests([checks]).as_dict() == {"total": 4, "passed": 4, "failed": 0, "skipped": 0}
    web.commit(program=CRASH)
    assert web.deploy(digest=other_digest).code == 7
    tests = read_tests([checks])
    assert (tests.passed, tests.failed) == (5, 1)
    assert tests.failures[0].startswith("test.web::rollout: pod web-")
    web.commit(text="two")
    assert web.deploy().code == 0
    assert web.run("helm-rollback", "--reason", "orders are lost").code == 0
    entries = web.record()["revisions"]
    assert [bool(e["verified_at"]) for e in entries] == [e["status"] == "verified" for e in entries]
    assert all(e["committed"] <= e["at"] for e in entries)
    text = metrics.read_text()

    assert 'cd_runs_total{command="helm-deploy",environment="test",exit_code="0",service="web"} 2.0' in text
    for command, kind in (("helm-deploy", "automatic"), ("helm-rollback", "manual")):
        assert f'cd_rollbacks_total{{command="{command}",environment="test",kind="{kind}",service="web"}} 1.0' in text
    (figures,) = web.run("cd-report", "--dora").result["dora"]["releases"]
    assert (figures["deployments"], figures["failures"], figures["unrestored"]) == (3, 2, 0)
    assert figures["change_failure_rate"] == pytest.approx(2 / 3, abs=0.001)
    assert 0 < figures["lead_time_s"] < 300 and 0 < figures["time_to_restore_s"] < 300
