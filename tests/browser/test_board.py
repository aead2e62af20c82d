"""The board in Chromium: every state, however it is looked at, and with hostile text in all that is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Browser, Look
from hostile import HOSTILE
from reading import opens_alone, readable

from cdlib.report.board import page

COMMIT, DIGEST = "4e5c3586b47df0dc60fd258bbdf77a347e642e82", "sha256:" + "ab12" * 16
RELEASE: dict[str, Any] = {
    "service": "hello", "environment": "production", "namespace": "apps", "release": "hello", "state": "verified",
    "url": "https://hello.example.org", "attention": False, "revision": 12, "helm_status": "deployed",
    "commit": COMMIT, "image": "registry.example.org/hello", "digest": DIGEST, "verified": True,
    "by": "https://ci.example.org/job/hello-deploy/12/", "permit": "12", "change": "17,3", "reason": "",
    "run_url": "https://ci.example.org/job/hello-deploy/12/", "rollback_of": 0, "since": "2026-11-23T07:24:00Z",
    "before": {"revision": 11, "commit": COMMIT[::-1], "digest": DIGEST, "status": "verified"}, "hold": None,
    "quarantined": False, "quarantine": [], "holder": "", "progress": "", "drift": None, "trouble": "",
}  # fmt: skip
NOTHING = {"revision": 0, "helm_status": "", "commit": "", "digest": "", "verified": False, "by": "", "permit": "",
           "change": "", "run_url": "", "since": "", "before": None}  # fmt: skip


def board(*releases: dict[str, Any], trouble: str = "") -> dict[str, Any]:
    cluster = {"environments": ["production"], "server": "x", "releases": len(releases), "answers": not trouble}
    return {"at": "2026-11-23T07:30:00Z", "releases": list(releases), "clusters": [{**cluster, "trouble": trouble}]}


@pytest.fixture
def every_state(tmp_path: Path) -> Path:
    made = board(
        RELEASE,
        RELEASE | {"release": "a-release-with-a-rather-long-name", "hold": {"reason": "a freeze"}, "rollback_of": 9},
        RELEASE | {"release": "stuck", "state": "stuck", "attention": True, "verified": False},
        RELEASE | {"release": "changed", "attention": True, "drift": ["Deployment hello: replicas 2, not 3"] * 3},
        RELEASE | NOTHING | {"release": "nothing", "state": "not deployed"},
        RELEASE | NOTHING | {"release": "away", "state": "unknown", "trouble": "c.example.org does not answer"},
        trouble="c.example.org does not answer",
    )
    file = tmp_path / "board.html"
    file.write_text(page(made), encoding="utf-8")
    return file


def test_it_opens_alone_and_reads_well(browser: Browser, every_state: Path) -> None:
    opens_alone(browser, every_state.as_uri())
    readable(browser, every_state)


def test_each_release_tells_its_state_in_words(browser: Browser, every_state: Path) -> None:
    browser.open(every_state.as_uri())
    rows = browser.ask("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert [row[0] for row in rows] == ["✓ verified", "✓ verified", "⚠ stuck", "⚠ verified", "not deployed", "unknown"]
    assert rows[0][1:4] == ["production", "apps/hello", "12"] and rows[0][4].split() == [COMMIT[:12], DIGEST]
    browser.look(Look(PHONE))
    assert browser.ask("document.querySelectorAll('[role=row] [role=cell][data-head=Release]').length") == 6


def test_hostile_text_is_text(browser: Browser, tmp_path: Path) -> None:
    rows = [RELEASE | {key: text for key, value in RELEASE.items() if isinstance(value, str)} for text in HOSTILE[:-1]]
    file = tmp_path / "board.html"
    file.write_text(page(board(*rows, trouble=HOSTILE[1])), encoding="utf-8", errors="replace")
    opens_alone(browser, file.as_uri())
    assert (
        browser.ask("document.querySelectorAll('img, svg, [onerror], [onload], [onclick], [onmouseover]').length") == 0
    )
    assert browser.text.count(HOSTILE[0]) > 3 and not set(browser.text) & set("\x1b\x00\x9b\u202e\u2066")
    assert browser.serious() == []
