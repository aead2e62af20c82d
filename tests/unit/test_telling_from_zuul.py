"""Which deploys Zuul's job tells of, and by which result: the names of playbooks/cd-jenkins, as Ansible fills them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

from cdlib.gerrit.report import read_report

NAMES = Path(__file__).parents[2] / "playbooks" / "cd-jenkins" / "names.yaml"


def names(log_root: Path, rc: int, stage: str = "deploy") -> dict[str, Any]:
    """Each name with its value, where jenkins-run ended with `rc`."""
    environment = NativeEnvironment()
    environment.filters["from_json"] = json.loads
    environment.tests["file"] = lambda path: Path(path).is_file()
    environment.globals["lookup"] = lambda kind, path: Path(path).read_text()
    known: dict[str, Any] = {
        "zuul": {"executor": {"log_root": str(log_root), "work_root": "/w"}, "project": {"name": "p", "short_name": "p"},
                 "buildset": "b", "job": "j"},
        "cd_jenkins": {"url": "u", "user": "u", "token": "t", "gerrit_url": "http://gerrit"},
        "cd_stage": stage, "cd_run": {"rc": rc},
    }  # fmt: skip
    for name, template in yaml.safe_load(NAMES.read_text()).items():
        if isinstance(template, str) and (name != "cd_left" or Path(known["cd_result_file"]).is_file()):
            known[name] = environment.from_string(template).render(known, vars=known)
    return known


def result(command: str, exit_code: int, **members: Any) -> dict[str, Any]:
    return {"schema": "cd-result/1", "command": command, "outcome": "x", "exit_code": exit_code, "duration_s": 1.0,
            **members}  # fmt: skip


def leave(
    tmp_path: Path, rc: int, work: dict[str, Any] | None, comment: dict[str, Any] | None, stage: str = "deploy"
) -> dict[str, Any]:
    """What jenkins-run leaves of a build that had left `work` and `comment`."""
    artifacts = tmp_path / f"cd-{stage}" / "artifacts"
    (artifacts / "comment").mkdir(parents=True)
    told = {k: v for k, v in (work or {}).items() if k not in ("schema", "duration_s")}
    ours = result("jenkins-run", rc, **({"job_result": told} if work else {}))
    (artifacts.parent / "cd-result.json").write_text(json.dumps(ours))
    for file, document in ((artifacts / "cd-result.json", work), (artifacts / "comment" / "cd-result.json", comment)):
        if document is not None:
            file.write_text(json.dumps(document))
    return names(tmp_path, rc, stage)


SILENT, SAID = result("gerrit-comment", 0, comments=[]), result("gerrit-comment", 0, comments=[{"change": 1}])
DEPLOYED, TAGGED, BACK = result("helm-deploy", 0), result("publish-tag", 0), result("helm-deploy", 7)


@pytest.mark.parametrize(("rc", "work", "comment", "told"), [
    (0, DEPLOYED, SAID, ""), (7, BACK, SAID, ""), (0, DEPLOYED, SILENT, ""), (11, DEPLOYED, SAID, ""),
    (7, BACK, None, "helm-deploy"), (7, BACK, result("gerrit-comment", 69), "helm-deploy"), (7, BACK, SILENT, "helm-deploy"),
    (11, DEPLOYED, None, "helm-deploy"), (0, DEPLOYED, None, "helm-deploy"),
    # A step before the deploy went well, and the build ended after it: by its time limit, or out of memory.
    (3, TAGGED, SILENT, "jenkins-run"), (11, TAGGED, None, "jenkins-run"), (3, result("cd-checkout", 0), SILENT, "jenkins-run"),
    (5, result("publish-tag", 5), None, "publish-tag"), (3, result("helm-deploy", 137), SAID, ""),
    (11, None, None, "jenkins-run"), (3, None, SILENT, "jenkins-run"), (11, None, result("gerrit-comment", 2), "jenkins-run"),
])  # fmt: skip
def test_what_is_told(
    tmp_path: Path, rc: int, work: dict[str, Any] | None, comment: dict[str, Any] | None, told: str
) -> None:
    found = leave(tmp_path, rc, work, comment)
    assert found["cd_untold"] is bool(told)
    if told:
        report = read_report(Path(found["cd_left"]))
        assert report.command == told
        assert report.worth_telling or (rc == 0 and report.good)


def test_a_permit_that_was_never_made_is_told(tmp_path: Path) -> None:
    """authorize-deploy was killed after the checkout: nothing would be deployed, and nobody would know why."""
    found = leave(tmp_path, 3, result("cd-checkout", 0), None, "authorize")
    assert found["cd_untold"] is True and read_report(Path(found["cd_left"])).worth_telling
    assert leave(tmp_path / "good", 0, result("authorize-deploy", 0), None, "authorize")["cd_untold"] is False


def test_nobody_is_told_without_a_gerrit_or_a_result(tmp_path: Path) -> None:
    assert not names(tmp_path, 1)["cd_untold"]
