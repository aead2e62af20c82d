"""A service's changes through Gerrit, Zuul and Jenkins together: votes, comments, aborted builds, and what serves."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.jenkins.builds import Build, recent
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import read_job
from lab.loop.places import CHECKOUT
from lab.loop.testing import Author, Change, Loop, until
from lab.testing import command

SLOW = "import time\n\n\ndef test_slow() -> None:\n    time.sleep({seconds})\n"
BAD = "def test_sum() -> None:\n    assert 1 + 1 == 3\n"


@pytest.fixture(scope="module")
def service(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A service of the tests' own."""
    return _add(loop, tmp_path_factory.mktemp("service"), "cd-service")


def _add(loop: Loop, scratch: Path, template: str) -> str:
    """A service made of the sample service, with one of Zuul's templates."""
    name = f"s-{secrets.token_hex(4)}"
    folder = scratch / name
    left_out = shutil.ignore_patterns("__pycache__", ".cd", ".pytest_cache")
    shutil.copytree(CHECKOUT / "examples" / "hello", folder, ignore=left_out)
    for file, was, now in (("cd.yaml", "service: hello", f"service: {name}"), (".zuul.yaml", "cd-service", template)):
        (folder / file).write_text((folder / file).read_text().replace(was, now))
    return loop.add_project(folder, name)


def _answer(loop: Loop, service: str) -> dict[str, str]:
    """What the service answers."""
    where = f"/api/v1/namespaces/{service}/services/{service}:80/proxy/"
    done = process.run(["kubectl", "get", "--raw", where], Deadline(30, "kubectl"), env=loop.lab.env)
    return dict(json.loads(done.stdout))


@pytest.fixture
def author(loop: Loop, service: str, tmp_path: Path) -> Author:
    """alice's clone of the service."""
    return loop.clone(service, tmp_path / "clone")


def _builds(loop: Loop, job: str) -> list[Build]:
    """The builds of a Jenkins job, the newest first."""
    deadline = Deadline(60, "asking Jenkins")
    server = Server(**loop.jenkins())
    return recent(server, read_job(server, job, deadline), deadline)


def test_a_newer_patchset_aborts_the_build_and_alone_votes(loop: Loop, author: Author) -> None:
    job = f"{author.project}-check"
    change = author.push("slow", {"tests/test_new.py": SLOW.format(seconds=100)})
    until(lambda: _builds(loop, job), "the first build")
    author.amend({"tests/test_new.py": BAD})
    until(lambda: [b for b in _builds(loop, job) if b.result == "ABORTED"], "the first build aborted", 30)
    change.wait_vote(-1)
    assert "test_sum" in change.messages()[-1] and f"/job/{job}/2/" in change.messages()[-1]
    assert [build.result for build in _builds(loop, job)] == ["FAILURE", "ABORTED"]
    assert not [message for message in change.messages() if "Patch Set 1: Verified" in message]


def test_a_retry_finds_the_build_that_runs(loop: Loop, author: Author) -> None:
    job = f"{author.project}-check"
    before = len(_builds(loop, job))
    change = author.push("retried", {"tests/test_new.py": SLOW.format(seconds=30)})
    until(lambda: len(_builds(loop, job)) > before, "a build")
    assert command("stop", "zuul-executor", "--kill").ok
    assert command("start", "zuul-executor").ok
    change.wait_vote(1, 240)
    assert len(_builds(loop, job)) == before + 1, "the second attempt has started no second build"


def _deploy(loop: Loop, author: Author, version: str) -> tuple[Change, str]:
    """A change that is approved, merged and deployed, and its commit."""
    change = author.push(f"version {version}", {"VERSION": f"{version}\n"})
    change.approve()
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-deploy", newrev=commit)["result"] == "SUCCESS"
    return change, commit


def _operate(loop: Loop, out: Path, job: str, **parameters: str) -> dict[str, Any]:
    """Start a Jenkins job as an operator does; what its command made."""
    words = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
    argv = [Path(sys.executable).with_name("jenkins-run"), "--json", "--out", out, "--job", job, *words]
    done = process.run(argv, Deadline(120, "jenkins-run"), env={**loop.lab.env, **loop.operator})
    assert done.ok, done.stderr[-20:]
    made: dict[str, Any] = json.loads(done.stdout)["job_result"]
    return made


def test_an_approved_change_serves(loop: Loop, author: Author) -> None:
    change, commit = _deploy(loop, author, "7")
    answer = _answer(loop, author.project)
    assert answer["revision"] == commit and answer["version"] == "7"
    until(lambda: [told for told in change.messages("Deploys") if commit[:12] in told], "a comment on the deploy", 30)


def test_a_rollback_by_hand_is_told_once_and_a_job_lifts_the_hold(loop: Loop, author: Author, tmp_path: Path) -> None:
    kept, old = _deploy(loop, author, "8")
    taken, new = _deploy(loop, author, "9")
    before = len(kept.messages("Deploys"))
    back = _operate(loop, tmp_path / "1", f"{author.project}-rollback", CD_REASON="orders are lost")
    assert (back["commit"], back["previous"]) == (old, new)
    (said,) = (each for each in taken.messages("Deploys") if "Rolled back by hand" in each)
    assert "Not live any more: this change" in said and "Reason: orders are lost" in said
    assert f"{author.project}-hold" in said and f"/job/{author.project}-rollback/1/" in said
    again = _operate(loop, tmp_path / "2", f"{author.project}-rollback", CD_REASON="orders are lost")
    assert again["outcome"] == "unchanged"
    assert len([each for each in taken.messages("Deploys") if "Rolled back by hand" in each]) == 1
    assert len(kept.messages("Deploys")) == before, "what is live again by its own deploy is told nothing"
    hold = f"{author.project}-hold"
    assert _operate(loop, tmp_path / "3", hold)["hold"]["reason"] == "orders are lost"
    assert _operate(loop, tmp_path / "4", hold, CD_HOLD="lift")["hold"] is None
    assert _operate(loop, tmp_path / "5", hold, CD_HOLD="set", CD_REASON="a freeze")["hold"]["reason"] == "a freeze"
    assert _operate(loop, tmp_path / "6", hold, CD_HOLD="lift")["hold"] is None


def test_without_jenkins_on_a_node(loop: Loop, tmp_path: Path) -> None:
    """The happy way of `cd_runner: zuul`."""
    service = _add(loop, tmp_path, "cd-service-on-nodes")
    author = loop.clone(service, tmp_path / "clone")
    bad = author.push("bad", {"tests/test_new.py": BAD})
    bad.wait_vote(-1)
    assert "test_sum" in bad.messages()[-1]
    change = author.amend({"tests/test_new.py": BAD.replace("3", "2")})
    change.wait_vote(1)
    change.approve()
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-node-deploy", newrev=commit)["result"] == "SUCCESS"
    assert _answer(loop, service)["revision"] == commit
    assert not _builds(loop, f"{service}-check")
    until(lambda: not list(Path("/root").glob("cd-*")), "nothing left on the node", 30)
