"""Whose time it was, of what people wait for in the loop."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cdlib.redact import Redactor
from cdlib.report.events import Events
from cdlib.run import Run
from cdlib.units import timestamp
from lab.loop.places import CHECKOUT
from lab.loop.story import shares
from lab.loop.story.shares import BUILD, GIT, JENKINS, OURS, QUEUE, REVIEW, ROLLOUT

Event = dict[str, Any]
_runs = itertools.count()


def at(second: float) -> str:
    from datetime import UTC, datetime

    return timestamp(datetime.fromtimestamp(1000 + second, UTC))


def run(command: str, start: float, end: float, *stages: tuple[str, float, float], cpu: float = 0.5) -> list[Event]:
    """The events of a run; its start took 0.1 s before `start`."""
    head = {"run": f"r{next(_runs)}", "command": command}
    found: list[Event] = [{**head, "t": at(start), "event": "run_start", "cpu_s": 0.1}]
    for name, begun, ended in stages:
        found.append({**head, "t": at(begun), "event": "stage_start", "stage": name, "about": "x"})
        found.append({**head, "t": at(ended), "event": "stage_end", "stage": name, "about": "x"})
    return [*sorted(found, key=lambda e: e["t"]), {**head, "t": at(end), "event": "run_end", "cpu_s": cpu}]


def told(
    start: float, end: float, *runs: list[Event], builds: tuple[tuple[float, float], ...] = ()
) -> dict[str, float]:
    spans = [span for each in runs for span in shares.spans_of(each)]
    spans += [shares.build_span(1000 + begun, ended - begun) for begun, ended in builds]
    found = shares.shares(1000 + start, 1000 + end, spans)
    assert sum(found.seconds.values()) == pytest.approx(end - start)
    return {name: round(value, 3) for name, value in found.seconds.items() if value > 0.0005}


def test_what_nothing_accounts_for_is_zuul_s_and_gerrit_s() -> None:
    assert told(0, 10) == {REVIEW: 10.0}


def test_a_command_is_ours_save_where_it_waits() -> None:
    build = run("build-image", 2, 8, ("plan", 2.5, 3), ("build", 3, 7))
    assert told(0, 10, build) == {REVIEW: 3.9, OURS: 2.1, BUILD: 4.0}


def test_a_stage_that_nobody_knows_is_ours() -> None:
    assert told(0, 4, run("helm-deploy", 1, 3, ("thinking", 1, 3)))[OURS] == 2.1


def test_a_jenkins_build_takes_what_its_commands_leave() -> None:
    """jenkins-run waits for it; what passes until it notices the end is ours."""
    runner = run("jenkins-run", 1, 9, ("queue", 1.2, 2), ("push", 1.4, 1.7), ("build", 2, 8.5), ("artifacts", 8.5, 8.8))
    step = run("run-tests", 3, 7, ("test", 3.5, 7))
    found = told(0, 10, runner, step, builds=((2.0, 8.0),))
    assert found == {
        REVIEW: 1.9,  # until jenkins-run starts, and after it has ended
        OURS: pytest.approx(0.1 + 0.2 + 0.1 + 0.5 + 0.5 + 0.2),
        QUEUE: 0.5,
        GIT: 0.3,
        JENKINS: pytest.approx(0.9 + 1.0 + 0.3),
        BUILD: 3.5,
    }


def test_only_what_was_waited_for_counts() -> None:
    deploy = run("helm-deploy", 1, 9, ("rollout", 2, 8))
    assert told(3, 5, deploy) == {ROLLOUT: 2.0}
    assert shares.computed(deploy, 1000, 1002) == 0.5 and shares.computed(deploy, 1002, 1009) == 0.0


def test_a_run_that_was_killed_counts_as_far_as_it_came() -> None:
    *killed, _ = run("build-image", 1, 9, ("build", 2, 8))
    assert told(0, 10, killed[:2]) == {REVIEW: 8.9, OURS: pytest.approx(1.1)}


def test_what_commands_really_write_can_be_read(tmp_path: Path) -> None:
    for name in ("artifacts", "artifacts/comment"):
        events = Events("build-image", Redactor(), tmp_path / name / "events.jsonl")
        events.emit("run_start", cpu_s=0.05)
        with Run("build-image", None, events=events).stage("build", "test"):  # type: ignore[arg-type]
            pass
        events.emit("run_end", cpu_s=0.2)
        events.close()
    runs = shares.read_events(tmp_path)
    assert [len(each) for each in runs] == [4, 4] and json.dumps(runs)
    ((whole, stage), _) = [list(shares.spans_of(each)) for each in runs]
    assert (whole.share, stage.share) == (OURS, BUILD)
    assert whole.start < stage.start <= stage.end <= whole.end


def test_each_stage_that_waits_is_one_that_commands_have() -> None:
    """A stage that gets another name would count as ours."""
    text = "\n".join(file.read_text() for file in (CHECKOUT / "cdlib").rglob("*.py"))
    known = set(re.findall(r'\.stage\("([^"]+)"', text))
    assert {stage for _, stage in shares.WAITED_FOR} <= known
