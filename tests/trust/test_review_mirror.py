"""The mirror of Gerrit's records: what it keeps, and what it notices."""

from __future__ import annotations

import fcntl
import http.server
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from approved import PEOPLE
from histories import POLICY
from manuals import follow
from notedb import SID, Branch, Change, World

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Refused, Unavailable, UsageProblem
from cdlib.trust import tampering
from cdlib.trust.case import Law
from cdlib.trust.mirror import Mirror
from cdlib.trust.notedb import Server, read_chains, read_refs
from cdlib.trust.objects import Malformed
from cdlib.trust.review import Request, authorize
from cdlib.trust.tampering import Alarm

TRUST = Path(__file__).parents[2] / "docs" / "trust.md"
SERVER = Server(SID, "gerrit@example.com")


class Scene:
    """A project on a server, one change merged and one open, and its mirror."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder / "served" / "hello")
        self.branch: Branch = self.world.branch("master")
        self.merged = self.branch.change({"a": "1\n"})
        self.merged.record("dave", [], body="something to be deleted")
        self.merged.approve().submit()
        self.open: Change = self.branch.change({"b": "1\n"}).approve()
        self.mirror = Mirror(folder / "mirrors", f"file://{folder}/served", "hello", Deadline(60))
        assert self.update() == []

    def update(self) -> list[Alarm]:
        self.world.folder.parent.mkdir(exist_ok=True)
        self.world.save()
        return self.mirror.update(["master"], SERVER)

    def kinds(self) -> list[tuple[int, str, bool]]:
        return sorted((alarm.change, alarm.kind, alarm.stops) for alarm in self.update())

    def refs(self) -> dict[str, str]:
        return self.mirror.repository.refs("refs/heads/", "refs/changes/")

    def git(self, *args: str) -> str:
        argv = ["git", "-C", str(self.mirror.folder), *args]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def follow(self, name: str, change: Change, **more: str) -> None:
        """Do for a change what docs/trust.md says."""
        number = f"{change.number % 100:02}/{change.number}"
        says = {"MIRROR": str(self.mirror.folder), "refs/changes/NN/C/": f"refs/changes/{number}/", **more}
        follow(TRUST, name, self.mirror.folder, says)

    def rewrite(self, change: Change, edit: Callable[[str], str], *, drop: int = 0) -> None:
        """Write a change's records anew, as an administrator's deletion does, or somebody on the server."""
        chain, tip = list[str](), change.meta
        while tip:
            text = self.world.objects[tip][1].decode()
            chain.append(text)
            tip = next((line[7:] for line in text.split("\n") if line.startswith("parent ")), "")
        made = ""
        for text in reversed(chain[drop:]):
            lines = [line for line in edit(text).split("\n") if not line.startswith("parent ")]
            made = self.world.put(
                "commit", "\n".join([lines[0], *([f"parent {made}"] if made else []), *lines[1:]]).encode()
            )
        change.meta = made
        self.world.ref(change.meta_ref, made)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_it_follows_and_logs_every_tip(scene: Scene) -> None:
    tips = [scene.open.meta]
    for value in (0, 2, 1):
        scene.open.vote("bob", value)
        tips.append(scene.open.meta)
        assert scene.update() == [] and scene.refs() == scene.world.refs
    assert scene.git("reflog", "show", "--format=%H", scene.open.meta_ref).split() == tips[::-1]
    scene.open.submit()
    scene.branch.change({"c": "1\n"})
    assert scene.update() == [] and scene.refs() == scene.world.refs


def test_a_branch_that_went_back_is_followed(scene: Scene) -> None:
    scene.branch.move(scene.branch.base)
    assert scene.update() == [] and scene.refs()["refs/heads/master"] == scene.branch.base


def test_a_comment_that_an_administrator_deleted(scene: Scene) -> None:
    old = scene.merged.meta
    scene.rewrite(
        scene.merged, lambda text: text.replace("something to be deleted", "Comment removed by: Administrator")
    )
    assert scene.kinds() == scene.kinds() == [(scene.merged.number, "redacted", False)]
    assert scene.refs()[scene.merged.meta_ref] == old, "what was seen first is kept"
    scene.merged.record("dave", [], body="later")
    assert scene.kinds() == [(scene.merged.number, "redacted", False)]
    ref = scene.merged.meta_ref
    scene.follow("take-over-what-was-rewritten", scene.merged, ADDRESS=scene.mirror.address)
    assert scene.kinds() == [] and scene.refs() == scene.world.refs
    assert old in scene.git("reflog", "show", "--format=%H", ref)


def test_a_comment_deleted_on_an_open_change_that_merged_later(scene: Scene) -> None:
    """What stands in the way is told, and how it is taken away; what is taken over is judged as anything else."""
    law = Law(POLICY, PEOPLE, SERVER)

    def judge() -> list[str]:
        alarms = scene.update()
        request = Request(scene.branch.head, scene.branch.base)
        return [v.basis for v in authorize(scene.mirror.repository, request, law, alarms)]

    scene.open.record("dave", [], body="something to be deleted")
    assert scene.update() == []
    scene.rewrite(scene.open, lambda text: text.replace("something to be deleted", "Comment removed"))
    scene.open.submit()
    with pytest.raises(Refused, match="were rewritten, to all appearance to delete a comment") as caught:
        judge()
    assert "docs/trust.md" in caught.value.hint and "run this again" not in caught.value.hint
    scene.follow("take-over-what-was-rewritten", scene.open, ADDRESS=scene.mirror.address)
    assert judge() == ["change", "change"]


def test_a_vote_deleted_with_the_comment_is_no_deleted_comment(scene: Scene) -> None:
    scene.open.record("dave", [], body="something to be deleted")
    assert scene.update() == []
    scene.rewrite(scene.open, lambda text: text.replace("something to be", "").replace("Label: Code", "CC: x\nTag: "))
    scene.open.submit()
    (alarm,) = scene.update()
    assert alarm.stops
    request = Request(scene.branch.head, scene.branch.base)
    with pytest.raises(Refused, match="they say other things than they did"):
        authorize(scene.mirror.repository, request, Law(POLICY, PEOPLE, SERVER), [alarm])


@pytest.mark.parametrize(
    ("edit", "drop"),
    [
        (lambda text: text.replace("Code-Review=+2", "Code-Review=-2"), 0),
        (lambda text: text.replace("Subject: Change", "Subject: Another change"), 0),
        (lambda text: text, 1),
        (lambda text: text.replace("Gerrit User 1000003 <1000003", "Gerrit User 1000004 <1000004"), 0),
        (lambda text: text.replace(" +0000", " +0100"), 4),
        (lambda text: text.replace("Gerrit Code Review <gerrit@", "Somebody <else@"), 0),
    ],
)
def test_records_that_say_other_things(scene: Scene, edit: Callable[[str], str], drop: int) -> None:
    old = scene.merged.meta
    scene.rewrite(scene.merged, edit, drop=drop)
    assert scene.kinds() == [(scene.merged.number, "rewritten", True)]
    assert scene.refs()[scene.merged.meta_ref] == old


def test_records_that_only_went_on_were_not_rewritten(scene: Scene) -> None:
    before = scene.refs()
    scene.open.vote("bob", 1)
    assert scene.update() == []
    scene.git("update-ref", f"{tampering.ASIDE}{scene.open.number}", scene.open.meta)
    with pytest.raises(Unavailable, match="did not arrive whole"):
        tampering.find(scene.mirror.repository, before, scene.refs(), SERVER)


def test_numbers_as_long_as_gerrit_has_none(scene: Scene) -> None:
    """On a hostile server, or by somebody who wrote into its repositories."""
    long = "1" * 5000
    for name in (f"refs/changes/11/{long}/meta", f"refs/changes/11/{long}/1", f"refs/changes/11/11/{long}"):
        assert read_refs({name: "a" * 40}) == read_refs({})
    user = f"Gerrit User {long} <{long}@{SID}>"
    with pytest.raises(Malformed, match="is no account"):
        SERVER.account(user)
    scene.open.record("bob", [], author=user)
    assert scene.update() == []
    found = read_chains(scene.mirror.repository, [scene.open.meta], SERVER)[scene.open.meta]
    assert isinstance(found, Malformed) and "is no account" in str(found)


def test_what_is_gone(scene: Scene) -> None:
    for change in (scene.merged, scene.open):
        for ref in (change.meta_ref, change.ref(1)):
            scene.world.delete(ref)
    assert scene.kinds() == [(scene.merged.number, "gone", True), (scene.open.number, "dropped", False)]
    assert scene.merged.meta_ref in scene.refs()
    for change in (scene.merged, scene.open):
        scene.follow("take-over-what-is-gone", change)
    assert scene.kinds() == []
    assert scene.git("rev-parse", f"refs/cd/kept/{scene.merged.meta_ref}").strip() == scene.merged.meta


def spoil(change: Change) -> None:
    """As a Gerrit does that is newer, or somebody by what only looks harmless, such as a subject of 9 MiB."""
    change.record("dave", ["Unheard-of: yes"])


def push_a_long_subject(change: Change) -> None:
    change.record("dave", [f"Subject: {'x' * 9 * 2**20}"])


def say_merged(change: Change) -> None:
    """In every place that is anybody's to write in."""
    forged = "Patch-set: 1\nStatus: merged\n"
    change.record("dave", ["Topic: Status: merged", "Subject: x Status: merged"], body=f"Status: merged\n\n{forged}")
    change.record("dave", ["Unheard-of: yes"], body=forged)


@pytest.mark.parametrize("unreadable", [spoil, push_a_long_subject, say_merged])
def test_what_is_gone_and_cannot_be_read(scene: Scene, unreadable: Callable[[Change], None]) -> None:
    """An open change that its owner makes unusable and then hides is in nobody's way; a merged one that is gone is."""
    unreadable(scene.open)
    unreadable(scene.merged)
    assert scene.update() == []
    scene.world.delete(scene.open.meta_ref)
    scene.world.delete(scene.open.ref(1))
    assert scene.kinds() == [(scene.open.number, "dropped", False)]
    scene.world.delete(scene.merged.meta_ref)
    assert scene.kinds() == [(scene.merged.number, "gone", True), (scene.open.number, "dropped", False)]


@pytest.mark.parametrize("unreadable", [spoil, push_a_long_subject])
def test_what_merged_after_it_could_not_be_read_is_gone(scene: Scene, unreadable: Callable[[Change], None]) -> None:
    unreadable(scene.open)
    scene.open.submit(conditions=["OK"])
    unreadable(scene.open)
    assert scene.update() == []
    scene.world.delete(scene.open.meta_ref)
    assert scene.kinds() == [(scene.open.number, "gone", True)]


def test_a_patchset_that_moved_or_went(scene: Scene) -> None:
    commit = scene.merged.commit
    scene.world.ref(scene.merged.ref(1), scene.branch.base)
    assert scene.kinds() == [(scene.merged.number, "moved", True)]
    scene.world.delete(scene.merged.ref(1))
    assert scene.kinds() == [(scene.merged.number, "moved", True)]
    assert scene.refs()[scene.merged.ref(1)] == commit


def test_no_such_branch_and_no_such_project(scene: Scene) -> None:
    with pytest.raises(UsageProblem, match="has no refs/heads/none"):
        scene.mirror.update(["none"], SERVER)
    nothing = Mirror(scene.mirror.mirrors, scene.mirror.url, "nothing", Deadline(60))
    with pytest.raises(UsageProblem, match="no repository that we can read"):
        nothing.update(["master"], SERVER)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A web server that answers every request with this status."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (401, NotAllowed), (403, NotAllowed)])
def test_a_server_that_does_not_answer_is_never_a_pass(
    scene: Scene, status: int, kind: type[CdError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdlib.retry.FIRST_WAIT", 0.001)
    with answering(status) as url, pytest.raises(kind):
        Mirror(scene.mirror.mirrors, url, "hello", Deadline(60)).update(["master"], SERVER)


def test_nobody_listens(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdlib.retry.FIRST_WAIT", 0.001)
    with pytest.raises(Unavailable, match="without it nothing is proved"):
        Mirror(scene.mirror.mirrors, "git://127.0.0.1:1", "hello", Deadline(60)).update(["master"], SERVER)


def test_one_run_at_a_time_and_what_a_killed_one_left(scene: Scene) -> None:
    folder = scene.mirror.folder
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = Mirror(scene.mirror.mirrors, scene.mirror.url, "hello", Deadline(0.3))
        with pytest.raises(OutOfTime, match="waiting for another run"):
            waiting.update(["master"], SERVER)
    scene.open.vote("bob", 1)
    for name in ("packed-refs.lock", "config.lock", f"{scene.open.meta_ref}.lock"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert scene.update() == [] and scene.refs() == scene.world.refs


def test_a_folder_that_is_no_mirror(scene: Scene, tmp_path: Path) -> None:
    scene.git("config", "cd.mirror", "elsewhere")
    with pytest.raises(UsageProblem, match="is no mirror of"):
        scene.update()
    outside = Mirror(tmp_path / "m", "file:///srv", "../../etc/x\n", Deadline(60))
    assert outside.folder.parent == tmp_path / "m"


def test_a_great_many_refs_are_packed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdlib.trust.mirror._PACK", 1)
    scene.branch.change({"c": "1\n"})
    assert scene.update() == [] and scene.refs() == scene.world.refs
    assert not (scene.mirror.folder / scene.open.meta_ref).exists()
