"""The pages of a real run of the story, exactly as they lie in Jenkins' artifacts and on Zuul's log server."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import figures
import pytest
import requests
from browser import Browser, columns
from reading import figures_hold, laid_out, opens_alone, readable, told_without_colour

from lab.jenkins.routes import ARTIFACT_POLICY
from lab.loop.story import play
from lab.loop.testing import Loop

pytestmark = pytest.mark.timeout(1200)  # the first test waits for the story, which takes four minutes alone
STAGES = ("check", "gate", "deploy", "rollback")
# What the story brings about: the job, how its build ended, and what its result says.
BUILDS = (("check", "FAILURE", "tests-failed"), ("check", "SUCCESS", "done"), ("gate", "SUCCESS", ""),
          ("deploy", "SUCCESS", "done"), ("deploy", "FAILURE", "rolled-back"), ("rollback", "SUCCESS", "done"))  # fmt: skip
LOGS = (("cd-check", "FAILURE"), ("cd-check", "SUCCESS"), ("cd-gate", "SUCCESS"), ("cd-deploy", "SUCCESS"),
        ("cd-deploy", "FAILURE"))  # fmt: skip


@dataclass(frozen=True)
class Jenkins:
    """Jenkins, as a browser that is logged in has it."""

    url: str
    session: requests.Session
    headers: dict[str, str]

    @classmethod
    def of(cls, loop: Loop) -> Jenkins:
        """The one of the lab."""
        given, session = loop.jenkins(), requests.Session()
        word = base64.b64encode(f"{given['user']}:{given['token']}".encode()).decode()
        session.trust_env, session.headers["Authorization"] = False, f"Basic {word}"
        return cls(given["url"].rstrip("/"), session, {"Authorization": f"Basic {word}"})

    def builds(self, stage: str) -> list[dict[str, Any]]:
        """The builds of one of hello's jobs, with the paths of their artifacts."""
        tree = "builds[number,result,artifacts[relativePath]]"
        answer = self.session.get(f"{self.url}/job/hello-{stage}/api/json", params={"tree": tree}, timeout=30)
        answer.raise_for_status()
        return list(answer.json()["builds"])

    def outcome(self, stage: str, build: dict[str, Any]) -> str:
        """What a build's result says; empty where it has none."""
        answer = self.session.get(f"{self.artifacts(stage, build)}.cd/cd-result.json", timeout=30)
        return str(answer.json()["outcome"]) if answer.ok else ""

    def artifacts(self, stage: str, build: dict[str, Any]) -> str:
        """The address below which a build's artifacts are."""
        return f"{self.url}/job/hello-{stage}/{build['number']}/artifact/"


@dataclass(frozen=True)
class Played:
    """A story that has been played: the builds that are its own."""

    loop: Loop
    jenkins: Jenkins
    before: dict[str, int]
    began: float

    def build(self, stage: str, result: str, outcome: str) -> dict[str, Any]:
        """The newest of the story's builds that ended so."""
        own = [each for each in self.jenkins.builds(stage) if each["number"] > self.before[stage]]
        for build in sorted(own, key=lambda each: -int(each["number"])):
            if build["result"] == result and outcome in ("", self.jenkins.outcome(stage, build)):
                return build
        raise AssertionError(f"no {stage} of the story ended as {result}, {outcome}: {own}")

    def logs(self, job: str, result: str) -> dict[str, Any]:
        """The newest of the story's builds in Zuul that ended so."""
        for build in self.loop.builds(project="hello", job_name=job):
            started = datetime.fromisoformat(build["start_time"]).replace(tzinfo=UTC).timestamp()
            if build["result"] == result and started >= self.began:
                return build
        raise AssertionError(f"no {job} of the story ended as {result}")


@pytest.fixture(scope="module")
def played(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    jenkins, began = Jenkins.of(loop), time.time() - 1
    before = {stage: max((int(b["number"]) for b in jenkins.builds(stage)), default=0) for stage in STAGES}
    play.play(loop, tmp_path_factory.mktemp("story"))
    yield Played(loop, jenkins, before, began)
    jenkins.session.close()


@pytest.mark.parametrize(("stage", "result", "outcome"), BUILDS)
def test_as_it_lies_in_jenkins_artifacts(
    browser: Browser, played: Played, tmp_path: Path, stage: str, result: str, outcome: str
) -> None:
    build = played.build(stage, result, outcome)
    base = played.jenkins.artifacts(stage, build)
    for path in (each["relativePath"] for each in build["artifacts"]):
        kept = played.jenkins.session.get(base + path, timeout=30)
        kept.raise_for_status()
        assert kept.headers["Content-Security-Policy"] == ARTIFACT_POLICY
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(kept.content)
    opens_alone(browser, f"{base}.cd/report.html", played.jenkins.headers)
    laid_out(browser)
    told_without_colour(browser)
    figures_hold(browser, figures.of_page(tmp_path / ".cd"))
    readable(browser, tmp_path / ".cd" / "report.html", plain=True)


@pytest.mark.parametrize(("job", "result"), LOGS)
def test_as_it_lies_on_zuuls_log_server(browser: Browser, played: Played, job: str, result: str) -> None:
    build = played.logs(job, result)
    folder = played.loop.places.job_logs / build["uuid"] / job
    opens_alone(browser, f"{build['log_url']}{job}/report.html")
    laid_out(browser)
    told_without_colour(browser)
    assert browser.ask("getComputedStyle(document.body).maxWidth") != "none", "its style sheet holds"
    figures_hold(browser, figures.of_page(folder / "artifacts"))
    assert any(each["name"].endswith(" page") for each in build["artifacts"]), "Zuul links it"
    readable(browser, folder / "report.html")


def test_a_check_that_failed_names_its_test_and_its_change(browser: Browser, played: Played) -> None:
    build = played.logs("cd-check", "FAILURE")
    browser.open(f"{build['log_url']}cd-check/report.html")
    assert "test_version_is_one_word" in browser.text
    facts = dict(columns(browser, "what-it-was-about"))
    assert re.fullmatch(r"\d+,\d+", facts["Change"]) and facts["Pipeline"] == "check"


def test_a_deploy_that_was_rolled_back_says_why(browser: Browser, played: Played) -> None:
    build = played.build("deploy", "FAILURE", "rolled-back")
    page = played.jenkins.artifacts("deploy", build) + ".cd/report.html"
    browser.open(page, headers=played.jenkins.headers)
    assert "KeyError: 'HELLO_GREETING'" in browser.text
    assert re.fullmatch(r"✗ hello to \w+: rolled back", str(browser.ask("document.querySelector('h1').innerText")))
