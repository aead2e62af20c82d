"""What is live where, as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape as markup
from typing import Any

from cdlib.report.boardtext import before, notes, since, summary, who
from cdlib.text import printable

Row = Mapping[str, Any]
_HEADS = ("State", "Environment", "Release", "Revision", "Commit", "Digest", "Since (UTC)", "By", "Before", "Notes")
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #b3261e; --good: #14692b }
@media (prefers-color-scheme: dark) { :root { --bad: #ffb4ab; --good: #86d993 } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem }
div { overflow-x: auto }
table { border-collapse: collapse; min-width: 60rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere }
td:nth-child(-n+4), td:nth-child(7) { white-space: nowrap }
.attention th { border-left: .3rem solid var(--bad); color: var(--bad) }
.verified th { color: var(--good) }
code { font: .9em ui-monospace, monospace }
"""


def page(board: Mapping[str, Any], *, every: int = 0) -> str:
    """The board as HTML; with `every`, browsers load it anew after so many seconds. All it holds is text."""
    again = f'<meta http-equiv="refresh" content="{every}">\n' if every else ""
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
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
{troubles}<div tabindex="0" role="region" aria-label="Releases">
<table>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</main>
</body>
</html>
"""


def _row(row: Row) -> str:
    kind = "attention" if row["attention"] else "verified" if row["verified"] else ""
    mark = "⚠ " if row["attention"] else ""
    name = _link(row["url"], f"{row['namespace']}/{row['release']}")
    by = _link(row["run_url"], who(row)) + (f"<br>change {escape(row['change'])}" if row["change"] else "")
    cells = (escape(row["environment"]), name, str(row["revision"] or ""), _code(row["commit"][:12]),
             _code(row["digest"]), escape(since(row)), by, escape(before(row)),
             "<br>".join(escape(note) for note in notes(row)))  # fmt: skip
    state = f'<th scope="row">{mark}{escape(row["state"])}</th>'
    return f'<tr class="{kind}">{state}{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def escape(text: str) -> str:
    """Text as markup: nothing in it is an element, or turns the line round."""
    return markup(printable(text))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _link(url: str, text: str) -> str:
    """A link, where the address is one that a browser only fetches; else the text alone."""
    if not url.startswith(("https://", "http://")):
        return escape(text)
    return f'<a href="{escape(url)}" rel="noreferrer">{escape(text or url)}</a>'
