"""helm-rollback and cd-hold against a real cluster."""

from __future__ import annotations

import pytest
from deployments import CRASH, Deployment


@pytest.fixture
def history(web: Deployment) -> tuple[Deployment, list[str]]:
    """A release with three good revisions."""
    commits = [web.git("rev-parse", "HEAD"), web.commit(text="two"), web.commit(text="three")]
    for commit in commits:
        web.git("checkout", "-q", commit)
        done = web.deploy()
        assert done.code == 0, done.err
    return web, commits


def test_back_to_a_chosen_revision_and_held_there(history: tuple[Deployment, list[str]]) -> None:
    web, commits = history
    listed = web.run("helm-rollback", "--list")
    assert [(r["revision"], r["commit"], r["live"]) for r in listed.result["revisions"]] == [
        (3, commits[2], True),
        (2, commits[1], False),
        (1, commits[0], False),
    ]
    back = web.run("helm-rollback", "--to", "1", "--reason", "three is slow")
    assert back.code == 0, back.err
    assert (back.result["revision"], back.result["rolled_back_to"], back.result["commit"]) == (4, 1, commits[0])
    assert "cd-hold --lift" in back.err
    assert "What hooks did, CRDs, migrations and data are not undone by a rollback" in back.err
    assert web.serving() == {"revision": commits[0], "text": ""}
    assert web.record()["hold"]["reason"] == "three is slow"
    assert back.result["hold"]["to"] == "1"
    again = web.run("helm-rollback", "--to", "4").result
    assert (again["outcome"], again["rolled_back_to"]) == ("unchanged", 1) and again["hold"] == back.result["hold"]
    web.commit(text="four")
    held = web.deploy()
    assert held.code == 6
    assert "three is slow" in held.err
    assert web.run("cd-hold").result["hold"]["reason"] == "three is slow"
    assert web.run("cd-hold", "--action", "set").code == 2
    assert web.run("cd-hold", "--action", "lift", "--reason", "of no meaning here").result["hold"] is None
    assert web.deploy().code == 0
    assert web.serving()["text"] == "four"


def test_without_a_number_it_goes_to_the_last_that_worked(history: tuple[Deployment, list[str]]) -> None:
    web, commits = history
    back = web.run("helm-rollback")
    assert back.code == 0, back.err
    assert back.result["commit"] == commits[1]
    assert web.serving()["revision"] == commits[1]


def test_a_rerun_stays_where_the_first_run_went(history: tuple[Deployment, list[str]]) -> None:
    web, commits = history
    assert web.run("helm-rollback").result["commit"] == commits[1]
    again = web.run("helm-rollback")
    assert (again.code, again.result["outcome"]) == (0, "unchanged"), again.err
    assert web.run("helm-rollback", "--to", "2").result["outcome"] == "unchanged"
    assert web.serving()["revision"] == commits[1]


def test_revisions_that_never_worked_are_not_gone_back_to(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    assert web.deploy().code == 7
    newest = web.commit(text="newest")
    assert web.deploy().code == 0
    assert [(e["revision"], e["status"]) for e in web.record()["revisions"]] == [
        (1, "verified"),
        (2, "failed"),
        (3, "verified"),
        (4, "verified"),
    ]
    refused = web.run("helm-rollback", "--to", "2")
    assert refused.code == 6
    assert "never verified healthy" in refused.err
    assert web.serving()["revision"] == newest
    assert web.record()["hold"] is None
    back = web.run("helm-rollback")
    assert back.code == 0, back.err
    assert web.serving()["revision"] == good


def test_insisting_on_one_that_crashes_says_that_a_person_is_needed(web: Deployment) -> None:
    web.commit(program=CRASH)
    assert web.deploy().code == 8
    web.run("cd-hold", "--release", web.digest)
    web.commit(text="good")
    assert web.deploy().code == 0
    failed = web.run("helm-rollback", "--to", "1", "--unverified")
    assert failed.code == 8, failed.err
    assert "no database" in failed.err
    assert web.record()["revisions"][-1]["status"] == "failed"
    back = web.run("helm-rollback", "--to", "2")
    assert back.code == 0, back.err
    assert web.serving()["text"] == "good"


@pytest.mark.parametrize("argv", [["--to", "99"], ["--to", "0"], ["--to", "one"], ["--service", "ghost"]])
def test_what_is_not_there_is_told(web: Deployment, argv: list[str]) -> None:
    assert web.deploy().code == 0
    refused = web.run("helm-rollback", *argv)
    assert refused.code == 2, refused.err
    assert "Traceback" not in refused.err


def test_nothing_to_go_back_to_is_told(web: Deployment) -> None:
    assert web.deploy().code == 0
    refused = web.run("helm-rollback")
    assert refused.code == 2
    assert "no other revision that was verified" in refused.err


def test_a_dry_run_changes_nothing(history: tuple[Deployment, list[str]]) -> None:
    web, commits = history
    planned = web.run("helm-rollback", "--to", "1", "--dry-run")
    assert (planned.code, planned.result["outcome"]) == (0, "planned")
    assert "rollback web 1" in planned.err
    assert web.serving()["revision"] == commits[2]
    assert web.record()["hold"] is None


def test_operators_need_no_work_tree(
    history: tuple[Deployment, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    web, commits = history
    web.folder, targets = tmp_path_factory.mktemp("empty"), web.targets_file
    argv = ["--service", "web", "--targets", str(targets)]
    assert web.run("helm-rollback", *argv, "--to", "2").code == 0
    assert web.serving()["revision"] == commits[1]
