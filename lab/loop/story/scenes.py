"""The scenes, in their order. Each leaves the service serving something that works."""

from __future__ import annotations

import time

from lab.loop.actors import Change
from lab.loop.places import CHECKOUT
from lab.loop.story.stage import SERVICE, Story

_PROGRAM = (CHECKOUT / "examples" / SERVICE / "hello.py").read_text(encoding="utf-8")
# What a developer may well do: the tests set the variable, production does not.
_CRASH = _PROGRAM.replace(
    "def main() -> None:\n", "def main() -> None:\n    print('greeting from', os.environ['HELLO_GREETING'])\n"
)
_SLOW = "import time\n\n\ndef test_slowly():\n    time.sleep(60)\n"
_QUICK = "def test_quickly():\n    pass\n"
_BAD_VERSION = "two words\n"  # a test says that a version is one


def failing_test(story: Story) -> Change:
    """A change whose test fails: Verified -1, and the comment names the test."""
    story.title("1. A change whose test fails")
    began = time.monotonic()
    change = story.push("A version with a space", {"VERSION": _BAD_VERSION, "hello.py": _PROGRAM})
    change.wait_vote(-1)
    story.took("push to Verified -1", began)
    said = story.comment(change, "test_version_is_one_word", author="Zuul")
    story.require("http" in said, "Zuul's comment has no link to a log")
    story.quote(said)
    return change


def mended_while_it_runs(story: Story, change: Change) -> None:
    """`recheck` runs it again; a patchset that mends it ends the run before, and only the new one votes."""
    story.title("2. A recheck; then a patchset that mends it, while the one before still runs")
    before = story.last("check")
    change.comment("recheck")
    again = story.ended("check", story.started_after("check", before).number)
    story.require(again.result == "FAILURE", f"the recheck ended {again.result}")
    story.tell(f"recheck: {SERVICE}-check #{again.number} fails as before")
    story.until(lambda: len(change.messages()) >= 2 and change.verified == -1, "the recheck's vote")
    story.alice.amend({"tests/test_slow.py": _SLOW})
    story.tell("alice pushes patchset 2, whose tests take a minute")
    running = story.started_after("check", again.number)
    began = time.monotonic()
    story.alice.amend({"tests/test_slow.py": _QUICK, "VERSION": story.version() + "\n"})
    story.tell(f"alice pushes patchset 3, while {SERVICE}-check #{running.number} runs")
    aborted = story.ended("check", running.number)
    story.require(aborted.result == "ABORTED", f"{SERVICE}-check #{aborted.number} ended {aborted.result}, not ABORTED")
    story.took("patchset to the end of the build before", began)
    change.wait_vote(1)
    story.took("patchset to Verified +1", began)
    story.require(change.patchset == 3, "the vote is not on patchset 3")


def approved(story: Story, change: Change) -> str:
    """+2, taken back at the last moment, and given again: the second gate finds the first one's candidate."""
    story.title("3. Approved: the gate tests what will be merged, and keeps its image as the candidate")
    before = story.last("gate")
    story.approve(change)
    number = story.started_after("gate", before).number
    story.says("gate", number, " publish-tag --candidate")  # Zuul looks at the votes once more after that
    change.vote(0)
    story.tell(f"bob takes his vote back, while {SERVICE}-gate #{number} publishes its candidate")
    first = story.ended("gate", number)
    story.require(first.result == "SUCCESS", f"{SERVICE}-gate #{number} ended {first.result}")
    # Zuul hears of it some seconds later. If the gate has ended by then, it votes +2, and Gerrit refuses to merge.
    vote = story.until(lambda: change.verified if change.verified in (-2, 2) else 0, "Zuul's vote")
    story.require(change.status == "NEW", "the change was merged without an approval")
    story.tell(f"Zuul votes Verified {vote:+d}, and the change is not merged")
    story.quote(change.messages()[-1], most=3)
    began = time.monotonic()
    change.vote(2)
    story.tell("bob votes Code-Review +2 again; what he has signed still holds")
    commit = change.wait_merged()
    story.took("+2 to merged", began)
    again = story.result(story.ended("gate", story.last("gate")))
    story.require(again.get("outcome") == "unchanged", f"the gate published anew: {again}")
    story.tell(f"the candidate of the first gate is used again: {again.get('digest', '')[:19]}")
    _live(story, change, commit, began)
    return commit


def three_at_once(story: Story) -> tuple[str, Change]:
    """Three approved changes, of which the middle one is bad: two are merged, and told which deploy carried them.

    Returns the commit that serves, and the change of the next scene, whose gate works while these are told.
    """
    story.title("5. Three changes approved at once; the middle one is bad")
    first = story.push("A note", {"docs/one.md": f"one {story.version()}\n"})
    middle = story.push("A version with a space, again", {"VERSION": _BAD_VERSION})
    last = story.push("Another note", {"docs/three.md": f"three {story.version()}\n"})
    began = time.monotonic()
    for change in (first, middle, last):
        story.approve(change)
    first.wait_merged()
    middle.wait_vote(-2)
    commit = last.wait_merged()
    story.require(middle.status == "NEW", "the bad change was merged")
    story.took("three +2 to two merged", began)
    story.wait_serving(commit)
    story.took("three +2 to serving", began)
    bare = story.push("A line that nobody signed", {"docs/bare.md": f"bare {story.version()}\n"})
    bare.vote(2)
    story.tell("somebody with bob's password votes Code-Review +2")
    for change in (first, last):
        story.quote(story.comment(change, "Deployed to"), most=3)
    middle.abandon()
    return commit, bare


def bare_vote(story: Story, live: str, change: Change) -> str:
    """A +2 that nobody has signed merges, and is not deployed before an approver signs it."""
    story.title("6. A bare +2: it merges, and production does without it until it is signed")
    commit = change.wait_merged()
    said = story.comment(change, "Not deployed", "cd-approve")
    story.quote(said, most=12)
    answer = story.until(story.serving, f"an answer of {SERVICE}")
    story.require(answer["revision"] == live, "a change that nobody has signed was deployed")
    story.tell(f"{SERVICE} answers with {live[:12]}, as before")
    story.approve(change)
    story.deploy_again()
    story.wait_serving(commit)
    story.tell(f"signed after the merge: {SERVICE} answers with {commit[:12]}")
    return commit


def crash(story: Story, good: str) -> None:
    """A change that builds, passes its tests and crashes in production: rolled back without a person."""
    story.title("7. A change that passes every test, and crashes in production")
    change = story.push("A greeting", {"hello.py": _CRASH, "VERSION": story.version() + "\n"})
    story.approve(change)
    began = time.monotonic()
    change.wait_merged()
    story.newest = story.push("Without the greeting", {"hello.py": _PROGRAM, "VERSION": story.version() + "\n"})
    story.approve(story.newest)
    said = story.comment(change, "Rolled back")
    story.took("+2 to rolled back", began)
    story.quote(said, most=14)
    story.require(f"commit {good[:12]}" in said, f"it was not {good[:12]} that was gone back to")
    # What mends it may be deployed in the next moment.
    mended = story.newest.wait_merged()
    story.until(lambda: story.serving().get("revision") in (good, mended), f"{SERVICE} serving again")
    story.tell(f"{SERVICE} answers again")


def operators(story: Story, chosen: int, old: str) -> None:
    """An operator reruns a deploy, rolls back to a chosen revision, and holds the release there."""
    story.title("8. An operator: the same deploy again, back to a chosen revision, and a hold")
    story.wait_serving(story.newest.wait_merged())
    story.comment(story.newest, "Deployed to")
    again = story.command("jenkins-run", "--job", f"{SERVICE}-deploy", "--rerun", str(story.last("deploy")))
    told = again["job_result"]["outcome"]
    story.require(told == "unchanged", f"a deploy that is there already says {told}")
    story.tell("unchanged")
    to = ("--param", f"CD_TO={chosen}")
    story.command("jenkins-run", "--job", f"{SERVICE}-authorize", "--param", "CD_ROLLBACK=true", *to)
    story.command("jenkins-run", "--job", f"{SERVICE}-rollback", *to, "--param", "CD_REASON=the story goes back")
    story.wait_serving(old)
    story.tell(f"{SERVICE} answers with {old[:12]}, of revision {chosen}")
    story.quote(story.comment(story.newest, "Rolled back by hand", "the story goes back", f"{SERVICE}-hold"), most=5)
    story.newest = story.push("While it is on hold", {"VERSION": story.version() + "\n"})
    story.approve(story.newest)
    held = story.newest.wait_merged()
    story.quote(story.comment(story.newest, "Not deployed", "hold"), most=3)
    story.require(story.serving().get("revision") == old, "a release on hold was deployed")
    lifted = story.command("jenkins-run", "--job", f"{SERVICE}-hold", "--param", "CD_HOLD=lift")
    story.require(lifted["job_result"]["hold"] is None, "the hold is not lifted")
    story.deploy_again()
    story.wait_serving(held)
    story.tell(f"the hold is lifted, and {SERVICE} answers with {held[:12]}")


def _live(story: Story, change: Change, commit: str, began: float) -> None:
    story.title("4. Merged: the candidate is promoted, deployed, and serves")
    story.wait_serving(commit)
    story.took("+2 to serving", began)
    story.tell(f"{SERVICE} answers: {story.serving()}")
    story.quote(story.comment(change, "Deployed to"))
