"""A run as one HTML file: no script, nothing from elsewhere, and readable where even its styles are forbidden.

Jenkins serves artifacts with a policy that forbids inline styles, so nothing may depend on them: the order, the
tables, the drawings (report.drawing) and light or dark hold without. Everything goes through report.html's `tag`.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

from cdlib.report import figures, sections
from cdlib.report.html import Markup, joined, tag, unbroken
from cdlib.report.parts import duration, moment
from cdlib.report.story import Story

LARGEST = 2_000_000  # bytes
REFRESH = 5  # seconds, while it runs
_SHARES = (1.0, 0.3, 0.1, 0.03, 0.01)  # of what each list may hold, until the page is small enough
MARKS = {"good": "✓", "bad": "✗", "running": "…"}

STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { line-height: 1.2; border-inline-start: .5rem solid #3b7dd8; padding-inline-start: .75rem; }
.good h1 { border-color: #2e8b57; }
.bad h1 { border-color: #d1383d; }
h2 { margin: 2rem 0 .5rem; font-size: 1.25rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: start; padding-bottom: .25rem; }
th, td { text-align: start; vertical-align: top; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #8886; }
th { font-weight: 600; }
thead th { white-space: nowrap; }
pre, code { font-family: ui-monospace, monospace; }
.number { text-align: end; white-space: nowrap; font-variant-numeric: tabular-nums; }
.drawn { width: 35%; }
.lanes { width: 60%; }
tbody th.inner { font-weight: 400; padding-inline-start: 1rem; }
pre { overflow-x: auto; white-space: pre-wrap; border: 1px solid #8886; padding: .75rem; font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0; }
svg { display: block; min-width: 5rem; }
@media (max-width: 40rem) {
 dl { display: block; }
 dd { margin-bottom: .5rem; }
 .drawn { width: 20%; }
}
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } tr, pre { break-inside: avoid; } }
"""


def page(story: Story, *, plain: bool = False) -> bytes:
    """The page, as UTF-8, of at most LARGEST bytes: lists are cut, and say what is left out, where it has to be.

    `plain` leaves out what servers may refuse, and browsers then complain of: the style sheet, and loading itself anew.
    """
    written = b""
    for share in _SHARES:
        written = _document(story, share, plain).encode()
        if len(written) <= LARGEST:
            break
    return written


def _document(story: Story, share: float, plain: bool) -> str:
    parts = [
        sections.cause(story, share), sections.facts(story), figures.times(story), figures.way(story, share),
        figures.pods(story, share), sections.tests(story, share), sections.said(story, share),
    ]  # fmt: skip
    body = tag("body", _header(story), tag("main", *parts), _footer(story), class_=story.state)
    return f"<!DOCTYPE html>\n{tag('html', _head(story, plain), body, lang='en')}\n"


def _head(story: Story, plain: bool) -> Markup:
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    styles = "'none'" if plain else f"'sha256-{allowed}'"
    policy = f"default-src 'none'; style-src {styles}; base-uri 'none'; form-action 'none'"
    again = story.state == "running" and not plain
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", http_equiv="refresh", content=REFRESH) if again else None,
        tag("title", unbroken(f"{MARKS[story.state]} {_name(story)}: {story.outcome}")),
        None if plain else tag("style", Markup(STYLE)),
    )


def _header(story: Story) -> Markup:
    took, when, main = duration(story.end - story.start), moment(story.start), story.main
    if story.state == "running":
        stages = [stage.name for stage in main.stages if stage.end is None]
        now = f"{main.command}, {stages[-1]}" if stages else main.command
        line = joined(f"At {now}, {took} after the start at ", when, ". Load the page again to see how it goes on.")
    elif main.exit_code is None:
        line = joined(f"{main.command} has no end: the last that is known of it is {took} after the start at ", when)
    else:
        line = joined(f"{main.command} ended with exit code {main.exit_code}, {took} after the start at ", when, ".")
    return tag("header", tag("h1", f"{MARKS[story.state]} {_name(story)}: {story.outcome}"), tag("p", line))


def _footer(story: Story) -> Markup:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    runs = ", ".join(f"{run.command} {run.id[:12]}" for run in story.runs[:20])
    return tag("footer", tag("p", joined(f"Made by cd-report at {made} from the events of these runs: {runs}.")))


def _name(story: Story) -> str:
    result = story.result
    where = result.get("environment")
    name = result.get("service") or result.get("release") or story.about.get("project") or story.main.command
    return f"{name} to {where}" if where and story.main.command in ("helm-deploy", "helm-rollback") else str(name)
