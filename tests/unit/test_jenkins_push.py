"""Speculative commits pushed to where builds find them, and the old ones removed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import Unavailable, UsageProblem
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
