"""What a page has to stand: wherever it is opened and however it is looked at, and each figure the events' own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import figures
import pytest
from browser import LOOKS, PHONE, Browser, columns
from figures import Event

LARGEST = 2_000_000  # bytes
_FINE = {"ok", "done", "unchanged"}
_ONLY_DRAWN = {"Drawn"}  # what heads the bars, which a phone has no room for


def opens_alone(browser: Browser, url: str, headers: Mapping[str, str] | None = None) -> None:
    """It opens without a complaint in the console, and nothing but itself is asked for."""
    browser.open(url, headers=headers)
    assert browser.complaints == []
    assert browser.requests == [url]
    assert browser.ask("document.scripts.length") == 0


def laid_out(browser: Browser) -> None:
    """What is open reads as a page, with styles or without: rows in lines, numbers at one edge, drawings drawn."""
    lines = browser.ask(
        "[...document.querySelectorAll('tbody tr')].map(row => [...row.cells].map(c => c.getBoundingClientRect()))"
        ".map(cells => cells.map(c => [c.left, c.top, c.width]))"
    )
    for cells in lines:
        assert len({top for _, top, _ in cells}) == 1 and all(width > 10 for _, _, width in cells)
        assert [left for left, _, _ in cells] == sorted(left for left, _, _ in cells)
    aligned = browser.ask("[...document.querySelectorAll('td.number')].map(cell => getComputedStyle(cell).textAlign)")
    assert set(aligned) <= {"end", "right", "-webkit-right"} and aligned
    drawn = browser.ask(
        "[...document.querySelectorAll('td rect')].map(r => [r.getBoundingClientRect().width, getComputedStyle(r).fill])"
    )
    assert drawn and all(width > 0.5 and re.fullmatch(r"rgb\(.+\)", fill) for width, fill in drawn)


def readable(browser: Browser, page: Path, *, plain: bool = False) -> None:
    """It reads well on a phone, in the dark, on paper, in forced colours, and by what reads it aloud.

    A `plain` page is not asked to fit a phone: its tables are as wide as their words.
    """
    assert page.stat().st_size <= LARGEST
    words: set[str] = set()
    browser.open(page.as_uri())
    for look in LOOKS:
        browser.look(look)
        if look.media == "screen" and not look.forced:  # axe knows nothing of paper, nor of colours that are forced
            assert browser.serious() == [], look.name
        if look.width == PHONE and not plain:
            assert browser.ask("document.documentElement.scrollWidth") <= PHONE, look.name
        light = sum(map(int, re.findall(r"\d+", str(browser.ask("getComputedStyle(document.body).color")))[:3])) > 384
        assert light == (look.scheme == "dark"), f"{look.name}: whether letters are light"
        words = words or set(browser.text.split())
        assert set(browser.text.split()) >= words - _ONLY_DRAWN, look.name
    browser.listen()
    assert browser.complaints == []


def told_without_colour(browser: Browser) -> None:
    """What is drawn as bad is said to be bad, in a word of its own; the title has a mark and the outcome."""
    assert re.match(r"[✓✗…] .+: .+", str(browser.ask("document.querySelector('h1').innerText")))
    said = browser.ask(
        "[...document.querySelectorAll('section[aria-labelledby=the-way-step-by-step] tbody tr')]"
        ".map(row => [row.cells[3].innerText, row.querySelectorAll('rect[stroke-dasharray]').length])"
    )
    assert said and all((word in _FINE) == (dashed == 0) for word, dashed in said)


def figures_hold(browser: Browser, found: Sequence[Event]) -> None:
    """Each figure on the page that is open is what these events say."""
    runs = figures.told(found)
    start, end = figures.whole(runs)
    line = str(browser.ask("document.querySelector('header p').innerText"))
    assert _near(figures.seconds(line.partition(", ")[2].split(" after ")[0]), (end - start) / 1000)
    _way(browser, runs, start)
    shares = {
        name: (float(s), float(part.rstrip("%"))) for name, s, part, _ in columns(browser, "where-the-time-went")[1:]
    }
    wanted = figures.activities(runs)
    assert shares.keys() == wanted.keys()
    for name, seconds in wanted.items():
        assert shares[name] == pytest.approx((seconds, 100_000 * seconds / (end - start)), abs=0.06)
    _pods(browser, runs)
    _facts(browser, found)


def _way(browser: Browser, runs: Sequence[figures.Told], start: int) -> None:
    shown = [row[:4] for row in columns(browser, "the-way-step-by-step")[1:]]
    wanted = []
    for run in runs:
        code = f" ({run.exit_code})" if run.exit_code else ""
        wanted.append((run.command, run.start, run.end, run.outcome + code))
        bad = figures.judged(run)
        for s in run.stages:
            ended = "judged a failure" if s is bad else s.outcome or "no end"
            name = " ".join(f"{s.name} {s.about}".split())[:120]
            wanted.append((name, s.start, run.end if s.end is None else s.end, ended))
    assert [(name, ended) for name, _, _, ended in shown] == [(name, ended) for name, _, _, ended in wanted]
    for (_, begins, seconds, _), (_, began, ended, _) in zip(shown, wanted, strict=True):
        assert float(begins) == pytest.approx((began - start) / 1000, abs=0.051)
        assert float(seconds) == pytest.approx((ended - began) / 1000, abs=0.006)


def _pods(browser: Browser, runs: Sequence[figures.Told]) -> None:
    shown = {pod: (int(ends), figures.states(said)) for pod, ends, said in columns(browser, "pods-over-time")[1:]}
    wanted = figures.lanes(runs)
    assert {pod: ends for pod, (ends, _) in shown.items()} == {pod: ends for pod, (ends, _) in wanted.items()}
    for pod, (_, states) in wanted.items():
        assert [name for name, _ in shown[pod][1]] == [name for name, _ in states]
        for (_, said), (_, seconds) in zip(shown[pod][1], states, strict=True):
            assert (said is None) == (seconds is None)
            assert said is None or _near(said, seconds or 0.0)


def _facts(browser: Browser, found: Sequence[Event]) -> None:
    """Commit, revision and digest of what serves; the counts of the tests; why it failed."""
    facts = dict(columns(browser, "what-it-was-about"))
    for words, key in (("Revision", "revision"), ("Commit", "commit")):
        if (said := figures.last(found, "serving", key)) is not None:
            assert facts[words] == str(said)
    reason = figures.last(found, "verdict", "reason", outcome="failed")
    digest = figures.last(found, "stage_end", "digest")
    if digest is not None and all(e["exit_code"] == 0 for e in found if e["event"] == "run_end"):
        assert facts["Digest"] == digest
    if reason is not None:
        assert str(browser.ask("document.querySelector('section strong').innerText")) == reason
    counts = {
        key: figures.last(found, "stage_end", key, stage="test") for key in ("passed", "total", "failed", "skipped")
    }
    if counts["total"] is not None:
        line = "{passed} of {total} passed, {failed} failed, {skipped} skipped."
        assert line.format(**counts) in browser.text


def _near(shown: float, seconds: float) -> bool:
    """Whether it is the same to what is shown: tenths, from a minute on whole seconds."""
    return shown == pytest.approx(seconds, abs=0.051 if seconds < 59.9 else 0.51)
