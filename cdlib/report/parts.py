"""What sections are made of: headings, tables, times, and lists that are cut where they are too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from cdlib.report.html import Markup, joined, tag

Item = TypeVar("Item")


def section(heading: str, *children: object) -> Markup:
    """A section, named by its heading for readers of the screen."""
    name = "".join(c for c in heading.lower().replace(" ", "-") if c.isalpha() or c == "-")
    return tag("section", tag("h2", heading, id=name), *children, aria_labelledby=name)


def table(caption: str, heads: Sequence[Markup], rows: Iterable[Markup]) -> Markup:
    """A table; its caption says what the figures are. Its attributes of old are for where styles are forbidden."""
    said = tag("caption", tag("div", caption, align="left"))
    return tag("table", said, tag("thead", tag("tr", *heads)), tag("tbody", *rows), width="100%", cellpadding=4,
               cellspacing=0)  # fmt: skip


def head(words: str, class_: str | None = None) -> Markup:
    """What heads a column of text, or of drawings."""
    return tag("th", words, scope="col", align="left", class_=class_)


def amount(words: str) -> Markup:
    """What heads a column of numbers."""
    return tag("th", words, scope="col", align="right", class_="number")


def row(name: object, *cells: Markup, class_: str | None = None) -> Markup:
    """A row that its first cell names."""
    return tag("tr", tag("th", name, scope="row", class_=class_, align="left"), *cells)


def cell(*children: object, class_: str | None = None) -> Markup:
    """A cell of text, or of a drawing."""
    return tag("td", *children, class_=class_)


def figure(said: object) -> Markup:
    """A cell with a number."""
    return tag("td", said, class_="number", align="right")


def first(items: Sequence[Item], most: int, share: float) -> tuple[Sequence[Item], Markup | None]:
    """As many items as the page may hold, and how many are left out, if any."""
    kept = max(1, round(most * share))
    left = len(items) - kept
    return items[:kept], tag("p", f"{left} more are left out here: events.jsonl has them.") if left > 0 else None


def value(found: Any) -> Markup:
    """A value of a result as text: a list by its items, an object by its keys."""
    if isinstance(found, dict):
        found = [f"{key} {each}" for key, each in found.items() if each not in ("", None)]
    if isinstance(found, list):
        return joined(", ".join(str(each)[:300] for each in found[:20]))
    return joined(found)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min {rest} s" if hours else f"{minutes} min {rest} s"


def moment(seconds: float) -> Markup:
    """A time of day, in UTC."""
    when = datetime.fromtimestamp(seconds, UTC)
    return tag("time", when.strftime("%Y-%m-%d %H:%M:%S UTC"), datetime=when.strftime("%Y-%m-%dT%H:%M:%SZ"))
