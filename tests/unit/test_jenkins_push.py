"""Speculative commits pushed to where builds find them, and the old ones removed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable, UsageProblem
from cdlib.jenkins import push as pushing
from cdlib.jenkins.push import push
from cdlib.run import Run

Commit = Callable[..., str]


def refs(bare: Path) -> dict[str, str]:
    done = subprocess.run(
        ["git", "-C", str(bare), "for-each-ref", "--format=%(refname) %(objectname)"],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture
def source(tmp_path: Path, git: Commit) -> Path:
    (tmp_path / "src").mkdir()
    git(tmp_path / "src", "one")
    git(tmp_path / "src", "two")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "git/team/hello")], check=True)
    return tmp_path / "src"


def test_a_commit_is_pushed_with_its_history(source: Path, tmp_path: Path) -> None:
    run = Run("x", Deadline(30))
    url = f"file://{tmp_path}/git/"
    first, second = (push(run, source, url, "team/hello", "stable/1.0") for _ in range(2))
    there = refs(tmp_path / "git/team/hello")
    assert there == {first.ref: first.commit, second.ref: second.commit} and first.ref != second.ref
    assert first.ref.startswith("refs/zuul/stable/1.0/Z") and len(first.ref.rpartition("Z")[2]) == 32
    assert first.parameters() == {"ZUUL_URL": url.rstrip("/"), "ZUUL_REF": first.ref, "ZUUL_COMMIT": first.commit}


def test_refs_of_ours_older_than_a_week_are_removed(source: Path, tmp_path: Path) -> None:
    run, bare = Run("x", Deadline(30)), tmp_path / "git/team/hello"
    now = time.time()
    young = push(run, source, f"file://{tmp_path}/git", "team/hello", "master")
    others = [f"refs/zuul/master/Z{pushing._uuid7(now - days * 86400).hex}" for days in (6.9, 7.1, 400)]
    foreign = ["refs/zuul/master/Z" + "4" * 32, "refs/heads/master", "refs/zuul/master/plain"]
    for ref in (*others, *foreign):
        subprocess.run(["git", "-C", str(bare), "update-ref", ref, young.commit], check=True)
    again = push(run, source, f"file://{tmp_path}/git", "team/hello", "master")
    assert set(refs(bare)) == {young.ref, again.ref, others[0], *foreign}


def test_cleaning_that_fails_is_told_and_no_more(source: Path, tmp_path: Path) -> None:
    run, told = Run("x", Deadline(30)), list[dict[str, object]]()
    run.events.listen(told.append)
    bare = tmp_path / "git/team/hello"
    push(run, source, f"file://{tmp_path}/git", "team/hello", "master")
    old = f"refs/zuul/master/Z{pushing._uuid7(0).hex}"
    head = next(iter(refs(bare).values()))
    subprocess.run(["git", "-C", str(bare), "update-ref", old, head], check=True)
    (bare / "hooks" / "update").write_text('#!/bin/sh\ncase "$3" in 000*) exit 1;; esac\n')
    (bare / "hooks" / "update").chmod(0o755)
    push(run, source, f"file://{tmp_path}/git", "team/hello", "master")
    assert any("could not be cleaned up" in str(event.get("text")) for event in told)


def test_cleaning_that_takes_too_long_is_told_and_no_more(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = Run("x", Deadline(30)), list[dict[str, object]]()
    run.events.listen(told.append)
    bare = tmp_path / "git/team/hello"
    pushed = push(run, source, f"file://{tmp_path}/git", "team/hello", "master")
    subprocess.run(["git", "-C", str(bare), "update-ref", f"refs/zuul/master/Z{pushing._uuid7(0).hex}", pushed.commit],
                   check=True)  # fmt: skip
    (bare / "hooks" / "update").write_text('#!/bin/sh\ncase "$3" in 000*) sleep 20;; esac\n')
    (bare / "hooks" / "update").chmod(0o755)
    monkeypatch.setattr(pushing, "_CLEANING", 0.5)
    assert push(run, source, f"file://{tmp_path}/git", "team/hello", "master").commit == pushed.commit
    assert any("could not be cleaned up: " in str(event.get("text")) for event in told)


@pytest.mark.parametrize("url", ["https://zuul:s3cr3t@git.test", "https://s3cr3t@git.test", "http://:s3cr3t@git.test/x",
                                 "ssh://zuul:s3cr3t@git.test:29418", "https://[s3cr3t"])  # fmt: skip
def test_an_address_with_a_secret_is_refused_and_not_repeated(source: Path, url: str) -> None:
    with pytest.raises(UsageProblem, match="CD_SOURCE_URL") as caught:
        push(Run("x", Deadline(5)), source, url, "team/hello", "master")
    assert "s3cr3t" not in caught.value.message + caught.value.hint + "".join(caught.value.details)


@pytest.mark.parametrize("url", ["ssh://zuul@127.0.0.1:1", "zuul@127.0.0.1:git", "http://127.0.0.1:1"])
def test_a_user_is_no_secret_for_ssh(source: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pushing._ENV, "GIT_SSH_COMMAND", "false")
    with pytest.raises(CdError, match="git push|by git push"):
        push(Run("x", Deadline(5)), source, url, "team/hello", "master")


def test_what_is_wrong_is_told(source: Path, tmp_path: Path) -> None:
    run = Run("x", Deadline(30))
    for project, branch, words in (("", "master", "ZUUL_PROJECT is missing"), ("hello", "", "ZUUL_BRANCH is missing"),
                                   ("none", "master", "git push failed"), ("team/hello", "a b", "git push failed")):  # fmt: skip
        with pytest.raises(UsageProblem, match=words):
            push(run, source, f"file://{tmp_path}/git", project, branch)
    with pytest.raises(UsageProblem, match="CD_SOURCE_URL is missing"):
        push(run, source, "", "team/hello", "master")
    with pytest.raises(Unavailable, match="cannot be reached"):
        push(run, source, "git://127.0.0.1:1", "hello", "master")
    with pytest.raises(UsageProblem):
        push(run, source, "ext::sh -c touch% evil", "hello", "master")
    assert not Path("evil").exists()


def plant(clone: Path, program: Path) -> None:
    """All that a repository's own files may have git start, where we push and where we read."""
    for key, value in {
        "core.gitProxy": program, "core.sshCommand": program, "core.fsmonitor": program, "core.askPass": program,
        "core.alternateRefsCommand": program, "core.pager": program, "core.hooksPath": program.parent,
        "credential.helper": f"!{program}", "filter.x.clean": program, "filter.x.smudge": program,
        "protocol.ext.allow": "always", "remote.origin.url": f"ext::{program}", "remote.origin.promisor": "true",
        "extensions.partialClone": "origin", "core.repositoryFormatVersion": "1", "http.proxy": "http://127.0.0.1:1",
        f"url.ext::{program} .insteadOf": "file://", "gpg.program": program, "log.showSignature": "true",
        "include.path": program.with_name("more"),
    }.items():  # fmt: skip
        subprocess.run(["git", "-C", str(clone), "config", key, str(value)], check=True)
    program.with_name("more").write_text(f'[url "ext::{program} ."]\n\tpushInsteadOf = git://\n')
    (clone / ".git" / "info").mkdir(exist_ok=True)
    (clone / ".git" / "info" / "attributes").write_text("* filter=x\n")
    for name in ("reference-transaction", "pre-push", "post-index-change"):
        (program.parent / name).symlink_to(program)


def test_nothing_in_the_clone_runs_beside_the_token(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ran before in a job's sandbox may have written the clone and the job's home."""
    program, pwned, home = tmp_path / "evil" / "program", tmp_path / "pwned", tmp_path / "home"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {pwned}\nexit 1\n')
    program.chmod(0o755)
    home.mkdir()
    (home / ".gitconfig").write_text(f"[credential]\n\thelper = !{program}\n[core]\n\tgitProxy = {program}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    (source / "file").write_text("x")
    plant(source, program)
    pushed = push(Run("x", Deadline(30)), source, f"file://{tmp_path}/git", "team/hello", "master")
    assert refs(tmp_path / "git/team/hello") == {pushed.ref: pushed.commit}
    for url in ("git://127.0.0.1:1", "ssh://127.0.0.1:1", "http://127.0.0.1:1"):
        with pytest.raises(CdError, match="git push|by git push"):
            push(Run("x", Deadline(5)), source, url, "team/hello", "master")
    # A commit that is missing is asked of nobody.
    (source / ".git" / "HEAD").write_text("1" * 40 + "\n")
    with pytest.raises(UsageProblem, match="has no commit"):
        push(Run("x", Deadline(30)), source, f"file://{tmp_path}/git", "team/hello", "master")
    assert not pwned.exists(), pwned.read_text()


def test_a_planted_clone_would_run_something(source: Path, tmp_path: Path) -> None:
    """So that the test above would see it."""
    program, pwned = tmp_path / "evil" / "program", tmp_path / "pwned"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {pwned}\nexit 1\n')
    program.chmod(0o755)
    plant(source, program)
    for args in (("push", "git://127.0.0.1:1/x", "HEAD:x"), ("cat-file", "-e", "1" * 40)):
        pwned.unlink(missing_ok=True)
        subprocess.run(["git", "-C", str(source), *args], check=False, capture_output=True)
        assert pwned.exists(), args


def test_worktrees_packed_refs_and_folders_below_are_pushed(source: Path, tmp_path: Path) -> None:
    url, tree = f"file://{tmp_path}/git", tmp_path / "tree"
    subprocess.run(["git", "-C", str(source), "pack-refs", "--all"], check=True)
    subprocess.run(["git", "-C", str(source), "worktree", "add", "-q", "-b", "other", str(tree), "HEAD^"], check=True)
    (source / "below").mkdir()
    run = Run("x", Deadline(30))
    first, second = (push(run, folder, url, "team/hello", "master").commit for folder in (source / "below", tree))
    asked = subprocess.run(["git", "-C", str(source), "rev-parse", "master", "other"], check=True, capture_output=True)
    assert [first, second] == asked.stdout.decode().split() and first != second
    with pytest.raises(UsageProblem, match="in no git repository"):
        push(run, tmp_path / "git", url, "team/hello", "master")
