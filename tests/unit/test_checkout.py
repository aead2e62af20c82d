"""cd-checkout: the commit that was asked for, all of its history, and nothing else in the folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cdlib.checkout import Wanted, check_out
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable, UsageProblem
from cdlib.git import AS_REVIEWED
from cdlib.run import Run
from jobs import authorize_deploy, cd_checkout

Commit = Callable[..., str]


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()


class Place:
    """A git server's folder with the project `team/hello`, and a folder to check it out into."""

    def __init__(self, base: Path, commit: Commit) -> None:
        self.url, self.folder = base / "git", base / "work"
        self.project = self.url / "team" / "hello"
        self.project.mkdir(parents=True)
        self.folder.mkdir()
        self._commit = commit
        self.first = self.commit("one", a="1")
        self.second = self.commit("two", a="2", b="2")
        git(self.project, "update-ref", "refs/zuul/master/Zabc", self.first)
        git(self.project, "update-ref", "refs/changes/34/1234/5", self.first)
        self.run = Run("cd-checkout", Deadline(30), out=self.folder / ".cd")

    def commit(self, message: str, **files: str) -> str:
        for name, text in files.items():
            (self.project / name).write_text(text)
        return self._commit(self.project, message)

    def __call__(self, ref: str, commit: str = "") -> str:
        return check_out(self.run, self.folder, Wanted(f"file://{self.url}", "team/hello", ref, commit))

    @property
    def files(self) -> list[str]:
        return sorted(p.name for p in self.folder.iterdir() if p.name not in (".git", ".cd"))


@pytest.fixture
def place(tmp_path: Path, git: Commit) -> Place:
    return Place(tmp_path, git)


def test_what_zuul_has_merged(place: Place) -> None:
    assert place("refs/zuul/master/Zabc", place.first) == place.first
    assert place.files == ["a"] and (place.folder / "a").read_text() == "1"
    assert git(place.folder, "config", "remote.origin.url") == f"file://{place.url}/team/hello"
    with pytest.raises(UsageProblem, match="ZUUL_COMMIT contradicts ZUUL_REF"):
        place("refs/zuul/master/Zabc", place.second)
    with pytest.raises(UsageProblem, match="ZUUL_COMMIT is missing"):
        place("refs/zuul/master/Zabc")
    with pytest.raises(UsageProblem, match=r"has no refs/zuul/master/Zgone"):
        place("refs/zuul/master/Zgone", place.first)


def test_a_change_of_gerrit_and_a_branch(place: Place) -> None:
    assert place("refs/changes/34/1234/5") == place.first
    with pytest.raises(UsageProblem, match="contradicts"):
        place("refs/changes/34/1234/5", place.second)
    assert place("master") == place("refs/heads/master") == place.second
    assert git(place.folder, "rev-list", "--count", "HEAD") == "2"


def test_a_branch_may_have_gone_on_but_not_elsewhere(place: Place, git: Commit, tmp_path: Path) -> None:
    assert place("master", place.first) == place.first and place.files == ["a"]
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageProblem, match="contradicts"):
        place("master", git(tmp_path / "other"))


def test_the_same_folder_again_holds_nothing_else(place: Place) -> None:
    place("master")
    (place.folder / "left").mkdir()
    (place.folder / "left" / "over").touch()
    (place.folder / ".gitignore").write_text("*")
    (place.folder / "a").write_text("changed")
    (place.folder / ".cd").mkdir(exist_ok=True)
    (place.folder / ".cd" / "kept").touch()
    (place.folder / ".git" / "index.lock").touch()
    assert place("refs/zuul/master/Zabc", place.first) == place.first
    assert place.files == ["a"] and (place.folder / "a").read_text() == "1" and (place.folder / ".cd" / "kept").exists()
    assert place("master") == place.second and place.files == ["a", "b"]


@pytest.mark.parametrize("name", ["connector-deploy", "it's refused"])
def test_what_a_killed_fetch_leaves_does_not_stay(tmp_path: Path, git: Commit, name: str) -> None:
    place, told = Place(tmp_path, git), list[str]()
    place.run.events.listen(lambda event: told.append(str(event.get("text"))))
    place.folder = tmp_path / name
    place.folder.mkdir()
    place("master")
    for lock in ("index", "refs/cd/checkout", "packed-refs", "objects/info/commit-graph"):
        (place.folder / ".git" / f"{lock}.lock").touch()
    assert place("refs/zuul/master/Zabc", place.first) == place.first
    assert not [line for line in told if "fetching all of it again" in line] and not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("name", ["connector-deploy", "it's refused"])
def test_what_is_in_the_way_is_not_taken_for_a_server_that_is_away(tmp_path: Path, git: Commit, name: str) -> None:
    place = Place(tmp_path, git)
    place.folder = tmp_path / name
    place.folder.mkdir()
    place("master")
    (place.folder / ".git" / "refs" / "cd" / "checkout.lock" / "in").mkdir(parents=True)
    assert place("refs/zuul/master/Zabc", place.first) == place.first


def test_a_repository_that_is_broken_is_made_again(place: Place) -> None:
    place("master")
    for file in (place.folder / ".git" / "objects").rglob("*"):
        if file.is_file():
            file.unlink()
    assert place("master") == place.second and place.files == ["a", "b"]


@pytest.mark.parametrize("encoding", ["working-tree-encoding=ASCII//TRANSLIT", "working-tree-encoding"])
def test_files_are_written_as_they_were_reviewed(place: Place, encoding: str) -> None:
    """The second is one that git would end at."""
    own = place.project / ".git" / "info" / "attributes"
    own.parent.mkdir(exist_ok=True)
    own.write_text(AS_REVIEWED)
    place.commit("odd", odd="print(\u201cx\u201d)  # $Id:really()$\n")
    place.commit("dull", **{".gitattributes": f"odd ident {encoding}\n"})
    place("master")
    assert (place.folder / "odd").read_text() == "print(\u201cx\u201d)  # $Id:really()$\n"
    assert git(place.folder, "status", "--porcelain") == ""


def test_nobodys_folder_is_cleaned(place: Place) -> None:
    (place.folder / "thesis.txt").touch()
    with pytest.raises(UsageProblem, match="neither empty nor made by cd-checkout"):
        place("master")
    (place.folder / "thesis.txt").unlink()
    git(place.folder, "init", "-q")
    with pytest.raises(UsageProblem, match="neither empty nor made by cd-checkout"):
        place("master")


def test_a_commit_cannot_bring_results_of_its_own(place: Place) -> None:
    (place.project / ".cd").mkdir()
    (place.project / ".cd" / "cd-result.json").write_text('{"exit_code": 0}')
    place.commit("evil")
    with pytest.raises(UsageProblem, match=r"holds \.cd"):
        place("master")
    assert not (place.folder / ".cd" / "cd-result.json").exists()


@pytest.mark.parametrize(
    "ref", ["--upload-pack=touch evil", "a..b", "refs/heads/a:refs/heads/b", "+master", "a b", "refs/heads/\n"]
)
def test_refs_that_are_none(place: Place, ref: str) -> None:
    with pytest.raises(CdError):
        place(ref, place.first)
    assert not list(place.folder.glob("evil")) and not Path("evil").exists()


def test_servers_that_are_none(place: Place) -> None:
    gone = Wanted("git://127.0.0.1:1", "hello", "master")
    place.run.deadline = Deadline(3)
    with pytest.raises(Unavailable, match="cannot be reached"):
        check_out(place.run, place.folder, gone)
    place.run.deadline = Deadline(30)
    for url in (f"file://{place.url}/none", "ext::sh -c touch% evil", "--upload-pack=x"):
        with pytest.raises(UsageProblem):
            check_out(place.run, place.folder, Wanted(url, "hello", "master"))
    assert not Path("evil").exists()


@pytest.mark.parametrize(("name", "wanted"), [
    ("ZUUL_URL", Wanted("", "p", "master")), ("ZUUL_PROJECT", Wanted("u", "", "master")), ("ZUUL_REF", Wanted("u", "p", "")),
    ("ZUUL_COMMIT", Wanted("u", "p", "master", "abc")), ("ZUUL_COMMIT", Wanted("u", "p", "refs/zuul/x/Z1", ""))])  # fmt: skip
def test_what_is_missing_is_named(name: str, wanted: Wanted) -> None:
    with pytest.raises(UsageProblem, match=name):
        wanted.require_whole()


@pytest.mark.usefixtures("_signals")
def test_the_command_reads_what_zuul_gives(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*args: str, **env: str) -> int:
        for name in ("URL", "PROJECT", "REF", "COMMIT", "NEWREV", "BRANCH", "UUID", "PIPELINE"):
            monkeypatch.delenv(f"ZUUL_{name}", raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            cd_checkout.main.main(["-C", str(place.folder), *args])
        return int(caught.value.code or 0)

    base = {"ZUUL_URL": f"file://{place.url}", "ZUUL_PROJECT": "team/hello"}
    updated = {
        **base,
        "ZUUL_UUID": "u",
        "ZUUL_PIPELINE": "post",
        "ZUUL_REF": "refs/heads/master",
        "ZUUL_NEWREV": place.first,
    }
    assert call(**updated) == 0 and capsys.readouterr().out.strip() == place.first
    assert call(**base, ZUUL_REF="refs/changes/34/1234/5") == 0 and capsys.readouterr().out.strip() == place.first
    assert call("--ref", "master", **base) == 0 and capsys.readouterr().out.strip() == place.second
    assert call("--dry-run", **base, ZUUL_REF="refs/heads/none") == 0
    assert call(**base) == 2 and "ZUUL_REF is missing" in capsys.readouterr().err
    assert (
        call(**updated, ZUUL_COMMIT=place.second) == 2
        and "ZUUL_COMMIT contradicts ZUUL_NEWREV" in capsys.readouterr().err
    )


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(("policy", "code"), [("none", 0), ("reviewed", 6), ("signed", 6), ("", 6)])
def test_authorize_fails_closed(tmp_path: Path, git: Commit, policy: str, code: int) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "cd.yaml").write_text("service: hello\n")
    git(tmp_path / "s")
    said = f"{{policy: {policy}}}" if policy else "{}"
    (tmp_path / "targets.yaml").write_text(
        f"version: 1\nenvironments: {{lab: {said}}}\nservices: {{hello: {{image: r.example.org/hello, "
        "environments: {lab: {namespace: n, release: r}}}}\n"
    )
    with pytest.raises(SystemExit) as caught:
        authorize_deploy.main.main(["-C", str(tmp_path / "s"), "--targets", str(tmp_path / "targets.yaml")])
    assert int(caught.value.code or 0) == code
