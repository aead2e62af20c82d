"""The loop's servers by themselves: Gerrit's rights, Zuul's votes, its configuration, the git and log servers.

The changes here run jobs of their own that need no Jenkins.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from cdlib.errors import CdError
from lab.loop import projects
from lab.loop.places import CHECKOUT, CONFIG_PROJECT, GIT_URL, LOGS_URL, NAMES, TENANT, ZUUL_URL
from lab.loop.testing import Author, Change, Loop, until
from lab.testing import command

JOB = """\
- job:
    name: {project}-test
    run: test.yaml
- project:
    check: {{jobs: [{project}-test]}}
    gate: {{jobs: [{project}-test]}}
"""
PLAYBOOK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - command: test ! -e BROKEN
      args: {chdir: "{{ zuul.executor.work_root }}/{{ zuul.project.src_dir }}"}
"""


@pytest.fixture(scope="module")
def project(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project with a job of its own, which runs in Zuul's sandbox for what a change may bring."""
    name = f"t-{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("project")
    (folder / ".zuul.yaml").write_text(JOB.format(project=name))
    (folder / "test.yaml").write_text(PLAYBOOK)
    loop.add_project(folder, name)
    return name


@pytest.fixture
def author(loop: Loop, project: str, tmp_path: Path) -> Author:
    """alice's clone of the project."""
    return loop.clone(project, tmp_path / "clone")


def test_up_twice_is_up_once(loop: Loop) -> None:
    before = _pids()
    done = command("up", "--loop", env=loop.lab.env)
    assert done.ok and "was up already" in "".join(done.stderr)
    assert command("up", env=loop.lab.env).ok, "a lab that has the loop keeps it"
    assert _pids() == before
    assert set(NAMES) - {"jenkins"} <= set(before)


def _pids() -> dict[str, str]:
    done = command("status")
    assert done.ok, done.stdout
    return {line.split()[0]: line.split()[2] for line in done.stdout.splitlines()[1:]}


def test_a_change_is_checked_gated_and_merged(loop: Loop, author: Author) -> None:
    change = author.push("good", {"file": "good\n"})
    change.wait_vote(1)
    change.vote(2)
    commit = change.wait_merged()
    assert author.git("rev-parse", "HEAD") == commit, "what was reviewed is what was merged"
    assert change.verified == 2
    assert loop.wait_build(change=change.number, pipeline="gate")["result"] == "SUCCESS"


def test_a_failure_votes_and_links_its_log(loop: Loop, author: Author) -> None:
    change = author.push("bad", {"BROKEN": "bad\n"})
    change.wait_vote(-1)
    build = loop.wait_build(change=change.number)
    assert f"{ZUUL_URL}/t/{TENANT}/build/{build['uuid']} : FAILURE" in change.messages()[-1]
    assert "recheck" in change.messages()[-1]
    assert "test ! -e BROKEN" in requests.get(f"{build['log_url']}job-output.json", timeout=30).text


def test_recheck_runs_it_again(loop: Loop, author: Author) -> None:
    change = author.push("again", {"file": "again\n"})
    change.wait_vote(1)
    change.comment("recheck")
    until(lambda: len([build for build in loop.builds(change=change.number) if build["result"]]) == 2, "a second build")


def test_only_an_approver_approves_and_only_zuul_submits(loop: Loop, author: Author) -> None:
    change = author.push("rights", {"file": "rights\n"})
    change.wait_vote(1)
    with pytest.raises(CdError, match="refused"):
        change.vote(2, "alice")
    for user in ("alice", "bob"):
        with pytest.raises(CdError, match="refused"):
            loop.gerrit(user).post(f"changes/{change.number}/submit", {})
        with contextlib.suppress(CdError):  # Gerrit refuses some votes, and drops others without a word
            review = {"labels": {"Verified": 2}}
            loop.gerrit(user).post(f"changes/{change.number}/revisions/current/review", review)
    votes = change.detail()["labels"]["Verified"]["all"]
    assert {(vote["username"], vote["value"]) for vote in votes if vote.get("value")} == {("zuul", 1)}
    assert change.status == "NEW"


def test_who_writes_a_change_does_not_approve_it(loop: Loop, project: str, tmp_path: Path) -> None:
    own = loop.clone(project, tmp_path / "bob", "bob").push("my own", {"file": "bob\n"})
    own.wait_vote(1)
    own.vote(2, "bob")
    requirements = {entry["name"]: entry["status"] for entry in _requirements(loop, own.number)}
    assert requirements["Code-Review"] == "UNSATISFIED"
    assert own.status == "NEW"


def _requirements(loop: Loop, number: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = loop.gerrit().get(f"changes/{number}", o="SUBMIT_REQUIREMENTS")["submit_requirements"]
    return found


def _uses(job: str, variant: str = "voting: true") -> str:
    """A project that runs a job in check. In block style: Zuul 14 cannot report what is wrong in one line."""
    return f"- project:\n    check:\n      jobs:\n        - {job}:\n            {variant}\n"


# By file of zuul.d: what is replaced in it, by what, and what Zuul says of that.
BROKEN = {
    "jobs": ("final: true", "finally: true", "extra keys not allowed"),
    "deploy": ("secret: cd-jenkins-deploy", "secret: nothing", "nothing"),
    "pipelines": ("manager: supercedent", "manager: super", "super"),
}
# What a service's change adds to its own .zuul.yaml.
TAKEN_OVER = {
    "other variables": _uses("cd-check", "vars: {cd_stage: rollback}"),
    "a child": f"- job:\n    name: mine\n    parent: cd-gate\n    run: test.yaml\n{_uses('mine')}",
    "before the review": _uses("cd-deploy"),
    "its secret": "- job:\n    name: mine\n    run: test.yaml\n    secrets:\n      - cd-jenkins-build\n",
}


@pytest.fixture(scope="module")
def refused(loop: Loop, project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Change]]:
    """Changes whose configuration Zuul refuses, pushed one after the other: it looks at them all at once."""
    config = loop.clone(CONFIG_PROJECT, tmp_path_factory.mktemp("config") / "clone")
    author = loop.clone(project, tmp_path_factory.mktemp("author") / "clone")
    texts = {name: (config.git.folder / f"zuul.d/{name}.yaml").read_text() for name in BROKEN}
    assert all(was in texts[name] for name, (was, _, _) in BROKEN.items())
    own = (author.git.folder / ".zuul.yaml").read_text()
    made = {
        name: config.push(name, {f"zuul.d/{name}.yaml": texts[name].replace(was, broken)})
        for name, (was, broken, _) in BROKEN.items()
    }
    made |= {name: author.push(name, {".zuul.yaml": own + added}) for name, added in TAKEN_OVER.items()}
    yield made
    for change in made.values():
        change.abandon()


class TestConfiguration:
    def test_zuul_takes_what_the_checkout_has(self, loop: Loop) -> None:
        assert loop.config_errors() == []
        answer = requests.get(f"{ZUUL_URL}/api/tenant/{TENANT}/jobs", timeout=30)
        assert {job["name"] for job in answer.json()} >= {
            entry["job"]["name"]
            for file in (CHECKOUT / "zuul.d").glob("*.yaml")
            for entry in yaml.safe_load(file.read_text())
            if "job" in entry
        }

    @pytest.mark.parametrize("name", BROKEN)
    def test_a_broken_one_is_refused_on_its_change(self, refused: dict[str, Change], name: str) -> None:
        refused[name].wait_vote(-1)
        assert BROKEN[name][2] in refused[name].messages()[-1]

    @pytest.mark.parametrize("name", TAKEN_OVER)
    def test_a_change_cannot_take_the_jobs_over(self, refused: dict[str, Change], name: str) -> None:
        refused[name].wait_vote(-1)


class TestGitServer:
    def test_it_takes_what_zuul_makes_and_nothing_else(self, project: str, author: Author) -> None:
        where = f"{GIT_URL}/{project}"
        author.git("push", "--quiet", where, "HEAD:refs/zuul/master/Ztest")
        assert "refs/zuul/master/Ztest" in author.git("ls-remote", where)
        with pytest.raises(CdError):
            author.git("push", "--quiet", where, "HEAD:refs/heads/master")
        author.git("push", "--quiet", where, ":refs/zuul/master/Ztest")
        assert author.git("ls-remote", where) == ""


def test_logs_are_shown_and_links_in_them_are_not_followed(loop: Loop) -> None:
    folder = loop.places.job_logs / "test-links"
    folder.mkdir(exist_ok=True)
    (folder / "good.txt").write_text("good")
    if not (folder / "bad.txt").is_symlink():
        (folder / "bad.txt").symlink_to("/etc/passwd")
    assert requests.get(f"{LOGS_URL}/test-links/good.txt", timeout=10).text == "good"
    assert requests.get(f"{LOGS_URL}/test-links/bad.txt", timeout=10).status_code == 404


def test_one_server_is_stopped_and_started(loop: Loop, project: str) -> None:
    assert command("stop", "git-server", "--kill").ok
    status = command("status")
    assert status.returncode == 1 and "down" in next(x for x in status.stdout.splitlines() if "git-server" in x)
    gone = subprocess.run(["git", "ls-remote", f"{GIT_URL}/{project}"], capture_output=True, text=True)
    assert gone.returncode != 0
    assert command("start", "git-server").ok
    assert command("status").ok
    assert projects.Git(loop.places, "alice", Path("/"))("ls-remote", f"{GIT_URL}/{project}") == ""
