"""The JUnit file of a rollout: one case a check, and the right one is bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from cdlib.image.junit import read_tests
from cdlib.report.checks import cases, junit
from cdlib.report.timeline import CommandRun, command_run, read_events

RUNS = Path(__file__).parent / "recorded" / "runs"


def recorded(name: str) -> tuple[CommandRun, dict[str, Any]]:
    """The deploy of a run that really was."""
    folder = RUNS / name
    runs = [command_run(events) for events in read_events(folder / "events.jsonl")]
    return next(r for r in runs if r.command == "helm-deploy"), json.loads((folder / "cd-result.json").read_text())


class Story:
    """Events of a run, made up; each stage takes a second."""

    def __init__(self, command: str = "helm-deploy") -> None:
        self.command, self.clock, self.events = command, 0, list[dict[str, Any]]()
        self.add("run_start")

    def add(self, event: str, **more: Any) -> Story:
        t = f"2026-01-01T00:00:{self.clock:02}.000Z"
        self.events.append({"t": t, "run": "r", "command": self.command, "event": event, **more})
        return self

    def stages(self, *names: str, outcome: str = "ok") -> Story:
        for name in names:
            stage, _, about = name.partition("|")
            self.add("stage_start", stage=stage, about=about)
            self.clock += 1
            self.add("stage_end", stage=stage, about=about, outcome=outcome, seconds=1.0)
        return self

    def end(self, code: int, outcome: str = "done") -> CommandRun:
        return command_run(self.add("run_end", outcome=outcome, exit_code=code).events)


def bad(run: CommandRun, result: dict[str, Any]) -> dict[str, str]:
    return {case.name: case.problem for case in cases(run, result) if case.problem}


ERROR = {"message": "it went wrong", "hint": "mend it", "details": ["line 1", "line 2"]}
GOING = ("render", "helm upgrade", "rollout", "http|/healthz", "http|/ready", "helm test", "soak|10 s")


def test_a_deploy_that_serves_has_a_case_for_each_check() -> None:
    found = cases(Story().stages(*GOING).end(0), {})
    names = ["plan", "apply", "rollout", "http /healthz", "http /ready", "helm test", "soak"]
    assert [(case.name, case.seconds, case.problem) for case in found] == [(name, 1.0, "") for name in names]


def test_a_recorded_rollback_blames_the_rollout_and_not_the_way_back(tmp_path: Path) -> None:
    run, result = recorded("rolled-back/artifacts")
    found = {case.name: case for case in cases(run, result)}
    assert list(found) == [
        "plan",
        "apply",
        "rollout",
        "rollback: apply",
        "rollback: rollout",
        "rollback: http /healthz",
    ]
    assert bad(run, result) == {"rollout": result["cause"]}
    assert found["rollout"].seconds == 22.494
    file = tmp_path / "rollout.xml"
    file.write_bytes(junit(run, result))
    tests = read_tests([file])  # as any reader of JUnit sees it
    assert (tests.passed, tests.failed) == (5, 1) and tests.failures == [f"lab.hello::rollout: {result['cause']}"]
    text = suite(junit(run, result)).findtext("testcase/failure") or ""
    assert "KeyError: 'HELLO_GREETING'" in text and text.splitlines()[-1].startswith("next: mend the commit")


@pytest.mark.parametrize(
    ("story", "code", "wrong"),
    [
        (Story(), 6, {"plan": "it went wrong"}),
        (Story().stages("render", outcome="usage"), 2, {"plan": "it went wrong"}),
        (Story().stages("render").stages("helm upgrade", outcome="usage"), 2, {"apply": "it went wrong"}),
        (Story().stages(*GOING[:4]).add("verdict", outcome="failed", reason="why").stages("evidence"), 10,
         {"http /healthz": "why"}),
        (Story().stages(*GOING[:3]).add("verdict", outcome="failed", reason="why").stages("evidence"), 8,
         {"rollout": "why", "rollback": "it went wrong"}),
        (Story().stages(*GOING[:3]).add("verdict", outcome="failed", reason="why")
         .stages("evidence", "helm rollback", "rollout", "http|/healthz"), 8,
         {"rollout": "why", "rollback: http /healthz": "it went wrong"}),
        (Story("helm-rollback").stages("helm rollback", "rollout"), 8, {"rollback: rollout": "it went wrong"}),
        (Story("helm-rollback").stages("helm rollback", "rollout"), 0, {}),
        (Story().stages(*GOING[:2]).stages("rollout", outcome="interrupted"), 143, {"rollout": "it went wrong"}),
    ],
)  # fmt: skip
def test_the_check_that_failed_is_the_bad_one(story: Story, code: int, wrong: dict[str, str]) -> None:
    run = story.end(code, "ended")
    assert bad(run, {"error": ERROR}) == wrong
    kinds = {child.tag for case in suite(junit(run, {"error": ERROR})) for child in case}
    assert kinds == ({"failure" if code in (7, 8, 10) else "error"} if wrong else set())


def test_an_end_without_an_error_still_says_something() -> None:
    assert bad(Story().end(143, "interrupted"), {}) == {"plan": "helm-deploy ended as interrupted (exit 143)"}


def test_names_are_told_apart() -> None:
    found = cases(Story().stages("helm upgrade", "http|/", "http|/").end(0), {})
    assert [case.name for case in found][2:] == ["http /", "http / (2)"]


def test_what_a_change_says_is_text_and_bounded() -> None:
    hostile = "</failure><script>\x1b[2J\x00\ud800\ufffe\u202e]]>&"
    error = {"message": hostile, "hint": hostile, "details": [hostile, *["x" * 10_000] * 1000]}
    run = Story().stages("helm upgrade", f"http|/{hostile}").end(7, hostile)
    raw = junit(run, {"error": error, "environment": hostile, "release": hostile})
    assert len(raw) < 20_000
    said = suite(raw)
    assert {element.tag for element in said.iter()} == {"testsuite", "testcase", "failure"}
    assert not any(c in raw.decode() for c in "\x1b\x00\ufffe\u202e")
    assert "</failure><script>" in (said.findtext("testcase/failure") or "")


def suite(raw: bytes) -> Element:
    found = fromstring(raw).find("testsuite")
    assert found is not None
    bads = {kind: len(found.findall(f"testcase/{kind}")) for kind in ("failure", "error")}
    assert (int(found.attrib["failures"]), int(found.attrib["errors"])) == (bads["failure"], bads["error"])
    assert int(found.attrib["tests"]) == len(found.findall("testcase"))
    return found
