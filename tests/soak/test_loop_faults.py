"""What breaks in the middle of a change's way: each ends in a vote or a comment that a person understands.

Nothing is deployed twice or published by half, and no build is left running. Servers are really stopped, so nothing
else may use the lab meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
from services import BAD, SLOW, Service

from lab.loop import identity
from lab.loop.config import JENKINS_PATIENCE
from lab.loop.places import JENKINS_URL
from lab.loop.testing import Author, Change, Loop, until
from lab.testing import RunningLab, command, server_process, without

pytestmark = pytest.mark.timeout(600)
TESTS = " run-tests --timeout"  # what the log of a build says when its tests begin, which then take some seconds
SOAK = "✓ helm test"  # what that of a deploy says when its soak begins
APPLIED = "✓ helm upgrade"


@pytest.fixture(scope="module")
def service(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service of the tests' own, which serves its first change."""
    service = Service.add(loop, tmp_path_factory.mktemp("service"))
    author = service.clone(tmp_path_factory.mktemp("first") / "clone")
    live(service, author.push("first", files(service)))
    return service


@pytest.fixture
def author(service: Service, tmp_path: Path) -> Author:
    """alice's clone of the service."""
    return service.clone(tmp_path / "clone")


@pytest.fixture(autouse=True)
def _nothing_left(service: Service) -> Iterator[None]:
    """Every server is up again, and nothing of the service runs, waits, or is deployed by half."""
    yield
    assert command("up", "--loop").ok
    until(lambda: not service.busy(), "nothing left running", 60)
    assert {entry["status"] for entry in service.record()} <= {"verified", "interrupted"}


def files(service: Service, *, tests: int = 0, soak: int = 3) -> dict[str, str]:
    """A change of its own, whose tests take so many seconds, and whose deploy is watched for so many once it is up."""
    return {
        "VERSION": f"{time.time_ns()}\n",
        "tests/test_new.py": SLOW.format(seconds=tests),
        **service.file("cd.yaml", "soak: 3s", f"soak: {soak}s"),
    }


def merged(change: Change) -> str:
    """Approve it, and wait until it is merged; returns the commit."""
    change.sign()
    return change.wait_merged(240)


def told(change: Change, text: str, seconds: float = 120) -> str:
    """The comment on a deploy that has `text`, which is said once."""
    said = until(lambda: [each for each in change.messages("Deploys") if text in each], f"a comment: {text}", seconds)
    assert len(said) == 1
    return said[0]


def live(service: Service, change: Change) -> str:
    """Merge it, and see it serve, deployed once and told; returns the commit."""
    commit = merged(change)
    told(change, f"Deployed to production: {service.name}")
    serves_once(service, commit)
    return commit


def serves_once(service: Service, commit: str) -> None:
    """See that the commit serves, and is in the record as one good revision."""
    assert service.answer()["revision"] == commit
    assert [entry["status"] for entry in service.record() if entry["commit"] == commit].count("verified") == 1


def deploying(service: Service, change: Change, moment: str = SOAK) -> tuple[str, int]:
    """Merge it, and wait until its deploy has come to `moment`; returns the commit and the build's number."""
    before = service.last("deploy")
    commit = merged(change)
    number = service.started("deploy", before)
    service.says("deploy", number, moment)
    return commit, number


def zuul_votes(change: Change) -> list[str]:
    """Those messages of Zuul that are votes, not the announcements that something began."""
    return [message for message in change.messages() if "Verified" in message.partition("\n")[0]]


# Gerrit


def test_gerrit_restarts_while_a_change_is_checked(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("gerrit in check", files(service, tests=25))
    number = service.started("check", before)
    service.says("check", number, TESTS)
    with without("gerrit"):
        pass
    change.wait_vote(1)
    assert service.last("check") == number and len(zuul_votes(change)) == 1
    change.abandon()


def test_gerrit_restarts_while_a_change_is_gated_and_is_away_when_it_is_deployed(
    service: Service, author: Author
) -> None:
    before = service.last("gate"), service.last("deploy")
    change = author.push("gerrit in gate", files(service, tests=25, soak=30))
    change.sign()
    number = service.started("gate", before[0])
    service.says("gate", number, TESTS)
    with without("gerrit"):
        pass
    commit = change.wait_merged(240)
    assert service.last("gate") == number
    deploy = service.started("deploy", before[1])
    service.says("deploy", deploy, SOAK)
    with without("gerrit", kill=False):
        service.says("deploy", deploy, "waiting for up to")
    told(change, f"Deployed to production: {service.name}")
    serves_once(service, commit)
    assert service.last("deploy") == deploy


# Zuul


def test_zuuls_executor_dies_while_a_change_is_deployed(loop: Loop, service: Service, author: Author) -> None:
    commit, number = deploying(service, author.push("executor", files(service, soak=20)))
    with without("zuul-executor"):
        pass
    assert loop.wait_build(240, job_name="cd-deploy", newrev=commit, result="SUCCESS")
    assert service.last("deploy") == number, "the second attempt has found the build of the first"
    serves_once(service, commit)


# Jenkins


def test_jenkins_hangs_for_30_seconds(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("a hang", files(service, tests=15))
    number = service.started("check", before)
    service.says("check", number, TESTS)
    hanging = server_process("jenkins")
    hanging.send(signal.SIGSTOP)
    try:
        time.sleep(30)  # it is this that is tried
    finally:
        hanging.send(signal.SIGCONT)
    change.wait_vote(1)
    assert service.last("check") == number, "the build that was running is gone on with"
    change.abandon()


def test_jenkins_crashes_while_a_change_is_checked(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("a crash", files(service, tests=15))
    number = service.started("check", before)
    service.says("check", number, TESTS)
    with without("jenkins"):
        time.sleep(30)  # as above
    change.wait_vote(1)
    assert service.last("check") == number + 1, "what was lost is started again"
    change.abandon()


def test_jenkins_crashes_while_a_change_is_deployed(service: Service, author: Author) -> None:
    change = author.push("a crash in production", files(service, soak=20))
    commit, number = deploying(service, change)
    with without("jenkins"):
        pass
    told(change, f"Deployed to production: {service.name}")
    serves_once(service, commit)
    assert service.last("deploy") == number + 1


def test_jenkins_is_gone_for_good(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("gone", files(service, tests=15))
    service.says("check", service.started("check", before), TESTS)
    with without("jenkins"):
        change.wait_vote(-1, JENKINS_PATIENCE + 60)
        said = change.messages()[-1]
    assert f"{JENKINS_URL.removeprefix('http://')} cannot be reached" in said and "recheck" in said
    change.comment("recheck")
    until(lambda: change.verified == 1, "Verified +1 by a recheck")
    change.abandon()


def test_jenkins_is_gone_for_good_when_a_change_is_deployed(service: Service, author: Author) -> None:
    change = author.push("gone in production", files(service, soak=20))
    commit, number = deploying(service, change)
    with without("jenkins"):
        said = told(change, "Nobody knows how the deploy ended", JENKINS_PATIENCE + 60)
    assert f"{service.name}-deploy #{number}" in said and commit[:12] in said
    live(service, author.push("after it", files(service)))


def test_a_deploy_is_killed_for_want_of_memory(service: Service, author: Author) -> None:
    """The step before it ended well, and its result must not be taken for the deploy's."""
    change = author.push("killed in production", files(service, soak=30))
    commit, number = deploying(service, change)
    kill_deploy(service)
    said = told(change, "Nobody knows how the deploy ended: helm-deploy ended with status 137")
    assert commit[:12] in said and f"/job/{service.name}-deploy/{number}/" in said
    kept = until(lambda: service.result("deploy", number), "what the build leaves, which comes after the comment")
    assert kept["outcome"] == "killed"
    live(service, author.push("after it", files(service)))


def kill_deploy(service: Service) -> None:
    """End its helm-deploy as the kernel does."""

    def is_it(process: Path) -> bool:
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = f"{service.name}-deploy" in os.readlink(process / "cwd")
            return here and any(word.endswith(b"/helm-deploy") for word in words)
        return False

    found = [int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit() and is_it(process)]
    assert found, "it does not run"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


# The registry


def candidates(loop: Loop, service: Service) -> set[str]:
    """The tags of the service's candidates, and not those of its cache, nor of attestations."""
    return {tag for tag in tags(loop, service) if tag.startswith("production-") and "-tree-" not in tag}


def tags(loop: Loop, service: Service) -> list[str]:
    """All tags where the candidates are."""
    found = requests.get(f"http://{loop.lab.env['LAB_REGISTRY']}/v2/candidates/{service.name}/tags/list", timeout=10)
    return list(found.json().get("tags") or ())


def proofs(loop: Loop, service: Service, candidate: str) -> int:
    """How many attestations are beside a candidate."""
    where = f"http://{loop.lab.env['LAB_REGISTRY']}/v2/candidates/{service.name}/manifests/{candidate}"
    accepted = ("oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2")
    headers = {"Accept": ", ".join(f"application/vnd.{kind}+json" for kind in accepted)}
    digest = requests.head(where, headers=headers, timeout=10).headers["Docker-Content-Digest"]
    return sum(tag.startswith(digest.replace(":", "-") + ".att.") for tag in tags(loop, service))


def test_the_registry_is_gone_when_a_candidate_is_published(loop: Loop, service: Service, author: Author) -> None:
    there, before = candidates(loop, service), service.last("gate")
    change = author.push("no registry", files(service, tests=15))
    change.sign()
    number = service.started("gate", before)
    service.says("gate", number, TESTS)
    with without("registry"):
        change.wait_vote(-2)
    said = change.messages()[-1]
    assert "Connection refused" in said and "Next: check the name and that the registry runs" in said
    assert "regate" in said and change.status == "NEW"
    # What is signed is pushed as it is built, with its provenance; of its tests nothing is said.
    (built,) = candidates(loop, service) - there
    assert proofs(loop, service, built) == 1
    change.comment("regate")
    commit = change.wait_merged()
    told(change, f"Deployed to production: {service.name}")
    serves_once(service, commit)
    assert candidates(loop, service) - there == {built} and proofs(loop, service, built) > 1


# The cluster


@pytest.mark.parametrize("moment", [APPLIED, SOAK], ids=["rollout", "soak"])
def test_the_clusters_api_is_gone_for_20_seconds(
    lab: RunningLab, service: Service, author: Author, moment: str
) -> None:
    change = author.push(f"no API: {moment}", files(service, soak=10))
    commit, number = deploying(service, change, moment)
    with without("apiserver"):
        time.sleep(20)  # as above
    told(change, f"Deployed to production: {service.name}", 180)
    serves_once(service, commit)
    assert service.last("deploy") == number
    lab.settle()


def test_the_clusters_api_is_gone_when_a_deploy_begins(lab: RunningLab, service: Service, author: Author) -> None:
    change = author.push("no API at all", files(service))
    before = service.last("deploy")
    with without("apiserver"):
        commit = merged(change)
        assert "cannot be reached" in told(change, "Not deployed")
    assert service.last("deploy") == before, "what is not authorized is not deployed"
    lab.settle()
    for stage in ("authorize", "deploy"):
        service.operate(stage, ZUUL_PIPELINE="postmerge")
    told(change, f"Deployed to production: {service.name}")
    serves_once(service, commit)


# People


def test_of_two_pushes_within_a_second_only_the_newest_votes(service: Service, author: Author) -> None:
    before = service.last("check")
    began = time.monotonic()
    change = author.push("two pushes", files(service, tests=60))
    author.amend({"tests/test_new.py": BAD})
    assert time.monotonic() - began < 5
    change.wait_vote(-1)
    (vote,) = zuul_votes(change)
    assert vote.startswith("Patch Set 2: Verified-1") and "test_sum" in vote
    until(lambda: not service.busy(), "nothing left running", 30)
    assert {build.result for build in service.builds("check") if build.number > before} <= {"ABORTED", "FAILURE"}
    assert service.builds("check")[0].result == "FAILURE"
    change.abandon()


def test_a_change_is_abandoned_while_it_runs(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("abandoned", files(service, tests=100))
    number = service.started("check", before)
    service.says("check", number, TESTS)
    change.abandon()
    until(lambda: not service.busy(), "the build's end", 30)
    assert service.builds("check")[0].result == "ABORTED" and service.last("check") == number
    assert zuul_votes(change) == []


# Comments


@contextmanager
def another_password(loop: Loop, user: str) -> Iterator[None]:
    """Gerrit with a password for `user` that nobody knows."""
    admin = loop.gerrit("admin")
    admin.put(f"accounts/{user}/password.http", {"generate": True})
    try:
        yield
    finally:
        admin.put(f"accounts/{user}/password.http", {"http_password": identity.password(loop.places, user)})


def test_gerrit_refuses_the_comment(loop: Loop, service: Service, author: Author) -> None:
    with another_password(loop, "cd"):
        commit, number = deploying(service, author.push("refused", files(service)), "the changes could not be told")
    until_told_in_jenkins(loop, service, commit, number, 77, "answers 401")


def test_gerrit_is_away_to_the_end(loop: Loop, service: Service, author: Author) -> None:
    commit, number = deploying(service, author.push("away", files(service, soak=8)))
    with without("gerrit"):
        until(lambda: "the changes could not be told" in service.log("deploy", number), "giving up", 180)
    until_told_in_jenkins(loop, service, commit, number, 69, "cannot be reached")


def until_told_in_jenkins(loop: Loop, service: Service, commit: str, number: int, code: int, why: str) -> None:
    """The deploy counts as what it was, and that nobody was told is told where an operator looks."""
    assert loop.wait_build(job_name="cd-deploy", newrev=commit)["result"] == "SUCCESS"
    serves_once(service, commit)
    assert service.result("deploy", number)["exit_code"] == 0
    comment = service.result("deploy", number, ".cd/comment/cd-result.json")
    assert comment["exit_code"] == code
    assert why in service.log("deploy", number)
