"""An API server that is away in the middle of a deploy, at any moment: the deploy goes on, or ends as it says."""

from __future__ import annotations

import time

import pytest
from deployments import Deployment

from lab.testing import without

AWAY = 20.0  # seconds


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
