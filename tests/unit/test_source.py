"""The service's source: a commit's tree, never whatever lies in the folder."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, UsageProblem
from cdlib.source import contained, fetch_tree, inside, open_source


@pytest.fixture
def folder(tmp_path: Path, git: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-03-04T05:06:07+02:00")
    made = tmp_path / "service"
    (made / "sub").mkdir(parents=True)
    (made / "cd.yaml").write_text("service: hello\n")
    (made / "sub" / "ünï cödé 'q'.txt").write_text("x")
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    (made / "link").symlink_to("/etc/passwd")
    git(made)
    return made


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())


def test_commit_tree_tag_and_files(folder: Path) -> None:
    source = open_source(folder)
    assert source.default_tag == f"2026-03-04-030607-{source.commit[:12]}"
    assert not source.dirty and not source.uncommitted and source.url == ""
    assert source.read_text("cd.yaml", "x") == "service: hello\n" == source.read_text("./sub/../cd.yaml", "x")
    with source.files() as files:
        assert listing(files) == ["cd.yaml", "link", "run.sh", "sub/ünï cödé 'q'.txt"]
        assert os.access(files / "run.sh", os.X_OK) and (files / "link").is_symlink()
        kept = files
    assert not kept.exists()


def test_no_two_contexts_have_the_same_name(folder: Path) -> None:
    """buildx takes a context's last component for its identity, and BuildKit keeps what it has of one."""
    source = open_source(folder)
    with source.files() as first, source.files() as second:
        assert first.name != second.name


def test_a_folder_inside_a_repository(folder: Path, git: Any) -> None:
    inner = folder / "services" / "inner"
    inner.mkdir(parents=True)
    (inner / "cd.yaml").write_text("service: inner\n")
    git(folder)
    source = open_source(inner)
    assert source.read_text("cd.yaml", "x") == "service: inner\n"
    with source.files() as files:
        assert listing(files) == ["cd.yaml"]
    tree = source.tree
    (folder / "other").write_text("x")
    assert not open_source(inner).uncommitted and open_source(folder).uncommitted
    git(folder)
    assert open_source(inner).tree == tree and open_source(inner).commit != source.commit
    (inner / "new").write_text("x")
    dirty = open_source(inner, with_changes=True)
    with dirty.files() as files:
        assert listing(files) == ["cd.yaml", "new"]


def test_uncommitted_changes_are_taken_along_only_when_asked(folder: Path) -> None:
    clean = open_source(folder)
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "ignored").write_text("x")
    (folder / "new").write_text("x")
    (folder / "cd.yaml").write_text("service: changed\n")
    (folder / "run.sh").unlink()
    source = open_source(folder)
    assert source.uncommitted and not source.dirty and source.tree == clean.tree
    before = subprocess.run(["git", "-C", folder, "status", "--porcelain"], capture_output=True, check=True).stdout
    dirty = open_source(folder, with_changes=True)
    assert dirty.dirty and dirty.tree != clean.tree and dirty.commit == clean.commit
    with dirty.files() as files:
        assert listing(files) == [".gitignore", "cd.yaml", "link", "new", "sub/ünï cödé 'q'.txt"]
    assert dirty.read_text("cd.yaml", "x") == "service: changed\n"
    after = subprocess.run(["git", "-C", folder, "status", "--porcelain"], capture_output=True, check=True).stdout
    assert before == after


def test_another_revision_and_ancestors(folder: Path, git: Any) -> None:
    first = open_source(folder).commit
    (folder / "cd.yaml").write_text("service: second\n")
    second = git(folder)
    assert open_source(folder, revision=first).read_text("cd.yaml", "x") == "service: hello\n"
    now = open_source(folder)
    assert now.commit == second and now.contains(first) and open_source(folder, revision=first).is_before(second)
    assert now.contains(second) and now.is_before(first) is False and now.contains("0" * 40) is None
    for bad in ("none", "--upload-pack=x", "HEAD^{tree}", f"{first}..HEAD", "^HEAD", "HEAD:cd.yaml"):
        with pytest.raises(UsageProblem):
            open_source(folder, revision=bad)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@git.test/x", "https://git.test/x"),
        ("https://me:sec@ret@git.test/x@y", "https://git.test/x@y"),
        ("git@git.test:x", "git@git.test:x"),
        ("/srv/x", "/srv/x"),
    ],
)
def test_the_url_is_without_credentials(folder: Path, url: str, shown: str) -> None:
    subprocess.run(["git", "-C", folder, "remote", "add", "origin", url], check=True)
    assert open_source(folder).url == shown


def test_no_folder_no_repository_no_commit(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="is no folder"):
        open_source(tmp_path / "none")
    with pytest.raises(UsageProblem, match="in no git repository"):
        open_source(tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with pytest.raises(UsageProblem, match="has no commit yet"):
        open_source(tmp_path)


def test_a_folder_that_is_not_committed(folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new" / "cd.yaml").write_text("x")
    with pytest.raises(UsageProblem, match="is not in the commit"):
        open_source(folder / "new")


@pytest.mark.parametrize(
    ("path", "said"),
    [("none", "is not in the commit"), ("link", "is a symbolic link"), ("sub", "is not in the commit"), ("../x", "outside"),
     ("/etc/passwd", "outside"), ("a\0b", "outside"), ("", "outside"), ("sub/../../x", "outside"), ("*.yaml", "is not in"),
     (":(top)cd.yaml", "is not in")],
)  # fmt: skip
def test_files_that_cannot_be_read(folder: Path, path: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=said):
        open_source(folder).read_text(path, "a file")


def test_paths_that_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").write_text("x")
    (tmp_path / "in" / "out").symlink_to("/etc")
    assert contained(tmp_path / "in", "x", "a file").name == "x" and inside("a/./b/../c", "x") == "a/c"
    for path, said in (("out/passwd", "leads outside"), ("none", "is not in the commit"), ("..", "outside")):
        with pytest.raises(UsageProblem, match=said):
            contained(tmp_path / "in", path, "a file")


def test_a_repository_cannot_make_git_start_programs(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    hooks = folder / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "post-checkout", "pre-commit"):
        (hooks / name).symlink_to(trap)
    subprocess.run(["git", "-C", folder, "config", "core.fsmonitor", str(trap)], check=True)
    (folder / "new").write_text("x")
    with open_source(folder, with_changes=True).files():
        pass
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("where", ["global", "repository"])
def test_the_files_are_the_same_whatever_git_is_configured_to_do(
    folder: Path, tmp_path: Path, git: Any, git_settings: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (folder / ".gitattributes").write_text("*.bin filter=lfs\n*.bat text eol=crlf\n")
    for name in ("x.bin", "x.bat"):
        (folder / name).write_text("one\n$Id$\n")
    git(folder)
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\necho smudged\n")
    trap.chmod(0o755)
    attributes = tmp_path / "attributes"
    attributes.write_text("* ident\n")
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text("* text ident\n" if where == "repository" else "")
    (tmp_path / "settings").write_text(git_settings.read_text())
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    place = ("--file", tmp_path / "settings") if where == "global" else ("--local",)
    for name, value in (
        ("core.autocrlf", "true"), ("core.eol", "crlf"), ("core.symlinks", "false"), ("core.attributesFile", str(attributes)),
        ("filter.lfs.smudge", str(trap)),
    ):  # fmt: skip
        subprocess.run(["git", "-C", folder, "config", *place, name, value], check=True)
    with open_source(folder).files() as files:
        assert (files / "link").is_symlink() and (files / "run.sh").read_bytes() == b"#!/bin/sh\n"
        assert (files / "x.bin").read_bytes() == b"one\n$Id$\n"
        assert (files / "x.bat").read_bytes() == b"one\r\n$Id$\r\n"  # what the tree itself asks for
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("named", ["*.py {}", "[attr]dull {}\n*.py dull", "sub/*.py {}\n*.py {}"])
def test_a_tree_cannot_have_other_bytes_written_than_were_reviewed(
    folder: Path, tmp_path: Path, git: Any, named: str
) -> None:
    """What reads as one harmless text in a review would be code where its quotes were written as plain ones."""
    reviewed = "print(\"hello \u201c + str(__import__('os').getpid()) + \u201d\")  # $Id:really()$\n".encode()
    attribute = "ident working-tree-encoding=ASCII//TRANSLIT"
    for name in ("x.py", "sub/x.py"):
        (folder / name).write_bytes(reviewed)
    git(folder)
    (folder / ".gitattributes").write_text(named.replace("{}", attribute) + "\n")
    for argv in (["add", ".gitattributes"], ["commit", "--quiet", "--message", "x"]):
        subprocess.run(["git", "-C", folder, *argv], check=True)
    with open_source(folder).files() as files:
        assert (files / "x.py").read_bytes() == reviewed == (files / "sub" / "x.py").read_bytes()
    fetch_tree(f"file://{folder}", open_source(folder).commit, "sub", tmp_path / "fetched", Deadline(30))
    assert (tmp_path / "fetched" / "x.py").read_bytes() == reviewed


def test_a_replaced_object_is_not_read(folder: Path, git: Any) -> None:
    reviewed = open_source(folder)
    (folder / "cd.yaml").write_text("service: another\n")
    subprocess.run(["git", "-C", folder, "replace", reviewed.commit, git(folder)], check=True)
    source = open_source(folder, revision=reviewed.commit)
    assert source.tree == reviewed.tree and source.read_text("cd.yaml", "x") == "service: hello\n"


def test_the_environment_of_a_hook_misleads_nobody(folder: Path, git: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, other = open_source(folder).commit, folder.parent / "other"
    other.mkdir()
    (other / "cd.yaml").write_text("service: other\n")
    git(other)
    for name, value in (
        ("DIR", other / ".git"), ("WORK_TREE", other), ("INDEX_FILE", other / "index"), ("COMMON_DIR", other / ".git"),
        ("OBJECT_DIRECTORY", other / ".git" / "objects"), ("NAMESPACE", "x"), ("PREFIX", "sub/"),
    ):  # fmt: skip
        monkeypatch.setenv(f"GIT_{name}", str(value))
    source = open_source(folder, with_changes=True)
    assert source.commit == commit and not source.dirty and source.read_text("cd.yaml", "x") == "service: hello\n"
    with source.files() as files:
        assert "run.sh" in listing(files)


def test_a_linked_work_tree_and_objects_with_long_names(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "-C", folder, "worktree", "add", "--quiet", "--detach", tmp_path / "linked"], check=True)
    with open_source(tmp_path / "linked").files() as files:
        assert "run.sh" in listing(files)
    long = tmp_path / "long"
    subprocess.run(["git", "init", "--quiet", "--object-format=sha256", long], check=True)
    (long / "cd.yaml").write_text("service: long\n")
    subprocess.run(["git", "-C", long, "add", "--all"], check=True)
    subprocess.run(["git", "-C", long, "commit", "--quiet", "--message", "x"], check=True)
    with open_source(long).files() as files:
        assert listing(files) == ["cd.yaml"]


def test_a_signed_commit_cannot_make_git_start_programs(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    plain = subprocess.run(["git", "-C", folder, "cat-file", "commit", "HEAD"], capture_output=True, check=True).stdout
    signature = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n"
    head, _, message = plain.partition(b"\n\n")
    signed = subprocess.run(
        ["git", "-C", folder, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=head + b"\n" + signature + b"\n" + message,
        capture_output=True,
        check=True,
    )
    subprocess.run(["git", "-C", folder, "reset", "--quiet", signed.stdout.decode().strip()], check=True)
    for name, value in (("gpg.program", str(trap)), ("log.showSignature", "true")):
        subprocess.run(["git", "-C", folder, "config", name, value], check=True)
    assert open_source(folder).commit == signed.stdout.decode().strip()
    assert not (tmp_path / "sprung").exists()


def test_a_folder_with_an_odd_name(tmp_path: Path, git: Any) -> None:
    inner = tmp_path / "a\nb" / "c\u2028 \x0b"
    inner.mkdir(parents=True)
    (inner / "cd.yaml").write_text("service: odd\n")
    commit = git(tmp_path)
    called: list[bool] = []
    source = open_source(inner, meanwhile=lambda: called.append(True))
    assert source.commit == commit and source.read_text("cd.yaml", "x") == "service: odd\n" and called


def test_git_ends_with_the_run_that_asks_it(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "bin" / "git"
    stuck.parent.mkdir()
    stuck.write_text("#!/bin/sh\nexec sleep 8\n")
    stuck.chmod(0o755)
    whole = open_source(folder, deadline=Deadline(30))
    monkeypatch.setenv("PATH", f"{stuck.parent}:/usr/bin:/bin")
    began = time.monotonic()
    with pytest.raises(OutOfTime):
        open_source(folder, deadline=Deadline(0.3))
    for ask in (
        lambda s: s.read_text("cd.yaml", "x"),
        lambda s: s.contains(s.commit),
        lambda s: s.export(tmp_path / "x"),
    ):
        with pytest.raises(OutOfTime):
            ask(replace(whole, deadline=Deadline(0.3)))
    assert time.monotonic() - began < 6
