"""Pages of recorded runs in Chromium: from a file, as Jenkins and Zuul's log server serve them, and under attack."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import figures
import pytest
from browser import Browser, Look
from hostile import HOSTILE, hostile
from reading import figures_hold, laid_out, opens_alone, readable, told_without_colour
from serving import served

from cdlib import process
from cdlib.deadline import Deadline
from lab.jenkins.testing import ADMIN, StandIn, freestyle, in_process
from lab.loop.logserver import Handler as Logs

RUNS = Path(__file__).parents[1] / "unit" / "recorded" / "runs"
LOGGED_IN = {"Authorization": "Basic " + base64.b64encode(f"{ADMIN.name}:{ADMIN.token}".encode()).decode()}
NAMES = ("serving", "rolled-back", "crashed", "tests-failed")
# What there is where markup has become markup: an element or an attribute that no page of ours has.
FOREIGN = (
    "document.querySelectorAll('script, img, iframe, object, embed, form, input, button, link, base, [style]').length"
)
HANDLERS = "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => /^on/.test(a.name))).length"


def made(folder: Path, *args: str) -> Path:
    """The page of the run in `folder`, made by the command."""
    argv = [sys.executable, "-m", "jobs.cd_report", "-C", folder.parent, "--out", folder, "--ended", *args]
    done = process.run(argv, Deadline(60, "cd-report"), cwd=RUNS.parents[3])
    assert done.ok, done.stderr
    return folder / "report.html"


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a real run has left."""
    return Path(shutil.copytree(RUNS / request.param, tmp_path / ".cd"))


def test_it_opens_alone_from_a_file_and_each_figure_is_the_events_own(browser: Browser, run: Path) -> None:
    page = made(run)
    opens_alone(browser, page.as_uri())
    laid_out(browser)
    told_without_colour(browser)
    figures_hold(browser, figures.of_page(run))


def test_it_reads_well_however_it_is_looked_at(browser: Browser, run: Path) -> None:
    readable(browser, made(run))


@pytest.fixture(scope="module")
def jenkins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with in_process(tmp_path_factory.mktemp("jenkins")) as made:
        yield made


def archived(jenkins: StandIn, run: Path) -> str:
    """The address of the page as a build's artifact."""
    job = f"of-{run.parent.name}"
    archive = "<hudson.tasks.ArtifactArchiver><artifacts>.cd/**</artifacts></hudson.tasks.ArtifactArchiver>"
    jenkins.create(job, freestyle(f"cp -r {run} .cd", more={"publishers": archive}))
    assert jenkins.build(job)["result"] == "SUCCESS"
    return f"{jenkins.url}job/{job}/1/artifact/.cd/report.html"


def test_as_jenkins_serves_it(browser: Browser, jenkins: StandIn, run: Path) -> None:
    """Its policy forbids style sheets: there is none, so that nothing is refused, and it is laid out all the same."""
    page = made(run, "--plain")
    opens_alone(browser, archived(jenkins, run), LOGGED_IN)
    laid_out(browser)
    told_without_colour(browser)
    figures_hold(browser, figures.of_page(run))
    readable(browser, page, plain=True)


def test_a_style_sheet_would_be_refused_by_jenkins(browser: Browser, jenkins: StandIn, run: Path) -> None:
    """Why there is `--plain`; and a page with one shows the same there."""
    made(run)
    browser.open(archived(jenkins, run), headers=LOGGED_IN)
    assert len(browser.complaints) == 1 and "inline style" in browser.complaints[0]
    laid_out(browser)


def test_as_zuuls_log_server_serves_it(browser: Browser, run: Path) -> None:
    made(run)
    with served(run, Logs) as address:
        opens_alone(browser, address + "report.html")
        laid_out(browser)
        assert browser.ask("getComputedStyle(document.body).maxWidth") != "none", "its style sheet holds"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", ["serving", "crashed", "tests-failed"])
def test_a_hostile_run_shows_as_text(browser: Browser, tmp_path: Path, name: str, plain: bool) -> None:
    page = tmp_path / "report.html"
    for seed in range(3):
        page.write_bytes(hostile(RUNS / name, tmp_path / str(seed), seed, plain=plain))
        browser.open(page.as_uri(), Look(360))
        assert browser.complaints == [] and browser.requests == [page.as_uri()]
        assert browser.ask(FOREIGN) == 0
        assert browser.ask(HANDLERS) == 0
        assert browser.ask("document.querySelectorAll('body *').length") < 3000
        assert HOSTILE[0] in browser.text and len([text for text in HOSTILE if text in browser.text]) > 4
        assert not set(browser.text) & set("\x1b\x00\x9b\u202e\u2066")
        assert plain or browser.ask("document.documentElement.scrollWidth") <= 360
        assert browser.serious() == []


def test_a_page_that_would_run_something_is_caught(browser: Browser, tmp_path: Path) -> None:
    """The checks themselves: each of these has to be seen."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x' onerror='console.error(1)'><script>console.warn(2)</script>")
    browser.open(bad.as_uri())
    assert browser.ask(FOREIGN) == 2 and browser.ask(HANDLERS) == 1
    assert browser.requests == [bad.as_uri(), "http://127.0.0.1:9/x"]
    assert any(line.startswith("WARNING") for line in browser.complaints) and len(browser.complaints) >= 2
    assert any("image-alt" in found for found in browser.serious())


def test_a_page_that_tells_another_figure_is_caught(browser: Browser, tmp_path: Path) -> None:
    run = Path(shutil.copytree(RUNS / "serving", tmp_path / ".cd"))
    page, found = made(run), figures.of_page(run)
    seconds = next(e["seconds"] for e in found if e["event"] == "stage_end" and e["stage"] == "rollout")
    told = f">{seconds:.2f}<"
    text = page.read_text(encoding="utf-8")
    assert told in text, json.dumps(seconds)
    page.write_text(text.replace(told, f">{seconds + 0.02:.2f}<"), encoding="utf-8")
    browser.open(page.as_uri())
    with pytest.raises(AssertionError):
        figures_hold(browser, found)
