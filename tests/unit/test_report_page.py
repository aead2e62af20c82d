"""The page as a document: nothing from elsewhere, nothing of a change as markup, small, and readable by everybody."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hostile import HOSTILE, ODD, hostile, retyped_run
from pages import Page

from cdlib.report.html import link, tag
from cdlib.report.page import LARGEST, page
from cdlib.report.sources import gather_story
from cdlib.report.story import Tests

RUNS = Path(__file__).parent / "recorded" / "runs"
TAGS = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "h1", "h2", "p", "a",
        "strong", "small", "code", "pre", "div", "time", "ul", "li", "table", "caption", "thead", "tbody",
        "tr", "th", "td", "svg", "rect", "line", "wbr"}  # fmt: skip


@pytest.mark.parametrize("name", ["serving", "rolled-back", "crashed", "tests-failed"])
@pytest.mark.parametrize("seed", range(8))
def test_what_comes_from_a_change_is_text(tmp_path: Path, name: str, seed: int) -> None:
    document = hostile(RUNS / name, tmp_path, seed)
    shown = Page(document)
    assert {name for name, _ in shown.elements} <= TAGS
    for element, attributes in shown.elements:
        assert not [
            key for key in attributes if key.startswith("on") or key in ("style", "src", "srcset", "xlink:href")
        ]
        href = attributes.get("href")
        assert element == "a" if href is not None else True
        assert href is None or href.startswith(("https://", "http://", "./"))
    bad = [c for c in document.decode() if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]
    assert not bad
    assert HOSTILE[0] + HOSTILE[-2] in shown.text


@pytest.mark.parametrize("name", ["serving", "rolled-back", "crashed", "tests-failed"])
@pytest.mark.parametrize("seed", range(15))
def test_values_of_other_types_do_not_suppress_it(tmp_path: Path, name: str, seed: int) -> None:
    assert b"</html>" in retyped_run(RUNS / name, tmp_path, seed)


@pytest.mark.parametrize("odd", [*ODD, [[[[[[[]]]]]]]], ids=str)
def test_no_one_value_suppresses_it(tmp_path: Path, odd: object) -> None:
    event = {"t": "2026-11-23T07:22:13Z", "run": "r", "command": "helm-deploy", "cpu_s": odd}
    lines = [{**event, "event": "run_start"}, {**event, "event": "run_end", "outcome": "x", "exit_code": 8}]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for result in ({"run": odd}, {"run": "r", "error": {"details": odd}}, {"run": "r", "build": odd, "service": odd}):
        (tmp_path / "cd-result.json").write_text(json.dumps({"exit_code": 8, **result}))
        assert b"</html>" in page(gather_story([tmp_path], tmp_path / "report.html", {}, ended=True))


def test_times_out_of_all_reckoning_are_no_events(tmp_path: Path) -> None:
    times = ("0001-01-01T00:00:00+23:59", "2026-11-23T07:22:13Z", "9999-12-31T23:59:59-23:59")
    (tmp_path / "events.jsonl").write_text(
        "".join(f'{{"t": "{t}", "run": "r", "command": "c", "event": "note"}}\n' for t in times)
    )
    story = gather_story([tmp_path], tmp_path / "report.html", {}, ended=True)
    assert len(story.runs[0].events) == 1 and b"</html>" in page(story)


def test_text_and_attributes_are_escaped_in_one_place() -> None:
    made = tag("td", "<b>&\"'", tag("i", "x"), None, title='"><b>', data_x="'")
    assert made == '<td title="&quot;&gt;&lt;b&gt;" data-x="&#x27;">&lt;b&gt;&amp;&quot;&#x27;<i>x</i></td>'
    assert tag("p", "a" * 17 + " &") == f"<p>{'a' * 16}<wbr>a &amp;</p>"
    assert tag("p", "\x1b[31mred\x1b[0m \u202ea") == "<p>red a</p>"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//x", "JAVASCRIPT:x", " http://x", "", "http://x\n"]
)
def test_only_a_server_s_page_is_linked(url: str) -> None:
    assert link(url, "text") == "text"
    assert link("https://x/?a=1&b", "text") == '<a href="https://x/?a=1&amp;b" rel="noreferrer">text</a>'


def recorded(name: str = "rolled-back") -> bytes:
    return page(gather_story([RUNS / name], RUNS / name / "report.html", {}))


def test_nothing_is_loaded_and_nothing_runs() -> None:
    document, shown = recorded().decode(), Page(recorded())
    assert not re.search(r"<(script|link|img|iframe|object|embed|form|base)\b|@import|url\(|@font-face", document)
    (policy,) = (e["content"] or "" for e in shown.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", document, re.S)
    assert style
    known = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'; form-action 'none'"


def test_it_reads_well_without_styles() -> None:
    """Under Jenkins' policy there are none: what has to be seen is in elements, attributes and words."""
    shown = Page(recorded())
    assert not [e for _, e in shown.elements if "style" in e]
    assert {"name": "color-scheme", "content": "light dark"} in shown.all("meta")
    for shape in shown.all("rect"):
        assert shape["fill"] and shape["width"] and shape["height"]


def test_a_reader_of_the_screen_finds_its_way() -> None:
    shown = Page(recorded())
    names = [name for name, _ in shown.elements]
    assert shown.all("html") == [{"lang": "en"}]
    assert [names.count(name) for name in ("h1", "main", "header", "footer", "title")] == [1] * 5
    facts = [e for e in shown.all("table") if e.get("class") == "facts"]  # its heading says what it is
    assert names.count("table") - len(facts) == names.count("caption") == names.count("thead") and len(facts) == 1
    assert all(e.get("scope") in ("col", "row") for e in shown.all("th"))
    assert all(e.get("aria-hidden") == "true" for e in shown.all("svg"))
    ids = [e["id"] for e in shown.all("h2")]
    assert len(set(ids)) == len(ids) and [e["aria-labelledby"] for e in shown.all("section")] == ids


def test_a_whole_day_fits_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    head = {"run": "r", "command": "helm-deploy"}
    lines = [{"event": "run_start"}]
    for n in range(6000):
        about = "&" * 2000 + str(n)
        lines += [{"event": "stage_start", "stage": "rollout", "about": about}, {"event": "note", "text": about}]
        lines += [{"event": "pod", "pod": f"{n % 300}{'<' * 300}", "state": f"{n}{'&' * 300}"}]
    events = (
        json.dumps({"t": f"2026-11-23T{n // 1000:02}:00:00Z", **head, **line}) + "\n" for n, line in enumerate(lines)
    )
    (tmp_path / "events.jsonl").write_text("".join(events))
    error = {"message": "x" * 9000, "hint": "", "details": ["&" * 9000] * 9000}
    (tmp_path / "cd-result.json").write_text(
        json.dumps({"run": "r", "exit_code": 8, "error": error, "drift": ["<" * 999] * 999})
    )
    story = gather_story([tmp_path], tmp_path / "report.html", {}, ended=True)
    story.tests = Tests(["<" * 300] * 9000)
    document = page(story)
    assert len(document) <= LARGEST
    assert len(re.findall("more are left out here", Page(document).text)) >= 3
