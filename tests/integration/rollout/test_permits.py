"""Permits from the review to what serves, against a real cluster and a real registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from deployments import Deployment
from reviewed import Reviewed


@pytest.fixture
def service(web: Deployment, tmp_path: Path) -> Reviewed:
    return Reviewed.create(web, tmp_path, web.digest)


def refused(ran: object, *words: str) -> None:
    """It was refused, and says why."""
    assert ran.code == 6, ran.err  # type: ignore[attr-defined]
    assert all(word in ran.err for word in words), ran.err  # type: ignore[attr-defined]


def test_what_was_reviewed_built_and_tested_is_what_runs(service: Reviewed) -> None:
    web = service.web
    service.change(text="one")
    service.attest()
    refused(service.deploy(), "there is no permit for the deploy")
    assert web.helm_statuses() == []
    permitted = service.authorize()
    assert permitted.code == 0, permitted.err
    (verdict,) = permitted.result["verdicts"]
    assert (verdict["basis"], verdict["voters"]) == ("change", ["Code-Review+2 bob", "Verified+2 zuul"])
    done = service.deploy()
    assert done.code == 0, done.err
    assert web.serving()["text"] == "one"
    record = web.record()
    assert record["permit_sequence"] == permitted.result["sequence"] == 1
    assert record["revisions"][0]["permit"] == permitted.result["permit"]["permit"] == done.result["permit"]["permit"]
    again = service.deploy()
    assert (again.code, again.result["outcome"]) == (0, "unchanged"), "which needs no permit"
    assert (service.audited("authorizer"), service.audited("deployer")) == (["permit"], ["refused", "spent"])
