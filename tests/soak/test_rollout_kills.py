"""Runs that are killed at any moment, and runs that race: the next one always finds a way on."""

from __future__ import annotations

import time

import pytest
from deployments import CRASH, Deployment, kill_hard


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5])
def test_a_deploy_that_is_killed_is_healed_by_the_next(web: Deployment, seconds: float) -> None:
    assert web.deploy().code == 0
    web.commit(text="killed")
    process = web.start("helm-deploy", "--digest", web.digest)
    time.sleep(seconds)  # the moment of the kill is what is tried here, and no event stands for it
    kill_hard(process)
    commit = web.commit(text="after")
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving() == {"revision": commit, "text": "after"}
    assert web.helm_statuses()[-1][1] == "deployed"
    assert not [e for e in web.record()["revisions"] if e["status"] == "deploying"]


@pytest.mark.parametrize("seconds", [0.5, 0.8, 1.1, 1.5])
def test_a_rollback_that_is_killed_is_healed_by_the_next(web: Deployment, seconds: float) -> None:
    first = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(text="two")
    assert web.deploy().code == 0
    process = web.start("helm-rollback", "--to", "1")
    time.sleep(seconds)  # as above
    kill_hard(process)
    done = web.run("helm-rollback", "--to", "1")
    assert done.code == 0, done.err
    assert web.serving()["revision"] == first


def test_an_automatic_rollback_that_is_killed_is_finished_by_the_next(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    process = web.start("helm-deploy", "--digest", web.digest)
    assert process.stderr is not None
    for line in process.stderr:
        if "evidence" in line:
            break
    kill_hard(process)
    assert web.serving()["revision"] == good
    commit = web.commit(text="mended")
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit


def test_of_runs_that_race_one_writes_and_the_others_say_so(web: Deployment) -> None:
    assert web.deploy().code == 0
    commit = web.commit(text="raced")
    racers = [web.start("helm-deploy", "--digest", web.digest) for _ in range(4)]
    codes = sorted(process.wait(timeout=120) for process in racers)
    for process in racers:
        process.communicate()
    assert codes[0] == 0
    assert set(codes) <= {0, 9}
    assert web.serving()["revision"] == commit
    assert [status for _, status in web.helm_statuses()].count("deployed") == 1
    assert web.record()["revisions"][-1]["status"] == "verified"
