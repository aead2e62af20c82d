"""The pages of a real run of the demo: a rollout that serves, one that crashes, a rollback, and the board.

With CD_SCREENSHOTS the pictures go to that folder, for the manuals: `make screenshots`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import figures
import pytest
from browser import PHONE, Browser, Look
from figures import Event, Told
from hostile import HOSTILE, PRINTED
from reading import figures_hold, laid_out, opens_alone, readable, told_without_colour

from lab import demo
from lab.testing import RunningLab

# The first test waits for the demo. One at a time can be played, since its namespace is its own: all tests here are in
# one file, and with several workers `--dist loadfile` has to be given.
pytestmark = pytest.mark.timeout(600)
PAGES = ("v1", "v2", "v3", "back", "held")
LARGEST_PICTURE = 200_000  # bytes


@dataclass(frozen=True)
class Played:
    """A demo that has been played, and its runs, those together that are on one page."""

    demo: demo.Demo
    ways: list[list[Told]]

    def page(self, name: str) -> Path:
        """Where the page of that name is."""
        return self.demo.service / ".cd" / f"{name}.html"

    def events(self, name: str) -> list[Event]:
        """The events that the page of that name tells of."""
        begun = {"back": "helm-rollback", "held": "helm-deploy"}.get(name, "build-image")
        found = [way for way in self.ways if way[0].command == begun]
        way = found[-1] if name in ("back", "held") else found[int(name[1]) - 1]
        return [event for run in way for event in run.events]


@pytest.fixture(scope="module")
def played(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Played:
    made = demo.play(tmp_path_factory.mktemp("demo"), {**os.environ, **lab.env})
    runs = figures.told(figures.events([made.service / ".cd" / "events.jsonl"]))
    ways: list[list[Told]] = []
    for run in runs:
        if run.command in ("run-tests", "publish-tag") or (run.command == "helm-deploy" and len(ways[-1]) == 3):
            ways[-1].append(run)  # one version goes this way: build-image, run-tests, publish-tag, helm-deploy
        else:
            ways.append([run])
    return Played(made, ways)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_alone_and_tells_what_the_events_tell(browser: Browser, played: Played, name: str) -> None:
    opens_alone(browser, played.page(name).as_uri())
    laid_out(browser)
    told_without_colour(browser)
    figures_hold(browser, played.events(name))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_well_however_it_is_looked_at(browser: Browser, played: Played, name: str) -> None:
    readable(browser, played.page(name))


@pytest.mark.parametrize(
    ("name", "title"),
    [("v1", "✓ hello to production: serving"), ("v3", "✗ hello to production: rolled back"),
     ("held", "✗ hello to production: refused")],
)  # fmt: skip
def test_a_page_says_how_it_ended(browser: Browser, played: Played, name: str, title: str) -> None:
    browser.open(played.page(name).as_uri())
    assert browser.ask("document.querySelector('h1').innerText") == title


def test_the_crash_has_its_evidence_beside_it(browser: Browser, played: Played) -> None:
    browser.open(played.page("v3").as_uri())
    assert "KeyError: 'HELLO_GREETING'" in browser.text
    links = browser.ask("[...document.querySelectorAll('a')].map(link => link.getAttribute('href'))")
    kept = [link for link in links if "evidence/" in link]
    assert kept and all((played.page("v3").parent / link).is_file() for link in kept)


def test_the_board_tells_what_is_live(browser: Browser, played: Played) -> None:
    board, back, first = played.page("board"), played.events("back"), played.events("v1")
    opens_alone(browser, board.as_uri())
    (cells,) = browser.ask("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
    state, environment, release, revision, what, *_, notes = cells
    assert (state, environment, release) == ("✓ verified", "production", f"{demo.NAMESPACE}/hello")
    assert revision == str(figures.last(back, "serving", "revision"))
    assert what.split() == [
        figures.last(back, "serving", "commit")[:12],
        figures.last(first, "stage_end", "digest", stage="promote"),
    ]
    assert "on hold: the demo wants the first version" in notes
    readable(browser, board)


def test_a_hostile_run_shows_as_text(browser: Browser, played: Played) -> None:
    """A commit that says, logs, and names its tests by what would be markup, escape codes and turns of the line."""
    made = played.demo
    program = made.service / "hello.py"
    crash = f"def main() -> None:\n    for line in {PRINTED!a}:\n        print(line)\n    raise SystemExit(3)\n"
    program.write_text(program.read_text(encoding="utf-8").replace("def main() -> None:\n", crash), encoding="utf-8")
    made.commit("\n".join(PRINTED))
    made.step("hostile", "build-image")
    made.step("hostile", "run-tests")
    made.step("hostile", "publish-tag")
    made.step("hostile", "helm-deploy", expect=7)
    made.page("hostile")
    test = f"import pytest\n\n\n@pytest.mark.parametrize('x', {PRINTED!a})\ndef test_x(x):\n    assert not x, x\n"
    (made.service / "tests" / "test_hostile.py").write_text(test, encoding="utf-8")
    made.commit("<b>tests</b>")
    made.step("hostile", "build-image")
    made.step("hostile", "run-tests", expect=4)
    made.page("hostile-tests")
    for name in ("hostile", "hostile-tests"):
        page = played.page(name)
        opens_alone(browser, page.as_uri())
        assert HOSTILE[0] in browser.text
        assert (
            browser.ask("document.querySelectorAll('script, img, svg svg, [onerror], [onload], [onclick]').length") == 0
        )
        assert not set(browser.text) & set("\x1b\x00\x9b\u202e\u2066")
        readable(browser, page)


def test_the_pictures_of_the_manuals_can_be_made(browser: Browser, played: Played, tmp_path: Path) -> None:
    folder = Path(os.environ.get("CD_SCREENSHOTS") or tmp_path).absolute()
    pictures = {
        "report.png": ("v3", Look(1100), 1080), "report-dark.png": ("v1", Look(1100, "dark"), 1080),
        "report-phone.png": ("v3", Look(PHONE), 900), "board.png": ("board", Look(1280), 400),
    }  # fmt: skip
    for name, (page, look, height) in pictures.items():
        browser.open(played.page(page).as_uri(), look)
        browser.picture(folder / name, look, height=height)
        content = (folder / name).read_bytes()
        assert len(content) <= LARGEST_PICTURE, json.dumps({name: len(content)})
        assert int.from_bytes(content[16:20], "big") == look.width
