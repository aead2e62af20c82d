"""What the page of a run shows: every figure is the events' own, and the cause comes first."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pages import Page

from cdlib.report import story
from cdlib.report.sources import gather_story
from cdlib.report.story import Story
from cdlib.report.timeline import LARGEST, MOST_EVENTS, Span, sweep
from jobs.cd_report import main
from lab.loop.places import CHECKOUT

RUNS = Path(__file__).parent / "recorded" / "runs"
Recorded = Callable[[str], Path]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """`recorded(name)` is a copy of what a real run has left, with nothing of this machine's CI in the environment."""
    for name in ("CD_ZUUL", "ZUUL_UUID", "ZUUL_PIPELINE", "BUILD_TAG", "CD_GERRIT_URL", "CD_OUT"):
        monkeypatch.delenv(name, raising=False)
    return lambda name: Path(shutil.copytree(RUNS / name, tmp_path / ".cd"))


def report(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["-C", str(folder.parent), *args])


def shown(folder: Path, *args: str) -> Page:
    done = report(folder, *args)
    assert done.exit_code == 0, done.output
    return Page((folder / "report.html").read_bytes())


def events(folder: Path) -> list[dict[str, Any]]:
    files = (file for file in folder.rglob("events.jsonl") if file.parent.name != "report")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("name", ["serving", "rolled-back", "crashed", "tests-failed"])
def test_each_figure_is_the_events_own(recorded: Recorded, name: str) -> None:
    folder = recorded(name)
    page, every = shown(folder), events(folder)
    _, *steps = page.rows["the-way-step-by-step"]
    commands = {e["command"] for e in every}
    ended = [e for e in every if e["event"] == "stage_end"]
    stages = [step for step in steps if step[0] not in commands]
    assert len(steps) == len(commands) + len(ended) and len(ended) > 2
    for event in ended:
        name = f"{event['stage']} {event['about']}".strip()[:120]
        seconds, outcome = next((float(step[2]), step[3]) for step in stages if step[0] == name)
        if len([e for e in ended if (e["stage"], e["about"]) == (event["stage"], event["about"])]) == 1:
            assert seconds == pytest.approx(event["seconds"], abs=0.016)
        assert outcome in (event["outcome"], "judged a failure")
    _, *shares = page.rows["where-the-time-went"]
    whole = max(float(step[1]) + float(step[2]) for step in steps)
    assert sum(float(share[1]) for share in shares) == pytest.approx(whole, abs=0.1)
    assert sum(float(share[2].removesuffix("\u00a0%")) for share in shares) == pytest.approx(100, abs=1)


def test_a_failure_leads_with_its_cause_and_the_evidence(recorded: Recorded) -> None:
    folder = recorded("rolled-back")
    page = shown(folder)
    result = json.loads((folder / "artifacts" / "cd-result.json").read_text())
    assert next(e["id"] for e in page.all("h2")) == "cause"
    at = [page.text.index(text) for text in ("rolled back", result["cause"], "KeyError: 'HELLO_GREETING'", "Next: ",
                                             "What it was about")]  # fmt: skip
    assert at == sorted(at)
    for link in page.all("a"):
        href = link["href"] or ""
        assert href.startswith("http") or (folder / href).is_file()
    judged = [row[0] for row in page.rows["the-way-step-by-step"] if row[3] == "judged a failure"]
    assert judged == ["rollout hello"]
    assert sum("evidence/" in (link["href"] or "") for link in page.all("a")) == 2
    for value in (result["digest"], result["failed_commit"], result["commit"]):
        assert value in page.text


def test_a_deploy_that_serves_shows_no_cause(recorded: Recorded) -> None:
    page = shown(recorded("serving"))
    assert "✓ hello to lab: serving" in page.text
    assert "cause" not in [e["id"] for e in page.all("h2")]


def test_tests_are_counted_and_those_that_failed_are_named(recorded: Recorded) -> None:
    page = shown(recorded("tests-failed"))
    assert "3 of 4 passed, 1 failed, 0 skipped." in page.text
    assert "tests.test_hello::test_version_is_one_word: AssertionError: assert 2 == 1" in page.text


def test_change_commit_and_build_are_links_where_the_trigger_knows_them(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    zuul = {"UUID": "1", "PROJECT": "a/hello", "PIPELINE": "check", "CHANGE": "7", "PATCHSET": "2"}
    for key, value in zuul.items():
        monkeypatch.setenv(f"ZUUL_{key}", value)
    monkeypatch.setenv("BUILD_URL", "https://jenkins.example.org/job/hello-check/2/")
    page = shown(recorded("tests-failed"), "--url", "https://review.example.org/")
    hrefs = [link["href"] for link in page.all("a")]
    assert "https://review.example.org/c/a/hello/+/7/2" in hrefs
    assert "https://review.example.org/q/389b36d9e710bf2e4da8c668d408d216e67de910" in hrefs
    assert "https://jenkins.example.org/job/hello-check/2/" in hrefs


def cut(folder: Path, until: str) -> None:
    """As it is while the run goes on: the events up to one, and half of the next line."""
    file = folder / "events.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    end = next(i for i, line in enumerate(lines) if until in line) + 1
    file.write_text("".join(lines[:end]) + lines[end][:40])
    (folder / "cd-result.json").unlink()
    shutil.rmtree(folder / "comment")


def test_a_run_that_goes_on_says_so_and_is_loaded_again(recorded: Recorded) -> None:
    folder = recorded("serving")
    cut(folder, '"stage": "rollout"')
    page = shown(folder)
    assert "running" in page.text and "At helm-deploy, rollout" in page.text
    assert [e for e in page.all("meta") if e.get("http-equiv") == "refresh"]
    assert ["rollout hello", "running"] in [[row[0], row[3]] for row in page.rows["the-way-step-by-step"]]


def test_a_run_that_was_killed_says_so_and_is_not_loaded_again(recorded: Recorded) -> None:
    folder = recorded("serving")
    cut(folder, '"stage": "rollout"')
    page = shown(folder, "--ended")
    assert "hello" not in page.text.split("\n")[0] and "helm-deploy: killed" in page.text
    assert "helm-deploy has no end: it was killed, or its machine was lost" in page.text
    assert not [e for e in page.all("meta") if e.get("http-equiv") == "refresh"]


def test_only_the_last_run_in_a_folder_is_shown(recorded: Recorded) -> None:
    """A person's folder keeps the events of every run that there ever was."""
    folder = recorded("serving")
    newest = (RUNS / "tests-failed" / "events.jsonl").read_text().replace("2026-11-23", "2026-11-24")
    with (folder / "events.jsonl").open("a") as file:
        file.write(newest)
    page = shown(folder)
    commands = [row[0] for row in page.rows["the-way-step-by-step"]]
    assert "run-tests" in commands and "helm-deploy" not in commands and "gerrit-comment" not in commands


def test_several_jobs_are_one_way(recorded: Recorded) -> None:
    folder = recorded("serving")
    page = shown(folder, str(RUNS / "tests-failed"), str(folder), str(folder))
    commands = [row[0] for row in page.rows["the-way-step-by-step"]]
    assert commands.count("cd-checkout") == 2 and commands.count("helm-deploy") == 1
    assert "serving" in page.text


def test_a_plain_page_has_no_style_sheet_and_does_not_load_itself(recorded: Recorded) -> None:
    folder = recorded("serving")
    cut(folder, '"stage": "rollout"')
    page = shown(folder, "--plain")
    assert not page.all("style") and not [e for e in page.all("meta") if e.get("http-equiv") == "refresh"]
    assert "running" in page.text


def test_evidence_is_linked_however_the_folders_are_named(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = recorded("rolled-back")
    monkeypatch.chdir(folder.parent)
    page = shown(folder, "--page", ".cd/report.html")
    assert sum("evidence/" in (link["href"] or "") for link in page.all("a")) == 2


def test_why_going_back_failed_is_linked_too(recorded: Recorded) -> None:
    folder = recorded("rolled-back")
    (made,) = folder.rglob("evidence")
    (made / "rollback").mkdir()
    (made / "rollback" / "verdict.json").write_text("{}")
    links = [link["href"] or "" for link in shown(folder).all("a")]
    assert sum("evidence/" in link for link in links) == 3
    assert sum("evidence/rollback/verdict.json" in link for link in links) == 1


def test_evidence_of_an_earlier_run_is_not_shown_as_this_ones(recorded: Recorded) -> None:
    folder = recorded("crashed")
    file = folder / "evidence" / "verdict.json"
    verdict = json.loads(file.read_text())
    (own,) = {event["run"] for event in events(folder) if event["event"] == "evidence"}
    for run, shows in ((own, 2), ("f" * 32, 0)):
        file.write_text(json.dumps({"run": run, **verdict}))
        assert sum("evidence/" in (link["href"] or "") for link in shown(folder).all("a")) == shows


def test_its_own_events_and_result_lie_apart(recorded: Recorded) -> None:
    folder = recorded("serving")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    shown(folder)
    shown(folder)
    assert before == {file: file.read_bytes() for file in before}
    assert json.loads((folder / "report" / "cd-result.json").read_text())["shows"] == "serving"
    assert "cd-report" not in {row[0] for row in shown(folder).rows["the-way-step-by-step"]}


@pytest.mark.parametrize("command", ["cd-status", "cd-rights", "cd-hold", "cd-approve"])
def test_what_is_no_step_decides_nothing(recorded: Recorded, tmp_path: Path, command: str) -> None:
    folder, other = recorded("tests-failed"), tmp_path / "other"
    other.mkdir()
    late = '{"t": "2027-01-01T00:00:0%d.000Z", "run": "x", "command": "%s", "event": "%s"}\n'
    ends = late.replace('"}', '", "outcome": "done", "exit_code": 0}') % (2, command, "run_end")
    (other / "events.jsonl").write_text(late % (1, command, "run_start") + ends)
    assert report(folder, str(folder), str(other)).exit_code == 0
    assert "tests failed" in Page((folder / "report.html").read_bytes()).text


def test_a_dry_run_writes_no_page_and_a_link_is_not_followed(recorded: Recorded, tmp_path: Path) -> None:
    folder, kept = recorded("serving"), tmp_path / "kept"
    assert report(folder, "--dry-run").exit_code == 0 and not (folder / "report.html").exists()
    kept.write_text("mine")
    (folder / "report.html").symlink_to(kept)
    shown(folder)
    assert kept.read_text() == "mine" and not (folder / "report.html").is_symlink()


def test_where_there_is_nothing_it_says_what_to_name(tmp_path: Path) -> None:
    done = report(tmp_path / ".cd")
    assert done.exit_code == 2 and "there are no events in" in done.output
    missing = report(tmp_path / ".cd", str(tmp_path / "no.jsonl"))
    assert missing.exit_code == 2 and "no.jsonl" in missing.output


@pytest.mark.parametrize("place", ["comment", "checkout", "artifacts", "other", "."])
def test_events_that_a_change_brings_decide_nothing(recorded: Recorded, place: str) -> None:
    folder, planted = recorded("tests-failed"), (RUNS / "serving" / "events.jsonl").read_text()
    later = planted.replace("2026-11-23", "2027-01-01")
    file = folder / place / "events.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text(later + (file.read_text() if place == "." else ""))
    if place != ".":
        (folder / place / "cd-result.json").write_bytes((RUNS / "serving" / "cd-result.json").read_bytes())
    page = shown(folder)
    assert "✗ hello: tests failed" in page.text and "tests.test_hello::test_version_is_one_word" in page.text
    assert "389b36d9e710bf2e4da8c668d408d216e67de910" in page.text


def test_a_folder_that_is_a_link_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    recorded("serving").rename(tmp_path / "elsewhere")
    (tmp_path / ".cd").symlink_to(tmp_path / "elsewhere")
    done = report(tmp_path / ".cd")
    assert done.exit_code == 2 and "is a symbolic link" in done.output
    assert not (tmp_path / "elsewhere" / "report.html").exists()


def pod(second: float, name: str, state: str) -> str:
    head = {"run": "ec774adcfcd94854ae15aa45e1381d88", "command": "helm-deploy", "event": "pod", "restarts": 2}
    return json.dumps({"t": f"2026-11-23T07:24:{second:06.3f}Z", **head, "pod": name, "state": state}) + "\n"


def test_pods_are_drawn_and_said_in_words(recorded: Recorded) -> None:
    folder = recorded("rolled-back")
    file = folder / "artifacts" / "events.jsonl"
    seen = (pod(1, "web-1", "ContainerCreating"), pod(3.5, "web-1", "Ready"), pod(5, "web-2", "CrashLoopBackOff"),
            pod(9, "web-2", "gone"))  # fmt: skip
    run = json.loads(file.read_text().splitlines()[-1])["run"]
    told = "".join(seen).replace("ec774adcfcd94854ae15aa45e1381d88", run)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]) + told + lines[-1])
    page = shown(folder)
    _, first, second = page.rows["pods-over-time"]
    assert first[:2] == ["web-1", "2"] and first[2].startswith("ContainerCreating 2.5 s, Ready 17.")
    assert second == ["web-2", "2", "CrashLoopBackOff 4.0 s, gone"]
    dashed = [e for e in page.all("rect") if e["height"] == "14"]
    assert len(dashed) == 1 and dashed[0]["stroke-dasharray"]


def test_each_activity_is_a_stage_that_commands_have() -> None:
    """A stage that gets another name would count as none."""
    text = "\n".join(file.read_text() for part in ("cdlib", "jobs") for file in (CHECKOUT / part).rglob("*.py"))
    assert {stage for _, stage in story.ACTIVITIES} == set(re.findall(r'\.stage\(\s*"([^"]+)"', text))


def test_what_is_no_number_or_text_does_no_harm(recorded: Recorded) -> None:
    folder = recorded("serving")
    file = folder / "events.jsonl"
    mad = [{"t": "2026-11-23T07:22:13Z", "run": "x", "command": "helm-deploy", "event": e, "stage": 7, "about": None,
            "outcome": [1], "seconds": {}, "total": "many", "restarts": 1e300, "pod": {}, "cpu_s": "soon",
            "exit_code": None, "text": 3} for e in ("run_start", "stage_start", "pod", "note", "stage_end", "run_end")]  # fmt: skip
    file.write_text("[]\nnull\n{}\n\xff\n" + "".join(json.dumps(each) + "\n" for each in mad))
    (folder / "cd-result.json").write_text('{"run": "x", "commit": [7], "error": "no", "digest": {"a": null}}')
    made: Story = gather_story([folder], folder / "report.html", {})
    assert made.runs and shown(folder).rows


def flood(file: Path, count: int, **fields: Any) -> None:
    """So many beginnings of stages, as a Jenkins job could leave them to keep Zuul's executor busy."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as opened:
        for n in range(count):
            about = {"t": f"2026-11-23T07:00:00.{n:06}Z", "run": "r", "command": "helm-deploy", "event": "stage_start"}
            opened.write(json.dumps({**about, "stage": "rollout", "about": str(n), **fields}) + "\n")


def test_a_flood_of_stages_takes_seconds(tmp_path: Path) -> None:
    flood(tmp_path / ".cd" / "events.jsonl", 3 * MOST_EVENTS)
    made = gather_story([tmp_path / ".cd"], tmp_path / "report.html", {}, ended=True)
    assert len(made.runs[0].stages) == MOST_EVENTS
    begun = time.process_time()
    assert len(made.shares()) <= 2
    assert time.process_time() - begun < 10, "each moment is looked up among all spans"


def test_many_files_are_read_as_far_as_one(tmp_path: Path) -> None:
    folder = tmp_path / ".cd"
    for n in range(4):
        flood(folder.joinpath(*["artifacts"] * n, "events.jsonl"), MOST_EVENTS // 2, run=f"r{n}")
    made = gather_story([folder], tmp_path / "report.html", {}, ended=True)
    assert sum(len(run.events) for run in made.runs) == MOST_EVENTS


def test_what_results_take_is_no_longer_there_for_others(tmp_path: Path) -> None:
    folder = tmp_path / ".cd"
    size = 3 * 2**20
    for n in range(LARGEST // size + 3):
        place = folder.joinpath(*["artifacts"] * n)
        flood(place / "events.jsonl", 1, run=f"r{n}")
        (place / "cd-result.json").write_text(json.dumps({"run": f"r{n}", "x": "y" * size}))
    made = gather_story([folder], tmp_path / "report.html", {}, ended=True)
    assert len(made.results) == LARGEST // size


def test_an_event_is_its_text_and_numbers(tmp_path: Path) -> None:
    flood(tmp_path / "events.jsonl", 2, deep=[[]] * 1000, **{f"k{n}": n for n in range(1000)})
    story = gather_story([tmp_path], tmp_path / "report.html", {}, ended=True)
    assert all("deep" not in event and len(event) < 100 for event in story.runs[0].events)


def test_reports_beyond_what_a_run_writes_are_not_parsed(recorded: Recorded) -> None:
    folder = recorded("tests-failed")
    report = next(folder.rglob("reports/*.xml"))
    report.with_name("a.xml").write_text("<testsuite>" + "<testcase/>" * 1_200_000 + "</testsuite>")
    assert "a.xml is no JUnit file, or too large" in shown(folder).text


def test_each_moment_is_the_innermost_span_s() -> None:
    """As a slower way says that looks at all spans for each moment."""
    pick = random.Random(7)
    for _ in range(200):
        starts = [pick.randrange(-5, 25) for _ in range(pick.randrange(12))]
        spans = [Span(s, s + pick.randrange(0, 12), pick.randrange(4), f"s{n}") for n, s in enumerate(starts)]
        expected: dict[str, float] = {}
        for left in range(20):
            there = [span for span in spans if span.start <= left and span.end >= left + 1]
            inner = max(there, key=lambda span: (span.depth, span.start), default=None)
            share = inner.share if inner else "else"
            expected[share] = expected.get(share, 0.0) + 1
        assert sweep(0, 20, spans, "else") == expected
