"""An API server that is away in the middle of a deploy, at any moment: the deploy goes on, or ends as it says."""

from __future__ import annotations

import time

import pytest
import yaml
from deployments import CRASH, Deployment, Ran, until

from lab.testing import RunningLab, without

AWAY = 20.0  # seconds


@pytest.fixture(autouse=True)
def _settled(lab: RunningLab, web: Deployment) -> None:
    """Nothing is left of the outage of another test, and the budget is the one that a target has by default."""
    lab.settle()
    del web.targets["environments"]["test"]["budget"]
    web.write_targets()


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.1, 1.5, 2.5])
def test_a_deploy_meets_an_api_server_that_is_away(web: Deployment, seconds: float) -> None:
    assert web.deploy().code == 0
    commit = web.commit(text="away")
    process = web.start("helm-deploy", "--digest", web.digest)
    time.sleep(seconds)  # the moment is what is tried here, and no event stands for it
    with without("apiserver"):
        time.sleep(AWAY)
    _, err = process.communicate(timeout=200)
    # 69: nothing was written yet. 7: Helm was cut off in its work, and what it had done is taken back.
    assert process.returncode in (0, 7, 69), err
    record = web.record()
    assert not record["quarantine"], "the image is not at fault"
    if process.returncode == 0:
        assert [entry["status"] for entry in record["revisions"]] == ["verified", "verified"]
    again = web.deploy()
    assert again.code == 0, again.err
    assert web.serving() == {"revision": commit, "text": "away"}
    assert [status for _, status in web.helm_statuses()].count("deployed") == 1


def watched(web: Deployment) -> bool:
    """Whether the last run is past Helm, and watches."""
    text = (web.folder / ".cd" / "events.jsonl").read_text(encoding="utf-8")
    return text.count('"stage": "rollout"') % 2 == 1  # begun, and not ended


def deploy_through_a_restart(web: Deployment) -> Ran:
    """Deploy what is committed, while the API server crashes and comes back as soon as the rollout is watched."""
    run = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: watched(web))
    with without("apiserver"):
        pass
    out, err = run.communicate(timeout=200)
    return Ran(run.returncode, out, err)


def test_a_good_rollout_is_followed_through_a_restart_of_the_api_server(web: Deployment) -> None:
    assert web.deploy().code == 0
    program = yaml.safe_load((web.folder / "chart" / "values.yaml").read_text(encoding="utf-8"))["program"]
    commit = web.commit(program=f"import time; time.sleep(8)\n{program}")
    done = deploy_through_a_restart(web)
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
    assert web.record()["revisions"][-1]["status"] == "verified"


def test_a_broken_rollout_is_called_and_undone_through_a_restart_of_the_api_server(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    failed = deploy_through_a_restart(web)
    assert failed.code == 7, failed.err
    assert "the last time with exit code 3" in failed.result["cause"], failed.err
    assert web.serving()["revision"] == good
    assert web.helm_statuses()[-1][1] == "deployed"


def test_an_api_server_that_goes_away_as_the_rollback_begins_keeps_nothing_broken_live(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    process = web.deploy_until("evidence")
    with without("apiserver"):
        time.sleep(8)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 7, err
    assert web.serving()["revision"] == good
