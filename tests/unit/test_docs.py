"""The manuals are whole: the reference is what the code says, and no link leads nowhere."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from manuals import blocks, commands

from cdlib import errors
from cdlib.target import read_target
from lab.loop import review

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def text(page: Path) -> str:
    """The page, without its blocks of code: what looks like a link or a heading there is none."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The names of the page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+?)\s*$", text(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).lower() for head in heads)
    return frozenset(re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain)


def links(page: Path) -> Iterator[tuple[str, str]]:
    for link in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if not re.match(r"https?://", link):
            path, _, anchor = link.partition("#")
            yield path, anchor


def test_the_reference_is_made_from_the_code_as_it_is() -> None:
    made = runpy.run_path(str(DOCS / "make_reference.py"))["pages"]()
    for name, page in made.items():
        assert (DOCS / name).read_text(encoding="utf-8") == page, f"{name} is old; run: make reference"
    assert {f"reference/{page.name}" for page in (DOCS / "reference").iterdir()} <= set(made)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)} leads to {path}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"{named(page)} leads to {path}#{anchor}, and there is no such heading"


def test_the_front_page_leads_to_every_page() -> None:
    found = {(DOCS / path).resolve() for path, _ in links(DOCS / "index.md")}
    there = {page for page in PAGES if page.parent != DOCS / "decisions" and page.is_relative_to(DOCS)}
    assert there - {DOCS / "index.md"} <= found, "docs/index.md should name each page of docs/"


def test_pictures_are_shown_small_and_told_in_words() -> None:
    found = [shown for page in PAGES for shown in re.findall(r"!\[([^]]*)\]\(([^)]+)\)", text(page))]
    assert all(len(words) > 20 for words, _ in found)
    there = {file.name for file in (DOCS / "images").iterdir()}
    assert there == {Path(path).name for _, path in found}
    for name in there:
        content = (DOCS / "images" / name).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) <= 200_000, name


def test_files_are_shown_as_they_are() -> None:
    shown = [(page, block) for page in PAGES for block in blocks(page) if "/" in block.name]
    assert {"first-pipeline.md", "quick-start.md"} == {page.name for page, _ in shown}
    for page, block in shown:
        assert block.text == (ROOT / block.name).read_text(encoding="utf-8"), f"{named(page)}: {block.name}"


def test_operators_learn_what_to_do_of_every_exit_code() -> None:
    part = (DOCS / "operators.md").read_text().split("## Exit codes\n")[1].split("\n## ")[0]
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", part, re.MULTILINE) for code in row.split(", ")}
    raised = {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CdError)
    }
    assert told == {0, 130, 143} | raised


def test_gerrit_is_set_up_as_the_labs_is() -> None:
    shown = {b.name: json.loads(b.text) for b in blocks(DOCS / "gerrit.md") if b.name.endswith(".json")}
    required = {
        f"require-{name.lower()}.json": {
            "name": name, "submittability_expression": expression, "allow_override_in_child_projects": True,
        }
        for name, expression in review._REQUIREMENTS.items()
    }  # fmt: skip
    label = {name: value for name, value in review._VERIFIED.items() if name != "commit_message"}
    assert shown == {"verified.json": label, **required}


def test_no_page_installs_it_by_a_name() -> None:
    """PyPI's cdlib is somebody else's, and anybody may register a free name (docs/decisions/0020)."""
    pages = [page for page in PAGES if page.name != "0020-the-name-of-the-distribution.md"]
    typed = [(named(page), words) for page in pages for words in commands(page)]
    added = [(page, words) for page, words in typed if words[:2] == ["install-cdlib", "add"] and words[2:]]
    assert added
    assert [(page, words) for page, words in added if "/" not in words[3]] == []
    by_pip = [(page, words) for page, words in typed if "pip" in words]
    assert by_pip
    assert [each for each in by_pip if re.search(r"(^| )(cdlib|gerrit.cd)[^/ ]*( |$)", " ".join(each[1]))] == []


def test_the_target_of_the_quick_start_is_valid(tmp_path: Path) -> None:
    typed = "".join(block.text for block in blocks(DOCS / "quick-start.md") if block.language == "sh")
    (tmp_path / "targets.yaml").write_text(re.split(r"<<'END'\n|^END\n", typed, flags=re.MULTILINE)[1])
    place = read_target(tmp_path / "targets.yaml", "hello").environment("")
    assert (place.name, place.policy, place.release) == ("staging", "none", "hello")
