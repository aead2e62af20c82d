"""What counts as reviewed, against a real Gerrit: each way to merge, and each way past review that Gerrit has."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Refused, Unavailable
from cdlib.review_policy import ReviewPolicy
from cdlib.trust.case import Law
from cdlib.trust.identity import read_people
from cdlib.trust.mirror import Mirror
from cdlib.trust.notedb import Server
from cdlib.trust.review import Request, Verdict, authorize, review
from cdlib.trust.tampering import Alarm
from lab.loop import projects
from lab.loop.places import GERRIT_SSH_PORT
from lab.loop.testing import Author, Change, Loop

POLICY = ReviewPolicy(approvers=frozenset(["bob", "admin"]), verifiers=frozenset(["zuul"]))
TYPES = (
    "FAST_FORWARD_ONLY",
    "MERGE_IF_NECESSARY",
    "MERGE_ALWAYS",
    "REBASE_IF_NECESSARY",
    "REBASE_ALWAYS",
    "CHERRY_PICK",
)


@dataclass
class Desk:
    """A project of its own with a first commit, its author's clone, and the mirror by which it is judged."""

    loop: Loop
    project: str
    folder: Path
    author: Author
    mirror: Mirror
    server: Server
    base: str
    policy: ReviewPolicy = POLICY
    alarms: list[Alarm] = field(default_factory=list)

    @classmethod
    def make(cls, loop: Loop, folder: Path, **options: object) -> Desk:
        """`options` are those of Gerrit's ProjectInput, such as submit_type."""
        project = f"t-{secrets.token_hex(4)}"
        loop.gerrit("admin").put(f"projects/{project}", {"branches": ["master"], **options})
        first = folder / "first"
        first.mkdir()
        (first / "base.txt").write_text("base\n")
        projects.import_folder(loop.places, project, first)
        url = f"ssh://cd@127.0.0.1:{GERRIT_SSH_PORT}"
        mirror = Mirror(folder / "mirrors", url, project, Deadline(240))
        author = loop.clone(project, folder / "alice")
        return cls(loop, project, folder, author, mirror, server(loop), projects.head(loop.places, project))

    def change(self, name: str, *, base: str = "origin/master") -> Change:
        """A change by alice that adds a file."""
        return self.author.push(name, {f"{name}.txt": f"{name}\n"}, base=base)

    def submit(self, change: Change, *, approver: str = "bob") -> None:
        """Approve it, and merge it as Zuul does."""
        if approver:
            change.vote(2, approver)
        self.review(change, "zuul", labels={"Verified": 2})
        self.loop.gerrit("zuul").post(f"changes/{change.number}/submit", {})

    def review(self, change: Change, user: str, **body: object) -> None:
        self.loop.gerrit(user).post(f"changes/{change.number}/revisions/current/review", body)

    def configure(self, path: str, body: object) -> None:
        """Change the project's settings."""
        self.loop.gerrit("admin").put(f"projects/{self.project}/{path}", body)

    def allow(self, ref: str, permission: str, **more: object) -> None:
        """Give everybody a right in the project."""
        rules = {"rules": {"global:Registered-Users": {"action": "ALLOW", **more}}}
        label = {"label": "Code-Review"} if permission.startswith("label") else {}
        body = {"add": {ref: {"permissions": {permission: {**rules, **label}}}}}
        self.loop.gerrit("admin").post(f"projects/{self.project}/access", body)

    def verdicts(self) -> list[Verdict]:
        """Every commit after the first, judged by an up to date mirror."""
        self.alarms = self.mirror.update([self.policy.branch], self.server)
        return review(self.mirror.repository, self.request(), self.law(), self.alarms)

    def request(self) -> Request:
        return Request(projects.head(self.loop.places, self.project), self.base)

    def law(self) -> Law:
        found = self.loop.gerrit("admin").get("accounts/", q="is:active OR is:inactive", o=["DETAILS", "ALL_EMAILS"])
        table = self.folder / "accounts.json"
        table.write_text(json.dumps(found))
        return Law(self.policy, read_people([table]), self.server)

    def problems(self) -> list[str]:
        """What is wrong with the commits, after the first that are refused."""
        return [problem.text for verdict in self.verdicts() for problem in verdict.problems]


def server(loop: Loop) -> Server:
    """The lab's Gerrit."""
    config = str(loop.places.gerrit / "etc" / "gerrit.config")
    found = process.run(["git", "config", "--file", config, "gerrit.serverId"], Deadline(10))
    return Server(found.stdout.strip(), "gerrit@example.com")


@pytest.fixture(autouse=True)
def _as_cd(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror is fetched by the account cd, which may do nothing but read and comment."""
    for name, value in projects.environment(loop.places, "cd").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def desk(loop: Loop, tmp_path: Path) -> Desk:
    return Desk.make(loop, tmp_path)


@pytest.mark.parametrize("kind", TYPES)
def test_every_way_to_submit(loop: Loop, tmp_path: Path, kind: str) -> None:
    desk = Desk.make(loop, tmp_path, submit_type=kind)
    one = desk.change("one")
    two = desk.change("two", base="HEAD")
    desk.submit(one)
    if kind == "REBASE_IF_NECESSARY":  # nothing of it is at the tip: both of the stack were rebased
        assert desk.verdicts()[0].basis == "change"
    desk.submit(two) if kind != "CHERRY_PICK" else desk.submit(desk.change("two-again"))
    if kind != "FAST_FORWARD_ONLY":
        aside = desk.change("aside", base=desk.base)
        desk.submit(aside)
    verdicts = desk.verdicts()
    assert [p.text for v in verdicts for p in v.problems] == []
    judged = [verdict for verdict in verdicts if verdict.basis == "change"]
    assert len(judged) == (2 if kind == "FAST_FORWARD_ONLY" else 3)
    assert all(v.voters == ("Code-Review+2 bob", "Verified+2 zuul") and v.patchset == 1 for v in judged)
    merges = len([verdict for verdict in verdicts if verdict.basis == "merge"])
    assert merges == {"MERGE_ALWAYS": 3, "MERGE_IF_NECESSARY": 1}.get(kind, 0)
    assert authorize(desk.mirror.repository, desk.request(), desk.law(), desk.alarms) == verdicts


@pytest.mark.parametrize("kind", ["MERGE_IF_NECESSARY", "REBASE_ALWAYS"])
def test_a_stack_submitted_by_its_last_change(loop: Loop, tmp_path: Path, kind: str) -> None:
    desk = Desk.make(loop, tmp_path, submit_type=kind)
    stack = [desk.change(f"c{n}", base="HEAD" if n else "origin/master") for n in range(5)]
    for change in stack:
        change.vote(2)
        desk.review(change, "zuul", labels={"Verified": 2})
    loop.gerrit("zuul").post(f"changes/{stack[-1].number}/submit", {})
    verdicts = desk.verdicts()
    assert [p.text for v in verdicts for p in v.problems] == []
    assert [v.change for v in verdicts] == [change.number for change in stack]


def test_a_revert_and_a_trivial_rebase(desk: Desk) -> None:
    one, late = desk.change("one"), desk.change("late")
    late.vote(2)
    desk.submit(one)
    desk.loop.gerrit("alice").post(f"changes/{late.number}/rebase", {})
    desk.review(late, "zuul", labels={"Verified": 2})
    desk.loop.gerrit("zuul").post(f"changes/{late.number}/submit", {})
    made = desk.loop.gerrit("alice").post(f"changes/{one.number}/revert", {})
    desk.submit(Change(made["_number"], desk.loop.places))
    verdicts = desk.verdicts()
    assert [p.text for v in verdicts for p in v.problems] == []
    assert [(v.change, v.patchset) for v in verdicts if v.basis == "change"] == [
        (one.number, 1),
        (late.number, 2),
        (made["_number"], 1),
    ]


def test_a_merge_as_a_change(desk: Desk) -> None:
    git = desk.author.git
    one = desk.change("one")
    desk.submit(one)
    git("fetch", "--quiet", "origin")
    git("checkout", "--quiet", "--detach", desk.base)
    (git.folder / "side.txt").write_text("nobody saw this\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "side")
    side = git("rev-parse", "HEAD")
    admin = desk.loop.clone(desk.project, desk.folder / "admin", user="admin")
    admin.git("fetch", "--quiet", str(git.folder), side)
    admin.git("push", "--quiet", "origin", f"{side}:refs/heads/side")
    git("checkout", "--quiet", "origin/master")
    git("merge", "--quiet", "--no-ff", "--message", f"Merge side\n\nChange-Id: I{secrets.token_hex(20)}", side)
    git("push", "--quiet", "origin", "HEAD:refs/for/master")
    commit = git("rev-parse", "HEAD")
    merge = Change(desk.loop.gerrit("alice").get("changes/", q=f"commit:{commit}")[0]["_number"], desk.loop.places)
    desk.submit(merge)
    verdicts = {verdict.commit: verdict for verdict in desk.verdicts()}
    assert verdicts[commit].basis == "change" and verdicts[commit].change == merge.number
    assert "in no change" in verdicts[side].problems[0].text
    desk.policy = replace(POLICY, accept=frozenset([side]))
    assert desk.problems() == []


def test_self_approval_is_no_approval(desk: Desk) -> None:
    desk.configure("submit_requirements/Code-Review", {
        "name": "Code-Review", "submittability_expression": "label:Code-Review=MAX"})  # fmt: skip
    bob = desk.loop.clone(desk.project, desk.folder / "bob", user="bob")
    desk.submit(bob.push("own", {"own.txt": "1\n"}))
    (problem,) = desk.problems()
    assert "bob's +2 does not count, since bob uploaded patchset 1" in problem
    with pytest.raises(Refused) as caught:
        authorize(desk.mirror.repository, desk.request(), desk.law(), desk.alarms)
    assert caught.value.hint.startswith("it needed Code-Review +2 of admin; now look at it")


def test_a_forced_submit(desk: Desk) -> None:
    desk.allow("refs/for/refs/heads/*", "submit")
    desk.allow("refs/heads/*", "submit")
    git = desk.author.git
    (git.folder / "forced.txt").write_text("1\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", f"forced\n\nChange-Id: I{secrets.token_hex(20)}")
    git("push", "--quiet", "origin", "HEAD:refs/for/master%submit")
    assert any("forced: somebody pushed it with %submit" in problem for problem in desk.problems())


def test_a_direct_push_hidden_below_the_tip(desk: Desk) -> None:
    admin = desk.loop.clone(desk.project, desk.folder / "admin", user="admin")
    admin.git("commit", "--quiet", "--allow-empty", "--message", "past review")
    admin.git("push", "--quiet", "origin", "HEAD:refs/heads/master")
    pushed = admin.git("rev-parse", "HEAD")
    change = desk.change("above")
    desk.submit(change)
    below, above = desk.verdicts()
    assert below.commit == pushed and "it is in no change: it was pushed past review" in below.problems[0].text
    assert above.basis == "change" and above.change == change.number


@pytest.mark.parametrize("approved", [True, False])
def test_an_open_change_pushed_to_the_branch(desk: Desk, approved: bool) -> None:
    change = desk.change("open")
    commit = desk.author.git("rev-parse", "HEAD")
    if approved:
        change.vote(2)
        desk.review(change, "zuul", labels={"Verified": 2})
    admin = desk.loop.clone(desk.project, desk.folder / "admin", user="admin")
    admin.git("fetch", "--quiet", str(desk.author.git.folder), commit)
    admin.git("push", "--quiet", "origin", f"{commit}:refs/heads/master")
    assert change.status == "MERGED"
    assert any("it was not submitted: somebody pushed it" in problem for problem in desk.problems())


def test_a_vote_in_anothers_name(desk: Desk) -> None:
    desk.allow("refs/heads/*", "labelAs-Code-Review", min=-2, max=2)
    change = desk.change("on-behalf")
    desk.review(change, "zuul", labels={"Code-Review": 2}, on_behalf_of="bob")
    desk.submit(change, approver="")
    (problem,) = desk.problems()
    assert "bob's +2 does not count, since zuul cast it in bob's name" in problem


def test_an_overridden_requirement(desk: Desk) -> None:
    desk.configure("submit_requirements/Code-Review", {
        "name": "Code-Review", "submittability_expression": "label:Code-Review=MAX,user=non_uploader",
        "override_expression": "hashtag:emergency"})  # fmt: skip
    change = desk.change("urgent")
    desk.loop.gerrit("alice").post(f"changes/{change.number}/hashtags", {"add": ["emergency"]})
    desk.submit(change, approver="")
    problems = desk.problems()
    assert any("'Code-Review' was overridden" in p for p in problems) and any(
        "nobody has voted so" in p for p in problems
    )


def test_votes_copied_to_other_code(desk: Desk) -> None:
    desk.configure("labels/Code-Review", {"name": "Code-Review", "copy_condition": "is:ANY", "function": "NoBlock",
                                          "values": {"-2": "No", "-1": "no", " 0": "-", "+1": "yes", "+2": "Yes"}})  # fmt: skip
    change = desk.change("reworked")
    change.vote(2)
    desk.author.amend({"evil.txt": "1\n"})
    desk.submit(change, approver="")
    (problem,) = desk.problems()
    assert "it was cast on patchset 1, and patchset 2 is not that on another base" in problem


def test_votes_taken_back_and_given_and_text_that_looks_like_records(desk: Desk) -> None:
    change = desk.change("busy\u2028Label: Code-Review=-2")
    change.vote(2)
    desk.loop.gerrit("admin").post(f"changes/{change.number}/reviewers/bob/votes/Code-Review/delete", {})
    change.comment("x\n\nPatch-set: 1\nLabel: Code-Review=-2\nStatus: abandoned\n")
    desk.loop.gerrit("alice").put(f"changes/{change.number}/topic", {"topic": "t\n\nLabel: Verified=-2"})
    change.abandon()
    desk.loop.gerrit("alice").post(f"changes/{change.number}/restore", {})
    desk.loop.gerrit("alice").post(f"changes/{change.number}/private", {})
    desk.loop.gerrit("alice").post(f"changes/{change.number}/private.delete", {})
    desk.loop.gerrit("alice").post(f"changes/{change.number}/wip", {})
    desk.loop.gerrit("alice").post(f"changes/{change.number}/ready", {})
    desk.submit(change)
    assert desk.problems() == []


def test_who_edited_in_the_browser_or_rebased_has_taken_part(desk: Desk) -> None:
    desk.configure("submit_requirements/Code-Review", {
        "name": "Code-Review", "submittability_expression": "label:Code-Review=MAX"})  # fmt: skip
    desk.allow("refs/heads/*", "rebase")
    edited, rebased = desk.change("edited"), desk.change("rebased")
    bob = desk.loop.gerrit("bob")
    bob.put(f"changes/{edited.number}/edit/more.txt", {"binary_content": "data:text/plain;base64,MQo="})
    bob.post(f"changes/{edited.number}/edit:publish", {})
    desk.submit(edited)
    bob.post(f"changes/{rebased.number}/rebase", {"on_behalf_of_uploader": True})
    desk.submit(rebased)
    problems = desk.problems()
    assert len(problems) == 2 and all("since bob uploaded patchset 2" in problem for problem in problems)


def test_moved_to_another_branch(desk: Desk) -> None:
    admin = desk.loop.gerrit("admin")
    admin.put(f"projects/{desk.project}/branches/lax", {"revision": desk.base})
    kept, again = desk.change("kept"), desk.change("again")
    for change, keep in ((kept, True), (again, False)):
        admin.post(f"changes/{change.number}/move", {"destination_branch": "lax"})
        change.vote(2)
        admin.post(f"changes/{change.number}/move", {"destination_branch": "master", "keep_all_votes": keep})
    desk.submit(again)
    assert desk.problems() == []
    desk.submit(kept, approver="")
    (problem,) = desk.problems()
    assert "it was cast for refs/heads/lax, before the change was moved to refs/heads/master" in problem


@pytest.mark.parametrize("kind", ["MERGE_IF_NECESSARY", "CHERRY_PICK"])
def test_merges_within_files_and_folders_that_were_renamed(loop: Loop, tmp_path: Path, kind: str) -> None:
    desk = Desk.make(loop, tmp_path, submit_type=kind)
    long = [f"{number}\n" for number in range(30)]
    first = desk.author.push("first", {"long.txt": "".join(long), **{f"old/{n}": f"{n}\n" * 9 for n in range(5)}})
    desk.submit(first)
    base = projects.head(loop.places, desk.project)
    top = desk.author.push("top", {"long.txt": "".join(["x\n", *long])})
    bottom = desk.author.push("bottom", {"long.txt": "".join([*long, "y\n"]), "old/new": "new\n"})
    git = desk.author.git
    git("checkout", "--quiet", "--detach", base)
    git("mv", "old", "new")
    renamed = desk.author.push("renamed", {"more.txt": "1\n"}, base="HEAD")
    assert not (git.folder / "old").exists()
    for change in (top, renamed, bottom):
        desk.submit(change)
    verdicts = desk.verdicts()
    assert [p.text for v in verdicts for p in v.problems] == []
    git("fetch", "--quiet", "origin")
    assert "old/new" in git("ls-tree", "-r", "--name-only", "origin/master").split("\n")
    assert len([v for v in verdicts if v.basis == "merge"]) == (2 if kind == "MERGE_IF_NECESSARY" else 0)


def test_records_rewritten_or_gone(desk: Desk) -> None:
    one, two, three = desk.change("one"), desk.change("two"), desk.change("three")
    one.comment("something that ought not to be here")
    desk.submit(one)
    two.vote(2)
    assert desk.problems() == [] and desk.alarms == []
    admin = desk.loop.gerrit("admin")
    message = next(each["id"] for each in one.detail()["messages"] if "ought not" in each["message"])
    admin.post(f"changes/{one.number}/messages/{message}/delete", {"reason": "no"})
    _delete(admin, three)
    assert any("rewritten, to all appearance to delete a comment" in problem for problem in desk.problems())
    assert sorted((alarm.change, alarm.kind, alarm.stops) for alarm in desk.alarms) == [
        (one.number, "redacted", False), (three.number, "dropped", False)]  # fmt: skip
    # As docs/trust.md says: a person has looked, and takes it over.
    mirror, ref = desk.mirror, _meta(one)
    git = ["git", "--git-dir", str(mirror.folder)]
    for argv in (
        [*git, "fetch", mirror.address, f"+{ref}:{ref}"],
        [*git, "update-ref", f"refs/cd/kept/{three.number}", _meta(three)],
        [*git, "update-ref", "-d", _meta(three)],
    ):
        assert process.run(argv, Deadline(30)).ok
    assert desk.problems() == [] and desk.alarms == []
    _tamper(desk, two)
    with pytest.raises(Refused, match=f"change {two.number} were rewritten: they say other things"):
        desk.verdicts()


def _meta(change: Change) -> str:
    return f"refs/changes/{change.number % 100:02}/{change.number}/meta"


def _delete(admin: Any, change: Change) -> None:
    admin._read(admin._ask("DELETE", f"changes/{change.number}"))


def _tamper(desk: Desk, change: Change) -> None:
    """Take the last record of a change away, in the server's own repository."""
    folder = str(desk.loop.places.gerrit / "git" / f"{desk.project}.git")
    done = process.run(["git", "--git-dir", folder, "update-ref", _meta(change), f"{_meta(change)}~1"], Deadline(10))
    assert done.ok, done.stderr


def test_a_gerrit_that_is_away_is_never_a_pass(desk: Desk) -> None:
    change = desk.change("one")
    desk.submit(change)
    assert desk.problems() == []
    away = replace(desk.mirror, url="ssh://cd@127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached, and without it nothing is proved"):
        away.update(["master"], desk.server)
