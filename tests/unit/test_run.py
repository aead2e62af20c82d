"""Stages, notes and events of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cdlib.console import Console, printable
from cdlib.deadline import Deadline
from cdlib.errors import BuildFailed, Interrupted
from cdlib.redact import Redactor
from cdlib.report.events import Events
from cdlib.run import Run


@pytest.fixture
def seen() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def run(seen: list[dict[str, Any]]) -> Run:
    made = Run("test", Deadline(9))
    made.events.listen(seen.append)
    return made


def test_a_stage_tells_its_start_its_end_and_what_was_found(run: Run, seen: list[dict[str, Any]]) -> None:
    with run.stage("build", "hello") as found:
        found["key"] = "k"
    start, end = seen
    assert (start["event"], start["stage"], end["event"]) == ("stage_start", "build", "stage_end")
    assert end["outcome"] == "ok" and end["key"] == "k" and end["seconds"] >= 0 and end["run"] == start["run"]


@pytest.mark.parametrize(
    ("problem", "outcome"),
    [(BuildFailed("x"), "build-failed"), (Interrupted(2), "interrupted"), (ValueError(), "defect")],
)
def test_a_stage_that_ends_badly(run: Run, seen: list[dict[str, Any]], problem: BaseException, outcome: str) -> None:
    with pytest.raises(type(problem)), run.stage("build"):
        raise problem
    assert seen[-1]["outcome"] == outcome


def test_a_dry_run_says_and_does_not(run: Run, seen: list[dict[str, Any]]) -> None:
    assert not run.would("push") and seen == []
    run.dry_run = True
    assert run.would("push") and seen[0]["action"] == "push"


def test_events_reach_the_file_without_secrets_and_without_output(tmp_path: Path) -> None:
    redactor = Redactor({"MY_TOKEN": "abcdefgh"})
    path = tmp_path / "deep" / "events.jsonl"
    events = Events("test", redactor, path)
    run = Run("test", Deadline(9), redactor, events)
    run.note("with abcdefgh\nand ü")
    run.output("line abcdefgh")
    run.warn("careful")
    events.close()
    run.note("after")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["note", "warning"]
    assert lines[0]["text"] == "with [hidden]\nand ü" and lines[0]["t"].endswith("Z")


def test_what_people_see() -> None:
    stream = io.StringIO()
    run = Run("test", Deadline(9), dry_run=True)
    run.events.listen(Console(stream, color=False).on_event)
    with run.stage("build", "hello"):
        run.output("\x1b[31mred\x1b[0m\rover\x07write")
        run.note("a note")
    run.warn("careful")
    run.would("push it")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "  │ redoverwrite" and lines[1] == "  a note" and lines[2].startswith("✓ build  hello  0.0 s")
    assert lines[3:] == ["warning: careful", "would push it"]


def test_quiet_leaves_out_what_went_well() -> None:
    stream = io.StringIO()
    run = Run("test", Deadline(9))
    run.events.listen(Console(stream, color=False, quiet=True).on_event)
    with run.stage("good"):
        run.output("line")
        run.note("note")
    with pytest.raises(ValueError), run.stage("bad"):
        raise ValueError
    run.warn("careful")
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == ["✗ bad", "warning: careful"]


def test_colors_and_streams_that_know_no_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    Console(stream, color=True).problem("wrong", "mend it", ("line",))
    assert "\x1b[31;1merror: \x1b[0mwrong\n  line\n" in stream.getvalue()
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Console(ascii_only, color=False).line("ok", "✓ ", "größer")
    assert raw.getvalue() == b"? gr??er\n"
    for name, value, wanted in (("NO_COLOR", "1", False), ("FORCE_COLOR", "1", True), ("TERM", "xterm", False)):
        with monkeypatch.context() as scope:
            for other in ("NO_COLOR", "FORCE_COLOR"):
                scope.delenv(other, raising=False)
            scope.setenv(name, value)
            stream = io.StringIO()
            Console(stream).line("ok", "x", "y")
            assert ("\x1b" in stream.getvalue()) is wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü", "plain ü"), ("\x1b]0;title\x07x", "x"), ("\x1b[2J\x1b[1;1Hx", "x"), ("a\tb", "a   b"), ("a\u202eb", "ab"),
        ("a\nb", "a\nb"), ("\x00\x08x", "x"), ("\x1b]8;;http://evil\x1b\\link", "link"), ("\x9b31mx", "31mx"),
    ],
)  # fmt: skip
def test_a_log_cannot_rewrite_the_screen(text: str, shown: str) -> None:
    assert printable(text) == shown
