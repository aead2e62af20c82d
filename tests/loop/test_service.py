"""A service's changes through Gerrit, Zuul and Jenkins together: votes, comments, aborted builds, and what serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from services import BAD, SLOW, Service

from lab.loop.testing import Author, Loop, until
from lab.testing import command


@pytest.fixture(scope="module")
def service(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service of the tests' own."""
    return Service.add(loop, tmp_path_factory.mktemp("service"))


@pytest.fixture
def author(service: Service, tmp_path: Path) -> Author:
    """alice's clone of the service."""
    return service.clone(tmp_path / "clone")


def test_a_newer_patchset_aborts_the_build_and_alone_votes(service: Service, author: Author) -> None:
    change = author.push("slow", {"tests/test_new.py": SLOW.format(seconds=100)})
    service.started("check")
    author.amend({"tests/test_new.py": BAD})
    until(lambda: [b for b in service.builds("check") if b.result == "ABORTED"], "the first build aborted", 30)
    change.wait_vote(-1)
    assert "test_sum" in change.messages()[-1] and f"/job/{service.name}-check/2/" in change.messages()[-1]
    assert [build.result for build in service.builds("check")] == ["FAILURE", "ABORTED"]
    assert not [message for message in change.messages() if "Patch Set 1: Verified" in message]


def test_a_retry_finds_the_build_that_runs(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("retried", {"tests/test_new.py": SLOW.format(seconds=30)})
    service.started("check", before)
    assert command("stop", "zuul-executor", "--kill").ok
    assert command("start", "zuul-executor").ok
    change.wait_vote(1, 240)
    assert service.last("check") == before + 1, "the second attempt has started no second build"


def test_an_approved_change_serves(loop: Loop, service: Service, author: Author) -> None:
    change = author.push("served", {"VERSION": "7\n"})
    change.wait_vote(1)
    change.approve()
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-deploy", newrev=commit)["result"] == "SUCCESS"
    answer = service.answer()
    assert answer["revision"] == commit and answer["version"] == "7"
    until(lambda: [told for told in change.messages("Deploys") if commit[:12] in told], "a comment on the deploy", 30)


def test_without_jenkins_on_a_node(loop: Loop, tmp_path: Path) -> None:
    """The happy way of `cd_runner: zuul`."""
    service = Service.add(loop, tmp_path, "cd-service-on-nodes")
    author = service.clone(tmp_path / "clone")
    bad = author.push("bad", {"tests/test_new.py": BAD})
    bad.wait_vote(-1)
    assert "test_sum" in bad.messages()[-1]
    change = author.amend({"tests/test_new.py": BAD.replace("3", "2")})
    change.wait_vote(1)
    change.approve()
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-node-deploy", newrev=commit)["result"] == "SUCCESS"
    assert service.answer()["revision"] == commit
    assert not service.builds("check")
    until(lambda: not list(Path("/root").glob("cd-*")), "nothing left on the node", 30)
