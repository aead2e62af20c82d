"""The sample service's Jenkins jobs, made by Jenkins Job Builder and run for real: Docker, registry, git."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lab.jenkins.settings import Agent
from lab.jenkins.testing import ADMIN, QUICK, OwnProcess, StandIn, wait_for
from lab.testing import Repository, RunningLab

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@dataclass
class Site:
    """A Jenkins with the jobs of hello, and a git server that its agents reach."""

    server: StandIn
    repository: Repository
    base: Path

    def run(self, job: str, *args: str, **parameters: str) -> tuple[int, dict[str, Any], str]:
        """jenkins-run as Zuul's playbooks call it."""
        out = self.base / f"out-{secrets.token_hex(3)}"
        env = {**os.environ, "JENKINS_URL": self.server.url, "JENKINS_USER": ADMIN.name, "JENKINS_TOKEN": ADMIN.token}
        argv = [
            BIN / "jenkins-run",
            "--job",
            job,
            "--params-file",
            "/dev/stdin",
            "--out",
            out,
            "--timeout",
            "240",
            *args,
        ]
        done = subprocess.run(
            [str(word) for word in argv], capture_output=True, text=True, env=env, input=json.dumps(parameters)
        )
        return done.returncode, json.loads((out / "cd-result.json").read_text()), done.stderr

    @property
    def source(self) -> tuple[str, ...]:
        return ("--push-source", str(self.repository.folder), "--source-url", f"file://{self.base}/git")


ZUUL = {"ZUUL_UUID": "u1", "ZUUL_PIPELINE": "check", "ZUUL_PROJECT": "hello", "ZUUL_BRANCH": "master", "ZUUL_CHANGE": "12",
        "ZUUL_PATCHSET": "1", "ZUUL_CHANGE_IDS": "12,1", "ZUUL_CHANGES": "hello:master:refs/changes/12/12/1"}  # fmt: skip


@pytest.fixture
def site(lab: RunningLab, repo: Callable[..., Repository], tmp_path: Path) -> Iterator[Site]:
    name = f"t/jenkins-{secrets.token_hex(4)}"
    targets = tmp_path / "targets.yaml"
    targets.write_text(json.dumps({
        "version": 1, "environments": {"lab": {"policy": "none"}},
        "services": {"hello": {"image": f"{lab.registry}/{name}", "candidates": f"{lab.registry}/{name}-candidates",
                               "environments": {"lab": {"namespace": "none", "release": "none"}}}}}))  # fmt: skip
    cdlib = tmp_path / "cdlib"
    cdlib.mkdir()
    (cdlib / "current").symlink_to(BIN.parent)
    env = {**lab.env, "CD_TARGETS": str(targets), "CD_HOME": str(cdlib)}
    labels = ("cd-build", "cd-authorize", "cd-deploy")
    agents = tuple(Agent(label, frozenset({label}), 2, env) for label in labels)
    jenkins = OwnProcess(tmp_path / "home", replace(QUICK, agents=agents, kill_after=10.0))
    repository = repo()
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "git" / "hello")], check=True)
    server = jenkins.start()
    made = Site(server, repository, tmp_path)
    who = {
        "JENKINS_URL": server.url,
        "JENKINS_USER": ADMIN.name,
        "JENKINS_TOKEN": ADMIN.token,
        "JENKINS_JOBS": str(BIN / "jenkins-jobs"),
    }
    subprocess.run(
        [str(ROOT / "jjb" / "update")],
        check=True,
        capture_output=True,
        env={**os.environ, **who, "HOME": str(tmp_path)},
    )
    yield made
    jenkins.stop()


def test_a_change_is_checked(site: Site) -> None:
    code, result, said = site.run("hello-check", *site.source, "--request", "s1-check", **ZUUL)
    assert code == 0, said
    commit = site.repository.git("rev-parse", "HEAD")
    assert result["job_result"]["commit"] == commit and result["job_result"]["tests"]["failed"] == 0
    assert set(result["artifacts"]) >= {"cd-result.json", "events.jsonl", "reports/hello.xml"}
    report = site.server.json(f"job/hello-check/{result['build']['number']}/testReport")
    assert report["failCount"] == 0 and report["passCount"] >= 3
    values = site.server.json("job/hello-check/1", "actions[parameters[name,value]]")["actions"][0]["parameters"]
    given = {entry["name"]: entry["value"] for entry in values}
    assert (
        given["ZUUL_COMMIT"] == commit
        and given["ZUUL_REF"].startswith("refs/zuul/master/Z")
        and given["CD_REQUEST"] == "s1-check"
    )


def test_a_failing_test_is_told_by_its_name(site: Site) -> None:
    tests = site.repository.folder / "tests" / "test_hello.py"
    site.repository.commit(
        files={"tests/test_hello.py": tests.read_text() + "\n\ndef test_of_mine():\n    assert 1 == 2, 'no'\n"}
    )
    code, result, said = site.run("hello-check", *site.source, **ZUUL)
    assert code == 4 and result["outcome"] == "tests-failed", said
    assert "test_of_mine" in json.dumps(result["error"]) and result["error"]["message"].startswith("hello-check #1: ")
    assert result["build"]["result"] == "FAILURE" and "reports/hello.xml" in result["artifacts"]


def test_gate_publishes_a_candidate_and_publish_tag_promotes_it(site: Site) -> None:
    code, gate, said = site.run("hello-gate", *site.source, **{**ZUUL, "ZUUL_PIPELINE": "gate"})
    assert code == 0 and gate["job_result"]["digest"], said
    commit = site.repository.git("rev-parse", "HEAD")
    subprocess.run(
        ["git", "-C", str(site.base / "git" / "hello"), "update-ref", "refs/heads/master", commit], check=True
    )
    updated = {"ZUUL_UUID": "u2", "ZUUL_PIPELINE": "postmerge", "ZUUL_PROJECT": "hello", "ZUUL_REF": "refs/heads/master",
               "ZUUL_REFNAME": "master", "ZUUL_OLDREV": "0" * 40, "ZUUL_NEWREV": commit, "ZUUL_COMMIT": commit,
               "ZUUL_URL": f"file://{site.base}/git"}  # fmt: skip
    code, authorized, said = site.run("hello-authorize", **updated)
    assert code == 0 and authorized["job_result"]["environment"] == "lab", said
    code, published, said = site.run("hello-publish-tag", **updated)
    assert code == 0 and published["job_result"]["digest"] == gate["job_result"]["digest"], said
    code, again, said = site.run("hello-publish-tag", "--rerun", str(published["build"]["number"]))
    assert code == 0 and again["outcome"] == "unchanged" and again["build"]["number"] == 2, said


def test_a_single_step_by_hand(site: Site) -> None:
    site.repository.git("push", "--quiet", f"file://{site.base}/git/hello", "HEAD:refs/heads/master")
    code, result, said = site.run("hello-build-image", ZUUL_URL=f"file://{site.base}/git", CD_VARIANT="production")
    assert code == 0 and [image["variant"] for image in result["job_result"]["images"]] == ["production"], said
    code, result, said = site.run("hello-run-tests")
    assert code == 2 and "ZUUL_URL is missing" in result["error"]["message"], said


def test_an_aborted_check_leaves_no_container(site: Site, lab: RunningLab) -> None:
    mark = secrets.token_hex(4)
    site.repository.commit(
        files={"tests/test_hello.py": f"import time\n\ndef test_it():\n    time.sleep(300)  # {mark}\n"}
    )
    env = {**os.environ, "JENKINS_URL": site.server.url, "JENKINS_USER": ADMIN.name, "JENKINS_TOKEN": ADMIN.token}
    words = [f"--param={name}={value}" for name, value in ZUUL.items()]
    argv = [
        BIN / "jenkins-run",
        "--job",
        "hello-check",
        "--request",
        "r",
        "--out",
        site.base / "long",
        *site.source,
        *words,
    ]
    child = subprocess.Popen([str(word) for word in argv], env=env, stderr=subprocess.DEVNULL)
    log = "job/hello-check/1/consoleText"
    wait_for(lambda: containers(lab, site.server.get(log).text), 120)
    child.kill()  # as Zuul ends a job
    child.wait()
    code, result, said = site.run("hello-check", "--abort", "--request", "r")
    assert code == 0 and [build["result"] for build in result["aborted"]] == ["ABORTED"], said
    assert not containers(lab, site.server.get(log).text), "a container of the aborted build still runs"


def containers(lab: RunningLab, log: str) -> list[str]:
    """The containers of the images that a build tells of."""
    images = re.findall(r"^\S+ (sha256:[0-9a-f]{64}) ", log, re.MULTILINE)
    found = (lab.run("docker", "ps", "--quiet", "--filter", f"ancestor={image}").stdout.split() for image in images)
    return [container for listed in found for container in listed]
