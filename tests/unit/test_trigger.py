"""Who asked, what for, and whether they may publish."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdlib.errors import Refused, UsageProblem
from cdlib.source import open_source
from cdlib.trigger import NONE, Trigger, read_trigger

ZUUL = {"ZUUL_UUID": "u1", "ZUUL_PIPELINE": "gate", "ZUUL_PROJECT": "hello", "ZUUL_CHANGE": "12", "ZUUL_PATCHSET": "3",
        "ZUUL_COMMIT": "c0ffee", "ZUUL_REF": "refs/zuul/master/Z1", "BUILD_URL": "http://ci/1"}  # fmt: skip
UPDATED = {"ZUUL_UUID": "u2", "ZUUL_PIPELINE": "postmerge", "ZUUL_PROJECT": "hello", "ZUUL_REF": "master", "ZUUL_REFNAME": "master",
           "ZUUL_OLDREV": "aaa", "ZUUL_NEWREV": "bbb", "ZUUL_COMMIT": "bbb", "ZUUL_URL": "git://z"}  # fmt: skip
MODERN: dict[str, Any] = {
    "build": "b1", "buildset": "s1", "pipeline": "check", "ref": "refs/changes/12/12/3", "change": 12, "patchset": "3", "branch": "master",
    "project": {"name": "team/hello", "canonical_name": "gerrit.example.org/team/hello"},
    "projects": {"gerrit.example.org/team/hello": {"commit": "c0ffee"}},
    "items": [{"change": 11, "patchset": "1", "branch": "master"}, {"change": 12, "patchset": "3", "branch": "master"}],
}  # fmt: skip


def test_zuul_before_jenkins_before_a_person() -> None:
    zuul = read_trigger({**ZUUL, "JENKINS_URL": "http://ci/", "USER": "me"})
    assert (zuul.source, zuul.pipeline, zuul.change, zuul.commit, zuul.build) == ("zuul", "gate", "12", "c0ffee", "u1")
    assert read_trigger({"ZUUL_PIPELINE": "post", "ZUUL_NEWREV": "abc"}).commit == "abc"
    jenkins = read_trigger({"JENKINS_URL": "http://ci/", "BUILD_TAG": "jenkins-x-1", "BUILD_USER_ID": "ana"})
    assert (jenkins.source, jenkins.build, jenkins.who) == ("jenkins", "jenkins-x-1", "ana")
    assert read_trigger({"SUDO_USER": "ana", "USER": "root"}) == Trigger("person", who="ana")
    assert read_trigger({}).who == "unknown"


def test_an_older_zuul() -> None:
    change = read_trigger({**ZUUL, "ZUUL_BRANCH": "master", "ZUUL_CHANGE_IDS": "10,1 12,3 11,2", "ZUUL_URL": "git://z"})
    assert (change.branch, change.changes, change.git_url) == ("master", ("10,1", "12,3", "11,2"), "git://z")
    assert read_trigger(ZUUL).changes == ("12,3",)
    updated = read_trigger(UPDATED)
    assert (updated.branch, updated.oldrev, updated.newrev, updated.commit, updated.changes) == (
        "master",
        "aaa",
        "bbb",
        "bbb",
        (),
    )
    assert read_trigger({**UPDATED, "ZUUL_OLDREV": NONE}).oldrev == ""
    assert (
        read_trigger({**UPDATED, "ZUUL_CHANGE": "", "ZUUL_PATCHSET": ""}) == updated
    )  # Jenkins gives all that is declared
    assert read_trigger({**UPDATED, "ZUUL_REFNAME": "refs/heads/master", "ZUUL_BRANCH": "master"}) == updated


def test_parameters_that_a_person_gave_to_a_jenkins_job() -> None:
    given = {
        "JENKINS_URL": "http://ci/",
        "BUILD_TAG": "jenkins-x-1",
        "ZUUL_PROJECT": "hello",
        "ZUUL_REF": "refs/heads/master",
    }
    found = read_trigger(given)
    assert (found.source, found.project, found.ref, found.pipeline) == ("jenkins", "hello", "refs/heads/master", "")


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump, lambda zuul: json.dumps({"zuul": zuul})])
def test_the_variable_of_a_modern_zuul(tmp_path: Path, write: Callable[[Any], str]) -> None:
    (tmp_path / "zuul.json").write_text(write(MODERN))
    found = read_trigger({"CD_ZUUL": str(tmp_path / "zuul.json"), "ZUUL_CHANGE": "12", "ZUUL_COMMIT": "c0ffee"})
    assert found == Trigger("zuul", "check", "team/hello", "12", "3", "c0ffee", "refs/changes/12/12/3", "b1", "", "zuul",
                            "master", buildset="s1", changes=("11,1", "12,3"))  # fmt: skip
    merged = {
        **MODERN,
        "ref": "refs/heads/master",
        "newrev": "bbb",
        "oldrev": "aaa",
        "commit_id": "bbb",
        "items": [],
        "projects": {},
    }
    del merged["change"], merged["patchset"]
    (tmp_path / "zuul.json").write_text(write(merged))
    found = read_trigger({"CD_ZUUL": str(tmp_path / "zuul.json")})
    assert (found.commit, found.newrev, found.oldrev, found.change, found.changes) == ("bbb", "bbb", "aaa", "", ())


def test_a_work_tree(tmp_path: Path, git: Callable[..., str]) -> None:
    commit = git(tmp_path)
    source = open_source(tmp_path)
    assert read_trigger({"USER": "ana"}, source) == Trigger("person", who="ana", commit=commit)
    assert read_trigger({**UPDATED, "ZUUL_COMMIT": commit, "ZUUL_NEWREV": commit}, source).commit == commit
    with pytest.raises(UsageProblem, match="ZUUL_COMMIT contradicts the work tree"):
        read_trigger(ZUUL, source)


@pytest.mark.parametrize(("env", "name"), [
    ({"ZUUL_UUID": "u", "ZUUL_PROJECT": "p"}, "ZUUL_PIPELINE is missing"),
    ({"ZUUL_UUID": "u", "ZUUL_PIPELINE": "p"}, "ZUUL_PROJECT is missing"),
    ({**ZUUL, "ZUUL_PATCHSET": ""}, "ZUUL_PATCHSET is missing"),
    ({**ZUUL, "ZUUL_CHANGE": ""}, "ZUUL_CHANGE is missing"),
    ({**ZUUL, "ZUUL_CHANGE": "12\nx"}, "ZUUL_CHANGE is no number"),
    ({**ZUUL, "ZUUL_CHANGE": "١٢"}, "ZUUL_CHANGE is no number"),
    ({**ZUUL, "ZUUL_PATCHSET": "3,4"}, "ZUUL_PATCHSET is no number"),
    ({**ZUUL, "ZUUL_NEWREV": "abc"}, "ZUUL_CHANGE contradicts ZUUL_NEWREV"),
    ({**ZUUL, "ZUUL_CHANGE_IDS": "11,1 13,1"}, "ZUUL_CHANGE_IDS contradicts"),
    ({**ZUUL, "ZUUL_REF": "refs/changes/12/12/4"}, "ZUUL_REF contradicts"),
    ({**UPDATED, "ZUUL_COMMIT": "ccc"}, "ZUUL_COMMIT contradicts ZUUL_NEWREV"),
    ({**UPDATED, "ZUUL_BRANCH": "other"}, "ZUUL_BRANCH contradicts ZUUL_REFNAME"),
])  # fmt: skip
def test_what_is_missing_or_contradictory_is_named(env: dict[str, str], name: str) -> None:
    with pytest.raises(UsageProblem, match=name) as caught:
        read_trigger(env)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("text", "words"), [
    (None, "CD_ZUUL .*No such file"), ("{", "cannot be read"), ("[]", "holds no `zuul` variable"), ("zuul: 1", "holds no `zuul`"),
    (json.dumps({**MODERN, "build": ""}), "zuul.build is missing"), (json.dumps({**MODERN, "pipeline": None}), "zuul.pipeline is missing"),
    (json.dumps({**MODERN, "project": "x"}), "zuul.project.name is missing"),
    (json.dumps({**MODERN, "change": "12{{ .Values }}"}), "zuul.change is no number"),
    (json.dumps({**MODERN, "patchset": [3]}), "zuul.patchset is no number"),
    (json.dumps({**MODERN, "change": 13}), "ZUUL_CHANGE contradicts CD_ZUUL"),
])  # fmt: skip
def test_a_variable_that_cannot_be_used(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "zuul").write_text(text)
    with pytest.raises(UsageProblem, match=words):
        read_trigger({"CD_ZUUL": str(tmp_path / "zuul"), "ZUUL_CHANGE": "12"})


@pytest.mark.parametrize(("pipeline", "may"), [("gate", True), ("post", True), ("postmerge", True), ("check", False),
                                               ("", False), ("my-gate", False)])  # fmt: skip
def test_only_some_pipelines_publish(pipeline: str, may: bool) -> None:
    trigger = Trigger("zuul", pipeline=pipeline)
    trigger.require_publishing("none", "publishing")
    if may:
        trigger.require_publishing("signed", "publishing")
        return
    with pytest.raises(Refused, match="publishing is refused") as caught:
        trigger.require_publishing("reviewed", "publishing")
    assert caught.value.exit_code == 6
