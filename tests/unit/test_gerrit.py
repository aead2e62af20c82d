"""gerrit-comment against a stand-in that answers as Gerrit 3.10.2 was measured to; tests/loop has the real one."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from stand_ins import Fault, Seen, Server, serving

from cdlib import retry
from cdlib.documents import schema_mistakes
from cdlib.interruptions import INTERRUPTIONS
from jobs import gerrit_comment

PASSWORD = "correct-horse"
TEXT = "text/plain;charset=utf-8"
Answer = tuple[int, dict[str, str], bytes | Iterator[bytes]]


@dataclass
class Review:
    """A change in the stand-in. `commits` are its patchsets, oldest first."""

    number: int
    commits: list[str]
    project: str = "hello"
    branch: str = "master"
    status: str = "MERGED"
    messages: list[dict[str, Any]] = field(default_factory=list)
    votes: dict[str, int] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[tuple[int, str]] = field(default_factory=list)  # votes of Code-Review, and when each was given
    submitted: str = "2026-11-23 08:00:30.000000000"

    @property
    def info(self) -> dict[str, Any]:
        newest = self.commits[-1]
        return {"project": self.project, "branch": self.branch, "status": self.status, "_number": self.number,
                "current_revision": newest, "revisions": {newest: {"_number": len(self.commits)}}}  # fmt: skip

    def said(self, account: int = 7) -> list[str]:
        return [each["message"] for each in self.messages if each["author"]["_account_id"] == account]


class StandInGerrit(Server):
    """Gerrit's REST interface, as far as comments need it."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        # Headers and body go out as two pieces; the second would wait 40 ms for the first one's receipt.
        self._server.RequestHandlerClass.disable_nagle_algorithm = True  # type: ignore[attr-defined]
        self.changes: list[Review] = []
        self.may_vote = True
        self.lose = 0  # how many answers to reviews get lost after the review was taken
        self.user = "cd"

    def add(self, *commits: str, **more: Any) -> Review:
        made = Review(len(self.changes) + 1, list(commits), **more)
        self.changes.append(made)
        return made

    def _serve(self, seen: Seen) -> Answer:
        wanted = "Basic " + base64.b64encode(f"{self.user}:{PASSWORD}".encode()).decode()
        url = urllib.parse.urlsplit(seen.path)
        if seen.headers.get("Authorization") != wanted:
            return 401, {"WWW-Authenticate": 'Basic realm="Gerrit Code Review"', "Content-Type": TEXT}, b"Unauthorized"
        if url.path == "/a/accounts/self":
            return _json({"_account_id": 7, "username": "cd"})
        if url.path == "/a/changes/":
            queries = urllib.parse.parse_qs(url.query)["q"]
            if len(queries) > 10:
                return 400, {"Content-Type": TEXT}, b"limit of 10 queries"
            found = [[c.info for c in reversed(self.changes) if self._matches(c, query)] for query in queries]
            return _json(found[0] if len(queries) == 1 else found)
        match = re.fullmatch(r"/a/changes/([^/]+)/(detail|revisions/([^/]+)/review)", url.path)
        name = urllib.parse.unquote(match[1]) if match else ""
        change = next((c for c in self.changes if f"{c.project}~{c.number}" == name), None)
        if match is None or change is None:
            return 404, {"Content-Type": TEXT}, f"Not found: {name}".encode()
        return self._detail(change) if match[2] == "detail" else self._review(change, match[3], json.loads(seen.body))

    @staticmethod
    def _matches(change: Review, query: str) -> bool:
        kind, _, value = query.partition(":")
        return value in change.commits if kind == "commit" else value == str(change.number)

    def _detail(self, change: Review) -> Answer:
        votes = [{"_account_id": 7, "value": change.votes.get("Verified", 0)}]
        labels = {
            "Verified": {"all": votes},
            "Code-Review": {"all": [{"value": v, "date": d} for v, d in change.reviews]},
        }
        permitted = {"Verified": ["-1", " 0", "+1"]} if self.may_vote else {}
        more = {"messages": change.messages, "labels": labels, "permitted_labels": permitted}
        return _json({**change.info, **more, **({"submitted": change.submitted} if change.status == "MERGED" else {})})

    def _review(self, change: Review, revision: str, body: dict[str, Any]) -> Answer:
        known = [*change.commits, *map(str, range(1, len(change.commits) + 1))]
        if revision not in known:
            return 404, {"Content-Type": TEXT}, f"Not found: {revision}".encode()
        if len(body["message"]) > 16384:
            return 400, {"Content-Type": TEXT}, b"One or more comments were rejected in validation"
        change.sent.append(body)
        for label, value in body.get("labels", {}).items():
            if label == "Verified":  # others are dropped in silence
                change.votes[label] = value
        patchset = known.index(revision) % len(change.commits) + 1
        message = f"Patch Set {patchset}:\n\n{body['message']}".rstrip()
        change.messages.append({"tag": body["tag"], "author": {"_account_id": 7}, "message": message})
        if self.lose:
            self.lose -= 1
            return 200, {"Connection": "close"}, _cut()
        return _json({"labels": body.get("labels", {}), "change_info": change.info})


def _json(document: object) -> Answer:
    return 200, {"Content-Type": "application/json;charset=utf-8"}, b")]}'\n" + json.dumps(document).encode()


def _cut() -> Iterator[bytes]:
    yield b")]}'"
    raise ConnectionResetError


@dataclass
class Desk:
    """A work tree with a result to tell of, and the command."""

    folder: Path
    gerrit: StandInGerrit
    capsys: pytest.CaptureFixture[str]
    commits: list[str]

    ended: float = 0.0  # when the result was written, in seconds since 1970; now where it is 0

    def call(self, *args: str, **result: Any) -> tuple[int, dict[str, Any], str]:
        """Exit status, result and stderr of gerrit-comment, told of a deploy with these fields."""
        document = {"schema": "cd-result/1", "command": "helm-deploy", "outcome": "done", "exit_code": 0,
                    "duration_s": 31.2, "service": "hello", "environment": "production", "release": "hello",
                    "revision": 7, "digest": "sha256:" + "a" * 64, "commit": self.commits[-1], **result}  # fmt: skip
        out = self.folder / ".cd"
        out.mkdir(exist_ok=True)
        (out / "cd-result.json").write_text(json.dumps(document))
        if self.ended:
            os.utime(out / "cd-result.json", (self.ended, self.ended))
        with pytest.raises(SystemExit) as caught:
            gerrit_comment.main.main(["-C", str(self.folder), "--json", *args])
        shown = self.capsys.readouterr()
        assert json.loads((out / "cd-result.json").read_text()) == document, "the deploy's own result was touched"
        assert PASSWORD not in shown.out + shown.err
        found = json.loads(shown.out) if shown.out else {}
        assert not found or schema_mistakes(found, "result") == []
        return int(caught.value.code or 0), found, shown.err


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("CD_", "ZUUL_", "JENKINS_", "BUILD_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "RETRY_AFTER_CAP", 0.001)
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def gerrit(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInGerrit]:
    with serving(StandInGerrit()) as server:
        monkeypatch.setenv("CD_GERRIT_URL", server.url)
        monkeypatch.setenv("CD_GERRIT_USER", "cd")
        monkeypatch.setenv("CD_GERRIT_PASSWORD", PASSWORD)
        yield server


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a repository that is made once and copied for each test."""
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def desk(tmp_path: Path, template: Path, git: Any, gerrit: StandInGerrit, capsys: pytest.CaptureFixture[str]) -> Desk:
    if not (template / "commits").exists():
        (template / "hello").mkdir()
        (template / "hello" / ".gitignore").write_text(".cd\n")
        made = [git(template / "hello", f"commit {number}") for number in range(4)]
        (template / "commits").write_text(" ".join(made))
    shutil.copytree(template / "hello", tmp_path / "hello")
    return Desk(tmp_path / "hello", gerrit, capsys, (template / "commits").read_text().split())


def test_a_deploy_is_told_once_to_each_change_that_it_brings(desk: Desk) -> None:
    before, *changes = [desk.gerrit.add(commit) for commit in desk.commits]
    status, result, _ = desk.call(previous=desk.commits[0])
    assert status == 0 and result["outcome"] == "done"
    assert [(each["change"], each["new"]) for each in result["comments"]] == [(4, True), (3, True), (2, True)]
    assert before.messages == []
    last = changes[-1].said()[0]
    assert last.startswith(
        "Patch Set 1:\n\nDeployed to production: hello revision 7, image sha256:aaaaaaaaaaaa…, serving after 31 s\n"
    )
    assert f"Commit: {desk.commits[-1][:12]}, which brings 2 other changes\nImage: sha256:{'a' * 64}\n" in last
    assert ", which brings this change and 2 other changes\n" in changes[0].said()[0]
    assert changes[0].sent[0]["tag"] == "autogenerated:cd" and "labels" not in changes[0].sent[0]
    assert changes[0].sent[0]["notify"] == "NONE" and changes[0].sent[0]["ignore_automatic_attention_set_rules"]
    status, result, _ = desk.call(outcome="unchanged", previous=desk.commits[0], duration_s=0.5)
    assert (status, result["outcome"]) == (0, "unchanged") and all(len(each.messages) == 1 for each in changes)


def test_the_page_of_the_run_is_linked_before_its_log(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    monkeypatch.setenv("BUILD_TAG", "jenkins-hello-deploy-42")
    monkeypatch.setenv("BUILD_URL", "https://jenkins.example.org/job/hello-deploy/42/")
    desk.call("--page", ".cd/report.html")
    build = "https://jenkins.example.org/job/hello-deploy/42/"
    assert f"\n\nReport: {build}artifact/.cd/report.html\nLog: {build}\n\ncd: deploy of" in change.said()[0]
    monkeypatch.setenv("BUILD_URL", "https://jenkins.example.org/job/hello-deploy/43/")
    assert desk.call("--page", ".cd/report.html", outcome="unchanged")[1]["outcome"] == "unchanged"
    assert len(change.messages) == 1, "another build of the same outcome is nothing new"


LATER = datetime(2026, 11, 23, 8, 1, tzinfo=UTC).timestamp()  # half a minute after the merge
AT = "2026-11-23 08:00:{:02}.000000000"


@pytest.mark.parametrize(
    ("reviews", "status", "result", "lead"),
    [
        ([(2, AT.format(2))], "MERGED", {}, 58.0),
        ([(1, AT.format(1)), (2, AT.format(2)), (2, AT.format(12))], "MERGED", {}, 48.0),  # the one that completed it
        ([(2, AT.format(2)), (2, AT.format(50))], "MERGED", {}, 58.0),  # one after the merge has begun nothing
        ([(2, AT.format(2))], "MERGED", {"outcome": "unchanged"}, None),
        ([(2, AT.format(2))], "MERGED", {"command": "helm-rollback", "rolled_back_to": 3, "hold": {"to": "3"}}, None),
        ([(2, "2026-11-23 08:05:00.000000000")], "NEW", {}, None),  # clocks that disagree say nothing
        ([(1, AT.format(1))], "MERGED", {}, None),
        ([(2, "nonsense")], "MERGED", {}, None),
        ([], "MERGED", {}, None),
    ],
)
def test_the_time_from_the_approval_to_serving(
    desk: Desk, reviews: list[tuple[int, str]], status: str, result: dict[str, Any], lead: float | None
) -> None:
    desk.gerrit.add(desk.commits[-1], reviews=reviews, status=status)
    desk.ended = LATER
    assert desk.call(**result)[1].get("lead_time_s") == lead
    assert "lead_time_s" not in desk.call(**result)[1], "only the run that has told it counts"


def test_what_has_changed_is_said_again(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    refused = {"outcome": "refused", "exit_code": 6, "revision": 0}
    for said in ({"revision": 7}, {"revision": 8}, {"revision": 8}, refused, refused, {"revision": 8}):
        assert desk.call(**said)[0] == 0
    states = [text.rpartition(": ")[2] for text in change.said()]
    assert states == ["live, revision 7", "live, revision 8", "refused", "live, revision 8"]


def test_a_rollback_names_cause_evidence_and_what_runs_now(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILD_TAG", "jenkins-hello-deploy-42")
    monkeypatch.setenv("BUILD_URL", "https://jenkins.example.org/job/hello-deploy/42/")
    carried = desk.gerrit.add(desk.commits[2])
    change = desk.gerrit.add(desk.commits[3])
    cause = "pod hello-5d-x, container hello: ended 3 times, the last time with exit code 3"
    error = {
        "message": "the rollout failed",
        "hint": "mend the commit",
        "details": [cause, *(f"line {n}" for n in range(30))],
    }
    status, _, _ = desk.call(outcome="rolled-back", exit_code=7, commit=desk.commits[1], failed_commit=desk.commits[3],
                             previous=desk.commits[1], revision=9, failed_revision=8, rolled_back_to=6, cause=cause,
                             error=error)  # fmt: skip
    assert status == 0, "the comment's status is not the deploy's"
    text = change.said()[0]
    assert text.partition("\n\n")[2].startswith(f"Rolled back in production: {cause}\n\nCommit: {desk.commits[3][:12]}")
    assert f"Live again: hello revision 6 (commit {desk.commits[1][:12]}), as revision 9" in text
    quoted = [line for line in text.splitlines() if line.startswith(">     ")]
    assert (
        len(quoted) == 10 and quoted[0] == ">     line 0" and quoted[-1] == ">     line 29" and text.count(cause) == 1
    )
    assert "Next: mend the commit" in text and "Log: https://jenkins.example.org/job/hello-deploy/42/" in text
    assert change.sent[0]["notify"] == "OWNER_REVIEWERS" and "which brings this change" in carried.said()[0]


@pytest.mark.parametrize(
    ("exit_code", "outcome", "lead"),
    [
        (8, "needs-person", "Failed in production, and a person is needed: why"),
        (10, "inconclusive", "Deployed to production, but it cannot be judged: why"),
        (6, "refused", "Not deployed to production: why"),
        (5, "registry-refused", "Not deployed to production: why"),
        (143, "interrupted", "Not deployed to production: the job was interrupted"),
    ],
)
def test_every_outcome_leads_with_what_happened(desk: Desk, exit_code: int, outcome: str, lead: str) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    error = {"message": "why", "hint": "", "details": []}
    assert desk.call(outcome=outcome, exit_code=exit_code, error=error)[0] == 0
    assert change.said()[0].partition("\n\n")[2].startswith(lead)


def test_a_step_before_the_deploy_is_told_only_where_it_failed(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    assert desk.call(command="publish-tag")[1]["outcome"] == "unchanged" and change.messages == []
    error = {"message": "the registry is away", "hint": "", "details": []}
    none = {"commit": "", "environment": "", "release": "", "revision": 0}
    desk.call("-e", "production", command="publish-tag", outcome="unavailable", exit_code=69, error=error, **none)
    assert "Not deployed to production: the registry is away" in change.said()[0]


def test_a_job_that_could_say_nothing_is_told_by_who_started_it(desk: Desk, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    change = desk.gerrit.add(desk.commits[-1])
    zuul = {"build": "u", "pipeline": "postmerge", "project": {"name": "hello"}, "ref": "refs/heads/master",
            "branch": "master", "newrev": desk.commits[-1], "oldrev": desk.commits[-2]}  # fmt: skip
    (tmp_path / "zuul.json").write_text(json.dumps(zuul))
    monkeypatch.setenv("CD_ZUUL", str(tmp_path / "zuul.json"))
    error = {"message": "hello-deploy #4 is lost", "hint": "run this again", "details": []}
    none = {"commit": "", "environment": "", "release": "", "revision": 0, "digest": "", "service": ""}
    lost = {"command": "jenkins-run", "outcome": "build-lost", "exit_code": 11, "error": error, **none}
    assert desk.call(**lost)[0] == 0
    assert "\n\nNobody knows how the deploy ended: hello-deploy #4 is lost\n" in change.said()[0]
    assert "Next: run this again" in change.said()[0]
    assert desk.call(**lost)[1]["outcome"] == "unchanged"
    assert (
        desk.call(**{**lost, "outcome": "done", "exit_code": 0, "error": None})[0] in (0, 2) and len(change.said()) == 1
    )


def test_a_dry_run_is_no_outcome_and_a_dry_run_of_ours_writes_nothing(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    assert desk.call(outcome="planned")[1]["comments"] == [] and desk.gerrit.seen == []
    status, result, shown = desk.call("--dry-run")
    assert (status, result["outcome"], change.messages) == (0, "planned", [])
    assert f"would comment on {desk.gerrit.url}/c/hello/+/1" in shown


def test_a_rollback_by_hand_tells_the_changes_that_it_took(desk: Desk) -> None:
    kept, taken, newest = (desk.gerrit.add(commit) for commit in desk.commits[1:])
    said = {"command": "helm-rollback", "commit": desk.commits[1], "revision": 9, "rolled_back_to": 5,
            "hold": {"since": "2026-01-01", "by": "x", "reason": "three [is](http://x) slow", "to": "5"}}  # fmt: skip
    assert desk.call(previous=desk.commits[3], **said)[0] == 0
    assert kept.messages == []
    assert taken.said()[0].startswith("Patch Set 1:\n\nRolled back by hand in production: hello runs the commit")
    assert "Not live any more: this change and 1 other change" in newest.said()[0]
    assert "Reason: three (is)(http://x) slow\nOn hold: " in newest.said()[0]
    assert "the Jenkins job hello-hold, or cd-hold --lift" in newest.said()[0]
    assert newest.sent[0]["notify"] == "OWNER_REVIEWERS"
    again = desk.call(previous=desk.commits[3], **{**said, "outcome": "unchanged"})
    assert again[1]["outcome"] == "unchanged" and len(newest.messages) == 1
    assert desk.call(previous="", **said)[0] == 0 and len(kept.said()) == 1


def test_going_forward_by_hand_tells_the_changes_that_are_back(desk: Desk) -> None:
    before, first, second, later = (desk.gerrit.add(commit) for commit in desk.commits)
    said = {"command": "helm-rollback", "commit": desk.commits[2], "previous": desk.commits[0], "revision": 11,
            "rolled_back_to": 7, "hold": {"reason": "forward", "to": "7"}}  # fmt: skip
    assert desk.call(**said)[0] == 0
    assert (before.messages, later.messages) == ([], [])
    for change in (first, second):
        assert "Live again: this change and 1 other change\n" in change.said()[0]


@pytest.mark.parametrize("hold", [None, {"reason": "a freeze", "to": ""}, {"reason": "another", "to": "4"}])
def test_a_rollback_that_went_nowhere_is_nothing_to_tell(desk: Desk, hold: dict[str, str] | None) -> None:
    """`unchanged`, where what is live was deployed, or went back by itself."""
    changes = [desk.gerrit.add(commit) for commit in desk.commits]
    for back in ({}, {"rolled_back_to": 5}):
        said = {"command": "helm-rollback", "outcome": "unchanged", "previous": desk.commits[0], "hold": hold, **back}
        assert desk.call(**said)[0] == 0
    assert not any(change.messages for change in changes)


def test_of_several_changes_with_a_commit_the_merged_one_in_the_project_and_branch_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = desk.commits[-1]
    fork = desk.gerrit.add(commit, project="fork")
    stable = desk.gerrit.add(commit, branch="stable")
    master = desk.gerrit.add(commit)
    still_open = desk.gerrit.add(commit, status="NEW")
    for name, value in {"UUID": "u", "PIPELINE": "postmerge", "PROJECT": "hello", "BRANCH": "master"}.items():
        monkeypatch.setenv(f"ZUUL_{name}", value)
    assert desk.call()[0] == 0
    assert [len(each.messages) for each in (fork, stable, master, still_open)] == [0, 0, 1, 0]


def test_a_direct_push_has_no_change_and_that_is_no_failure(desk: Desk) -> None:
    status, result, shown = desk.call(previous=desk.commits[0])
    assert (status, result["comments"]) == (0, []) and "nobody is told" in shown


def test_the_changes_of_a_merge_are_found_behind_it(desk: Desk, git: Any) -> None:
    import subprocess

    run = ["git", "-C", str(desk.folder)]
    subprocess.run([*run, "checkout", "-q", "-b", "side", "HEAD~1"], check=True)
    side = git(desk.folder, "side")
    subprocess.run([*run, "checkout", "-q", "master"], check=True)
    subprocess.run([*run, "merge", "-q", "--no-ff", "-m", "Merge", "side"], check=True)
    change, older = desk.gerrit.add(side), desk.gerrit.add(desk.commits[-1])
    merge = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert desk.call(commit=merge)[0] == 0
    assert "which brings this change\n" in change.said()[0] and older.messages == []


def test_many_commits_are_asked_for_in_tens_and_the_oldest_left_out(desk: Desk, git: Any) -> None:
    more = [git(desk.folder, f"more {number}") for number in range(60)]
    told, oldest = desk.gerrit.add(more[10]), desk.gerrit.add(more[9])
    status, _, shown = desk.call(commit=more[-1], previous=desk.commits[-1])
    assert status == 0 and len(desk.gerrit.requests("GET", "/a/changes/.q=")) == 5
    assert len(told.messages) == 1 and oldest.messages == [] and "the oldest are left out" in shown


def test_a_previous_commit_that_git_does_not_know_is_told(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    status, _, shown = desk.call(previous="0123456789" * 4)
    assert status == 0 and len(change.messages) == 1 and "only the change of" in shown


@pytest.mark.parametrize("value", ["--output=x", "HEAD", "", "a OR status:open", "A" * 40])
def test_what_is_no_commit_reaches_neither_git_nor_gerrit(desk: Desk, value: str) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    for key in ("previous", "failed_commit", "commit"):
        assert desk.call(**{key: value})[0] == 0
    assert len(change.messages) == 1 and not (desk.folder / "x").exists()


def test_the_result_may_be_anywhere_and_ours_stays_out_of_its_way(desk: Desk, tmp_path: Path) -> None:
    desk.gerrit.add(desk.commits[-1])
    desk.call()
    assert json.loads((desk.folder / ".cd" / "comment" / "cd-result.json").read_text())["command"] == "gerrit-comment"
    (tmp_path / "elsewhere").mkdir()
    (desk.folder / ".cd" / "cd-result.json").rename(tmp_path / "elsewhere" / "r.json")
    with pytest.raises(SystemExit) as caught:
        gerrit_comment.main.main(["-C", str(desk.folder), "--result", str(tmp_path / "elsewhere" / "r.json")])
    assert caught.value.code == 0


# Votes, for set-ups without Zuul's


def check(desk: Desk, monkeypatch: pytest.MonkeyPatch, *args: str, **result: Any) -> tuple[int, dict[str, Any], str]:
    for name, value in {"UUID": "u", "PIPELINE": "check", "PROJECT": "hello", "CHANGE": "1", "PATCHSET": "2"}.items():
        monkeypatch.setenv(f"ZUUL_{name}", value)
    return desk.call(*args, **{"command": "run-tests", "environment": "", "release": "", "revision": 0, **result})


FAILED = {"outcome": "tests-failed", "exit_code": 4, "tests": {"passed": 1, "failed": 1},
          "error": {"message": "1 of 2 tests failed", "hint": "", "details": ["test_hello::test_greets: assert 1 == 2"]}}  # fmt: skip


def test_checks_are_zuuls_to_tell(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add("a" * 40, "b" * 40, status="NEW")
    status, result, shown = check(desk, monkeypatch, **FAILED)
    assert (status, result["outcome"], change.messages) == (0, "unchanged", []) and "Zuul tells" in shown


def test_a_vote_says_which_test_failed_and_follows_the_outcome(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add("a" * 40, "b" * 40, status="NEW")
    vote = ("--vote", "Verified")
    assert check(desk, monkeypatch, *vote, **FAILED)[1]["comments"][0]["vote"] == -1
    assert change.votes == {"Verified": -1} and change.sent[0]["notify"] == "OWNER"
    assert change.said()[0].startswith(
        "Patch Set 2:\n\nTests failed: 1 of 2 tests failed\n\n>     test_hello::test_greets: assert 1 == 2"
    )
    assert check(desk, monkeypatch, *vote, **FAILED)[1]["outcome"] == "unchanged"
    check(desk, monkeypatch, *vote, tests={"passed": 2, "failed": 0, "skipped": 1})
    assert change.votes == {"Verified": 1} and "Tests passed: 2 passed, 1 skipped" in change.said()[1]
    assert check(desk, monkeypatch, *vote, command="build-image", outcome="unchanged")[1]["outcome"] == "unchanged"
    check(desk, monkeypatch, *vote, **FAILED)
    assert change.votes == {"Verified": -1} and len(change.messages) == 3
    change.votes.clear()
    check(desk, monkeypatch, *vote, **FAILED)
    assert change.votes == {"Verified": -1} and change.sent[-1]["message"] == "", "the vote alone was missing"


def test_votes_are_for_the_newest_patchset_of_an_open_change(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add("a" * 40, "b" * 40, "c" * 40, status="NEW")
    assert check(desk, monkeypatch, "--vote", "Verified", **FAILED)[0] == 0
    change.status, change.commits = "ABANDONED", change.commits[:2]
    assert check(desk, monkeypatch, "--vote", "Verified", tests={"passed": 1})[0] == 0
    assert change.votes == {} and len(change.messages) == 2


def test_a_build_that_was_interrupted_says_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add("a" * 40, "b" * 40, status="NEW")
    assert check(desk, monkeypatch, "--vote", "Verified", outcome="interrupted", exit_code=143)[0] == 0
    assert change.messages == []


def test_a_vote_that_gerrit_would_drop_is_an_error(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change = desk.gerrit.add("a" * 40, "b" * 40, status="NEW")
    status, result, _ = check(desk, monkeypatch, "--vote", "Verify", **FAILED)
    assert (status, result["error"]["hint"]) == (2, "choose by --vote: Code-Review, Verified")
    desk.gerrit.may_vote = False
    assert check(desk, monkeypatch, "--vote", "Verified", **FAILED)[0] == 77 and change.messages == []


def test_a_change_that_is_not_there_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(desk, monkeypatch, "--vote", "Verified", **FAILED)[1]["error"]["message"].endswith(
        "has no change 1 in hello"
    )


# The server


def test_trouble_that_passes_is_not_seen_and_a_lost_answer_repeats_nothing(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    desk.gerrit.faults += [Fault("GET", "/a/accounts", 503, times=1), Fault("GET", "detail", drop=True, times=1),
                           Fault("POST", "review", 503, b"Lock failure", times=1)]  # fmt: skip
    desk.gerrit.lose = 1
    status, result, _ = desk.call()
    assert (status, result["outcome"], len(change.messages)) == (0, "unchanged", 1)


def test_a_server_that_comes_back_is_told_late(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    change = desk.gerrit.add(desk.commits[-1])
    desk.gerrit.faults += [Fault("GET", "/a/accounts", drop=True, times=20), Fault("POST", "review", 503, times=20)]
    assert desk.call()[0] == 0 and len(change.messages) == 1


def test_a_server_that_is_away_is_69(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.gerrit.add(desk.commits[-1])
    desk.gerrit.faults.append(Fault("POST", "review", 503, b"busy"))
    status, result, said = desk.call("--timeout", "1")
    assert status == 69 and result["error"]["message"].endswith("answers 503 while commenting on change 1: busy")
    assert len(desk.gerrit.requests("POST")) > 5 and said.count("waiting for up to") == 1
    monkeypatch.setenv("CD_GERRIT_URL", "http://127.0.0.1:9")
    status, result, _ = desk.call("--timeout", "1")
    assert status == 69 and "http://127.0.0.1:9 cannot be reached while logging in" in result["error"]["message"]


def test_time_that_is_up_is_70(desk: Desk) -> None:
    assert desk.call("--timeout", "0.000001")[0] == 70 and desk.gerrit.seen == []


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (Fault("GET", "accounts", 401, b"Unauthorized"), 77, "check CD_GERRIT_USER"),
        (Fault("POST", "review", 403, b"not permitted"), 77, "not permitted"),
        (Fault("GET", "detail", 404, b"Not found: hello~1"), 2, "Not found: hello~1"),
        (Fault("POST", "review", 409, b"change is closed"), 6, "change is closed"),
        (Fault("POST", "review", 400, b"rejected in validation"), 2, "rejected in validation"),
        (Fault("GET", "accounts", 200, b"<html>log in"), 2, "what no Gerrit does"),
        (Fault("GET", "accounts", 404, b"<html>nothing"), 2, "answers 404 while logging in"),
        (Fault("GET", "accounts", 200, b")]}'\n{"), 69, "no whole JSON"),
        (Fault("GET", "accounts", 200, b")]}'\n" + b"[" * 3000 + b"]" * 3000), 69, "no whole JSON"),
        (Fault("GET", "changes/.q", 200, b")]}'\n[]", cut=True), 69, "cannot be reached"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Fault) else None,
)
def test_refusals_are_told_apart(desk: Desk, fault: Fault, status: int, said: str) -> None:
    desk.gerrit.add(desk.commits[-1])
    desk.gerrit.faults.append(fault)
    # What may pass is asked for again, to the end.
    found, result, _ = desk.call("--timeout", "1" if status == 69 else "10")
    assert found == status and said in json.dumps(result["error"]), result


def test_one_change_that_refuses_does_not_keep_the_others_from_it(desk: Desk) -> None:
    first, _, third = (desk.gerrit.add(commit) for commit in desk.commits[1:])
    desk.gerrit.faults.append(Fault("POST", "hello~2/revisions", 403, b"no"))
    status, result, _ = desk.call(previous=desk.commits[0])
    assert status == 77 and [each["change"] for each in result["comments"]] == [3, 1]
    assert len(first.messages) == len(third.messages) == 1


def test_a_password_goes_nowhere_else(desk: Desk) -> None:
    with serving(Server(lambda seen: (200, {}, b""))) as other:
        desk.gerrit.faults.append(Fault("GET", "accounts", 302, headers={"Location": f"{other.url}/a/accounts/self"}))
        status, result, _ = desk.call()
        assert status == 2 and other.url in result["error"]["hint"] and other.seen == []


def test_what_others_say_under_our_tag_is_not_ours(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    desk.call()
    change.messages[0]["author"]["_account_id"] = 8
    desk.call()
    assert len(change.messages) == 2


def test_secrets_are_hidden_in_comments(desk: Desk) -> None:
    change = desk.gerrit.add(desk.commits[-1])
    plant("CD_GERRIT_PASSWORD", PASSWORD, desk.folder / ".cd" / "cd-result.json")
    error = {"message": f"it said {PASSWORD}", "hint": "", "details": ["token=abcdef123", f"x {PASSWORD}"]}
    assert desk.call(outcome="refused", exit_code=6, error=error)[0] == 0
    assert PASSWORD not in change.said()[0] and "abcdef123" not in change.said()[0]


def test_the_password_may_be_in_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk.gerrit.add(desk.commits[-1])
    monkeypatch.delenv("CD_GERRIT_PASSWORD")
    assert "CD_GERRIT_PASSWORD_FILE" in desk.call()[1]["error"]["message"]
    monkeypatch.setenv("CD_GERRIT_PASSWORD_FILE", str(tmp_path / "password"))
    assert desk.call()[0] == 2
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "password").chmod(0o600)
    assert desk.call()[0] == 0
    monkeypatch.setenv("CD_GERRIT_USER", "")
    assert "CD_GERRIT_USER" in desk.call()[1]["error"]["message"]


@pytest.mark.parametrize(
    "url", ["review.example.org", "ftp://x", "http://", "http://user:pass-word@x/", "http://x/?a=b"]
)
def test_an_address_that_is_none_is_refused(desk: Desk, url: str) -> None:
    status, result, shown = desk.call("--url", url)
    assert status == 2 and "address" in result["error"]["message"] and "pass-word" not in shown


def test_a_password_in_the_clear_is_warned_about(desk: Desk) -> None:
    _, _, shown = desk.call("--url", "http://gerrit.invalid", "--timeout", "0.5")
    assert "travels to http://gerrit.invalid in the clear" in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": "x"}',
        "{" * 9,
        '{"schema":"cd-result/1","command":"cd-hold","outcome":"done","exit_code":0,"duration_s":1}',
    ],
)
def test_a_file_that_is_no_result_of_a_build_is_refused(desk: Desk, tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert desk.call("--result", str(tmp_path / "r.json"))[0] == 2
    assert desk.call("--result", str(tmp_path / "gone.json"))[0] == 2
