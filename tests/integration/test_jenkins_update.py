"""`jjb/update` sends the definitions, as an operator calls it, to a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jjb import JJB, LABELS, SERVICES, make
from lab.jenkins.definition import define
from lab.jenkins.testing import in_process


@pytest.fixture
def update(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        spy = tmp_path / "jenkins-jobs"
        spy.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/argv\nexec {Path(sys.executable).with_name("jenkins-jobs")} "$@"\n'
        )
        spy.chmod(0o755)
        whole = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "JENKINS_JOBS": str(spy), **env}
        return subprocess.run([str(JJB / "update"), *args], capture_output=True, text=True, env=whole)

    return run


def test_the_definitions_are_sent(tmp_path: Path, update: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with in_process(tmp_path / "home") as server:
        who = {"JENKINS_URL": server.url, "JENKINS_USER": "admin"}
        first = update(**who, JENKINS_TOKEN="admin-token-1")
        assert first.returncode == 0, first.stderr
        names = [job["name"] for job in server.json("", "jobs[name]")["jobs"]]
        assert sorted(names) == sorted(f"{s}-{kind}" for s in SERVICES for kind in LABELS)
        assert "admin-token-1" not in (tmp_path / "argv").read_text()
        server.post("job/hello-check/doDelete")
        (tmp_path / "token").write_text("admin-token-1\n")
        (tmp_path / "token").chmod(0o600)
        again = update("hello-check", **who, JENKINS_TOKEN_FILE=str(tmp_path / "token"))
        assert again.returncode == 0 and server.get("job/hello-check/api/json").status_code == 200
        assert "JENKINS_URL" in update(JENKINS_USER="x").stderr
        assert not [p for p in tmp_path.iterdir() if p.name.startswith("tmp.")]


SITE = re.search(
    r"<!-- services.yaml -->\n```yaml\n(.*?)```\n", (JJB.parent / "docs" / "jenkins.md").read_text(), re.DOTALL
)


def test_a_site_keeps_its_services_in_a_folder_of_its_own(
    tmp_path: Path, update: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """As docs/jenkins.md shows it: no sample is sent, and what the site sets once holds for all of its services."""
    assert SITE
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "services.yaml").write_text(SITE[1])
    with in_process(tmp_path / "home") as server:
        who = {"JENKINS_URL": server.url, "JENKINS_USER": "admin", "JENKINS_TOKEN": "admin-token-1"}
        done = update(**who, JENKINS_SERVICES=str(tmp_path / "site"))
        assert done.returncode == 0, done.stderr
        names = {job["name"] for job in server.json("", "jobs[name]")["jobs"]}
        assert names == {f"{service}-{kind}" for service in ("payments", "search") for kind in LABELS}
        missing = update(**who, JENKINS_SERVICES=str(tmp_path / "none"))
        assert missing.returncode == 2 and "JENKINS_SERVICES" in missing.stderr
    make(JJB, tmp_path / "made", tmp_path / "site")
    for service, project in (("payments", "shop/payments"), ("search", "search")):
        job = define((tmp_path / "made" / f"{service}-gate" / "config.xml").read_bytes())
        defaults = {p.name: p.default for p in job.parameters}
        assert (defaults["ZUUL_URL"], defaults["ZUUL_PROJECT"]) == ("https://gerrit.example.org", project)
        assert {b.credential for b in job.bindings} == {"cd-build-key", "cd-test-key"}
