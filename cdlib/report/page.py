"""A run as one HTML file: no script, nothing from elsewhere, and readable where even its styles are forbidden.

Jenkins serves artifacts with a policy that forbids inline styles, so nothing may depend on them: the order, the
tables, the drawings (report.drawing) and light or dark hold without, and `plain` leaves them out, since a browser
complains of each that it refuses. Everything goes through report.html's `tag`.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

from cdlib.report import figures, sections
from cdlib.report.drawing import strip
from cdlib.report.html import Markup, joined, tag, unbroken
from cdlib.report.parts import duration, moment
from cdlib.report.story import Story

LARGEST = 2_000_000  # bytes
REFRESH = 5  # seconds, while it runs
_SHARES = (1.0, 0.3, 0.1, 0.03, 0.01)  # of what each list may hold, until the page is small enough
MARKS = {"good": "✓", "bad": "✗", "running": "…"}

STYLE = """
:root { color-scheme: light dark; --ground: #f3f4f6; --paper: #fff; --ink: #1b2026; --soft: #56606b; --line: #d9dee4;
  --link: #0b57b0; --code: #f7f8fa; --state: #2f6fce; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0e1116; --paper: #171b21; --ink: #e7eaee; --soft: #a3adb8; --line: #313943; --link: #8ab8ff;
    --code: #0f1318; }
}
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere;
  background: var(--ground); color: var(--ink); }
.good { --state: #2e8b57; }
.bad { --state: #d1383d; }
a { color: var(--link); }
header, section { background: var(--paper); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem 1.25rem;
  margin: 0 0 1rem; }
header { border-inline-start: .5rem solid var(--state); }
header svg { display: none; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; }
header p { margin: .5rem 0 0; color: var(--soft); }
h2 { margin: 0 0 .5rem; font-size: 1.15rem; line-height: 1.3; }
p, ul { margin: .5rem 0; }
ul { padding-inline-start: 1.25rem; }
section[aria-labelledby="cause"] { border-color: var(--state); }
.next { border-inline-start: .25rem solid var(--state); padding-inline-start: .75rem; margin-bottom: 0; }
pre, code { font-family: ui-monospace, monospace; }
pre { white-space: pre-wrap; background: var(--code); border: 1px solid var(--line); border-radius: .25rem;
  padding: .75rem; margin: .75rem 0; font-size: .875rem; line-height: 1.45; }
table { border-collapse: collapse; width: 100%; }
caption { color: var(--soft); text-align: start; padding-bottom: .5rem; }
th, td { text-align: start; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
th { font-weight: 400; }
thead th { color: var(--soft); font-size: .875rem; white-space: nowrap; }
th:last-child, td:last-child { padding-inline-end: 0; }
.number { text-align: end; white-space: nowrap; font-variant-numeric: tabular-nums; }
thead th.number { font-variant-numeric: normal; }
.facts th { width: 1%; white-space: nowrap; color: var(--soft); padding-inline-end: 1.5rem; }
.facts th, .word { overflow-wrap: normal; }
td.word { min-width: 7.5rem; }
.drawn { width: 35%; }
.lanes { width: 65%; }
.inner { padding-inline-start: 1rem; }
.inner small { font-size: inherit; }
svg { display: block; margin-top: .25rem; }
footer { color: var(--soft); font-size: .875rem; }
@media (max-width: 40rem) {
  body { padding: .5rem; }
  header, section { padding: .75rem; }
  h1 { font-size: 1.4rem; }
  table, thead th, pre { font-size: .8125rem; }
  th, td { padding-inline-end: .5rem; }
  .facts th { white-space: normal; padding-inline-end: .75rem; }
  .inner { padding-inline-start: .5rem; }
  .facts th, td.word { overflow-wrap: anywhere; min-width: 4.5rem; }
  .bar { display: none; }
  .lanes { width: 55%; }
}
@media print {
  :root { --ground: #fff; --paper: #fff; --code: #fff; --ink: #000; --soft: #333; --line: #bbb; --link: #000; }
  body { max-width: none; padding: 0; }
  header, section { border-width: 0 0 1px; border-radius: 0; padding: 0 0 1rem; }
  header { border-inline-start-width: .5rem; padding: .5rem .75rem; }
  h2, caption, thead { break-after: avoid; }
  tr { break-inside: avoid; }
}
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
    return tag(
        "header", strip(story.state), tag("h1", f"{MARKS[story.state]} {_name(story)}: {story.outcome}"), tag("p", line)
    )


def _footer(story: Story) -> Markup:
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    runs = ", ".join(f"{run.command} {run.id[:12]}" for run in story.runs[:20])
    return tag("footer", tag("p", joined(f"Made by cd-report at {made} from the events of these runs: {runs}.")))


def _name(story: Story) -> str:
    result = story.result
    where = result.get("environment")
    name = result.get("service") or result.get("release") or story.about.get("project") or story.main.command
    return f"{name} to {where}" if where and story.main.command in ("helm-deploy", "helm-rollback") else str(name)
