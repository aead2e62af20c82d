"""What is live where, as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape as markup
from typing import Any

from cdlib.report.boardtext import before, notes, since, summary, who
from cdlib.text import printable

Row = Mapping[str, Any]
_HEADS = ("State", "Environment", "Release", "Revision", "Commit and image", "Since (UTC)", "By", "Before", "Notes")
_WRAPPED = ("Commit and image", "By", "Notes")  # whose words are broken where that makes the column narrower
_STYLE = """
:root { color-scheme: light dark; --ground: #f3f4f6; --paper: #fff; --ink: #1b2026; --soft: #56606b; --line: #d9dee4;
  --link: #0b57b0; --bad: #b3261e; --good: #14692b; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0e1116; --paper: #171b21; --ink: #e7eaee; --soft: #a3adb8; --line: #313943; --link: #8ab8ff;
    --bad: #ffb4ab; --good: #86d993; }
}
* { box-sizing: border-box; }
body { font: .9375rem/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 100rem; padding: 1rem;
  background: var(--ground); color: var(--ink); overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; }
p { color: var(--soft); margin: .5rem 0 1rem; }
p strong { color: var(--bad); }
a { color: var(--link); }
table { border-collapse: collapse; width: 100%; background: var(--paper); border: 1px solid var(--line); }
th, td { text-align: start; vertical-align: top; padding: .5rem .75rem; border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 400; font-size: .875rem; white-space: nowrap; }
tbody th { border-inline-start: .3rem solid var(--line); white-space: nowrap; }
th, .word { overflow-wrap: normal; }
td[data-head=By] { min-width: 6rem; }
td { min-width: 5.5rem; }
code { font: .9em ui-monospace, monospace; }
.digest { color: var(--soft); font-size: .8em; }
.attention th { border-inline-start-color: var(--bad); color: var(--bad); }
.verified th { border-inline-start-color: var(--good); color: var(--good); }
@media screen and (max-width: 60rem) {
  body { padding: .5rem; }
  table, tbody { display: block; border: 0; background: none; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { display: block; background: var(--paper); border: 1px solid var(--line); margin-bottom: .5rem; }
  tbody th, td { display: block; border-bottom: 0; padding: .2rem .75rem; }
  tbody th { padding-block: .5rem .2rem; font-size: 1.1rem; }
  th, .word { overflow-wrap: anywhere; }
  td:empty { display: none; }
  td::before { content: attr(data-head) ": "; color: var(--soft); }
}
@media print {
  :root { --ground: #fff; --paper: #fff; --ink: #000; --soft: #333; --link: #000; }
  tr { break-inside: avoid; }
}
"""


def page(board: Mapping[str, Any], *, every: int = 0) -> str:
    """The board as HTML; with `every`, browsers load it anew after so many seconds. All it holds is text."""
    again = f'<meta http-equiv="refresh" content="{every}">\n' if every else ""
    heads = "".join(f'<th role="columnheader" scope="col">{head}</th>' for head in _HEADS)
    troubles = "".join(
        f"<p><strong>{escape(', '.join(c['environments']))}: {escape(c['trouble'])}</strong></p>\n"
        for c in board["clusters"] if not c["answers"]
    )  # fmt: skip
    rows = "\n".join(_row(row) for row in board["releases"])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{again}<title>What is live where</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>What is live where</h1>
<p>{escape(summary(board))}. As of <time>{escape(board["at"])}</time>.</p>
{troubles}<table role="table" aria-label="Releases">
<thead role="rowgroup"><tr role="row">{heads}</tr></thead>
<tbody role="rowgroup">
{rows}
</tbody>
</table>
</main>
</body>
</html>
"""


def _row(row: Row) -> str:
    """A row; on a phone each cell is a line, so that the roles have to be said, and each cell has its head with it."""
    kind = "attention" if row["attention"] else "verified" if row["verified"] else ""
    mark = "⚠ " if row["attention"] else "✓ " if row["verified"] else ""
    name = _link(row["url"], f"{row['namespace']}/{row['release']}")
    by = _link(row["run_url"], who(row)) + (f"<br>change {escape(row['change'])}" if row["change"] else "")
    what = "<br>".join(filter(None, (_code(row["commit"][:12]), _code(row["digest"], "digest"))))
    cells = (escape(row["environment"]), name, str(row["revision"] or ""), what, escape(since(row)), by,
             escape(before(row)), "<br>".join(escape(note) for note in notes(row)))  # fmt: skip
    told = "".join(
        f'<td role="cell" data-head="{head}" class="{"" if head in _WRAPPED else "word"}">{cell}</td>'
        for head, cell in zip(_HEADS[1:], cells, strict=True)
    )
    state = f'<th role="rowheader" scope="row">{mark}{escape(row["state"])}</th>'
    return f'<tr role="row" class="{kind}">{state}{told}</tr>'


def escape(text: str) -> str:
    """Text as markup: nothing in it is an element, or turns the line round."""
    return markup(printable(text))


def _code(text: str, class_: str = "commit") -> str:
    return f'<code class="{class_}">{escape(text)}</code>' if text else ""


def _link(url: str, text: str) -> str:
    """A link, where the address is one that a browser only fetches; else the text alone."""
    if not url.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(text or url)}</a>'
