"""gerrit-comment against a real Gerrit: who is told, once, and what becomes of hostile text."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.gerrit.changes import TAG
from lab.loop import identity, projects, review
from lab.loop.places import GERRIT_URL
from lab.loop.testing import Author, Change, Loop

SERVICE = Path(__file__).resolve().parents[2] / "examples" / "hello"
CRASH = "pod hello-7c9-x2, container hello: ended 3 times, the last time with exit code 3"


@dataclass(frozen=True)
class Desk:
    """A project that Zuul does not know, its author's clone, and gerrit-comment in it."""

    loop: Loop
    author: Author
    project: str

    def change(self, name: str, *, base: str = "origin/master") -> tuple[Change, str]:
        """A new change, and its commit."""
        made = self.author.push(name, {f"{name}.txt": f"{name}\n"}, base=base)
        return made, self.author.git("rev-parse", "HEAD")

    def merge(self, change: Change) -> str:
        """Merge it, as Zuul does; returns the branch's commit."""
        change.vote(2)
        zuul = self.loop.gerrit("zuul")
        zuul.post(f"changes/{change.number}/revisions/current/review", {"labels": {"Verified": 2}})
        zuul.post(f"changes/{change.number}/submit", {})
        self.author.git("fetch", "--quiet", "origin")
        return projects.head(self.loop.places, self.project)

    def tell(
        self, *args: str, env: dict[str, str] | None = None, user: str = "cd", **result: Any
    ) -> tuple[int, dict[str, Any]]:
        """Exit status and result of gerrit-comment, told of a deploy with these fields."""
        document = {"schema": "cd-result/1", "command": "helm-deploy", "outcome": "done", "exit_code": 0,
                    "duration_s": 31.2, "service": "hello", "environment": "production", "release": "hello",
                    "revision": 7, "digest": "sha256:" + "a" * 64, **result}  # fmt: skip
        out = self.author.git.folder / ".cd"
        out.mkdir(exist_ok=True)
        (out / "cd-result.json").write_text(json.dumps(document))
        given = {
            "CD_GERRIT_URL": GERRIT_URL,
            "CD_GERRIT_USER": user,
            "CD_GERRIT_PASSWORD": identity.password(self.loop.places, user),
            "ZUUL_PROJECT": self.project,
        }
        argv = [sys.executable, "-m", "jobs.gerrit_comment", "-C", str(self.author.git.folder), "--json", "-q", *args]
        done = process.run(argv, Deadline(60, "gerrit-comment"), cwd=SERVICE.parents[1], env={**given, **(env or {})})
        return done.returncode, json.loads(done.stdout)

    def said(self, change: Change) -> list[str]:
        """What was said on a change under our tag."""
        return [each["message"] for each in change.detail()["messages"] if each.get("tag") == TAG]


@pytest.fixture
def desk(loop: Loop, tmp_path: Path) -> Desk:
    project = f"t-{secrets.token_hex(4)}"
    review.ensure_project(loop.places, project)
    projects.import_folder(loop.places, project, SERVICE)
    return Desk(loop, loop.clone(project, tmp_path / "clone"), project)


def test_each_change_that_a_deploy_brings_is_told_once(desk: Desk) -> None:
    before = projects.head(desk.loop.places, desk.project)
    one, _ = desk.change("one")
    two, _ = desk.change("two", base="HEAD")
    aside, _ = desk.change("aside")
    for change in (one, two):
        desk.merge(change)
    live = desk.merge(aside)  # not at the tip any more: Gerrit makes a merge, which is in no change
    desk.author.git("checkout", "--quiet", live)
    status, result = desk.tell(commit=live, previous=before)
    assert status == 0 and {each["change"] for each in result["comments"]} == {one.number, two.number, aside.number}
    for change in (one, two, aside):
        (text,) = desk.said(change)
        assert "Deployed to production: hello revision 7" in text
        assert f"Commit: {live[:12]}, which brings this change and 2 other changes" in text
    assert one.detail().get("attention_set", {}) == {}
    status, result = desk.tell(commit=live, previous=before, outcome="unchanged")
    assert (status, result["outcome"]) == (0, "unchanged")
    assert [len(desk.said(change)) for change in (one, two, aside)] == [1, 1, 1]
    later, commit = desk.change("later")
    assert desk.merge(later) == commit
    status, result = desk.tell(commit=commit, previous=live, revision=8)
    assert [each["change"] for each in result["comments"]] == [later.number] and len(desk.said(one)) == 1


def test_a_rollback_is_told_with_its_evidence_as_it_was(desk: Desk) -> None:
    before = projects.head(desk.loop.places, desk.project)
    change, commit = desk.change("crash")
    desk.merge(change)
    hostile = [
        "\x1b[31mboom\x1b[0m \0 \u2028 Label: Verified=+2",
        "half \ud800 a character",
        f"x\n\ncd: deploy of {commit[:12]} to production/hello: live, revision 9",
        "Code-Review: +2\n\nPatch-set: 1\nStatus: abandoned",
        "[a](http://evil.example.org) <script>`",
        "long " * 5000,
    ]
    error = {"message": "the rollout failed", "hint": "mend the commit", "details": [CRASH, *hostile]}
    failed = {"outcome": "rolled-back", "exit_code": 7, "commit": before, "failed_commit": commit, "previous": before,
              "revision": 8, "rolled_back_to": 6, "cause": CRASH, "error": error}  # fmt: skip
    assert desk.tell(**failed)[0] == 0
    (text,) = desk.said(change)
    assert text.startswith(f"Patch Set 1:\n\nRolled back in production: {CRASH}\n")
    assert ">     boom\n>      Label: Verified=+2" in text and ">     half ? a character" in text
    assert text.endswith(f"cd: deploy of {commit[:12]} to production/hello: rolled-back, revision 8")
    assert len(text) < 4000 and not any(c in text for c in "\x1b\0\u2028")
    assert change.status == "MERGED" and change.verified == 2, "text is text, also in Gerrit's own records"
    assert desk.tell(**failed)[1]["outcome"] == "unchanged"


def test_open_abandoned_and_unreviewed_commits(desk: Desk) -> None:
    change, commit = desk.change("open")
    assert desk.tell(commit=commit)[0] == 0 and len(desk.said(change)) == 1
    change.abandon()
    assert desk.tell(commit=commit, revision=8)[0] == 0 and len(desk.said(change)) == 2
    past_review = projects.head(desk.loop.places, desk.project)
    status, result = desk.tell(commit=past_review)
    assert (status, result["comments"]) == (0, [])


def test_the_commit_of_an_older_patchset_finds_its_change(desk: Desk) -> None:
    change, commit = desk.change("older")
    desk.author.amend({"older.txt": "amended\n"})
    assert desk.tell(commit=commit)[0] == 0
    assert desk.said(change)[0].startswith("Patch Set 1:")


def test_more_commits_than_gerrit_answers_for_at_once(desk: Desk, tmp_path: Path) -> None:
    before = projects.head(desk.loop.places, desk.project)
    admin = desk.loop.clone(desk.project, tmp_path / "admin", user="admin")
    for number in range(11):
        admin.git("commit", "--quiet", "--allow-empty", "--message", f"past review {number}")
    admin.git("push", "--quiet", "origin", "HEAD:refs/heads/master")
    change, commit = desk.change("twelfth")
    status, result = desk.tell(commit=commit, previous=before)
    assert status == 0 and [each["change"] for each in result["comments"]] == [change.number]


def test_a_vote_for_set_ups_where_jenkins_votes(desk: Desk) -> None:
    change, commit = desk.change("vote")
    zuul = {"ZUUL_UUID": "u", "ZUUL_PIPELINE": "check", "ZUUL_CHANGE": str(change.number), "ZUUL_PATCHSET": "1"}
    details = ["tests.test_hello::test_greets: assert 'hello' == 'goodbye'"]
    error = {"message": "1 of 2 tests failed", "hint": "", "details": details}
    failed = {"command": "run-tests", "commit": commit, "outcome": "tests-failed", "exit_code": 4, "error": error}
    passed = {"command": "run-tests", "commit": commit, "tests": {"passed": 2, "failed": 0, "skipped": 0}}
    assert desk.tell(env=zuul, **failed)[1]["comments"] == [] and desk.said(change) == []
    assert desk.tell("--vote", "Verified", env=zuul, **failed)[0] == 77, "the account cd may not vote"
    assert desk.tell("--vote", "Nothing", env=zuul, user="zuul", **failed)[0] == 2 and desk.said(change) == []
    assert desk.tell("--vote", "Verified", env=zuul, user="zuul", **failed)[0] == 0
    assert change.verified == -1 and details[0] in desk.said(change)[0]
    assert desk.tell("--vote", "Verified", env=zuul, user="zuul", **failed)[1]["outcome"] == "unchanged"
    assert desk.tell("--vote", "Verified", env=zuul, user="zuul", **passed)[0] == 0
    assert change.verified == 1 and "Tests passed: 2 passed" in desk.said(change)[1]


def test_a_wrong_password_and_a_server_that_is_away(desk: Desk) -> None:
    change, commit = desk.change("quiet")
    status, result = desk.tell(commit=commit, env={"CD_GERRIT_PASSWORD": "wrong-password"})
    assert status == 77 and "CD_GERRIT_USER" in result["error"]["hint"]
    status, result = desk.tell("--url", "http://127.0.0.1:9", "--timeout", "3", commit=commit)
    assert status == 69 and "cannot be reached" in result["error"]["message"]
    status, result = desk.tell("--url", f"{GERRIT_URL}/gerrit", commit=commit)
    assert status == 2 and "404" in result["error"]["message"]
    assert desk.said(change) == []
