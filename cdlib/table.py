"""Tables for terminals: columns as wide as what people see of them, in whatever script a name is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cdlib.text import printable

_GAP = 2  # blanks between columns
_MORE = "…"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, heads first. A cell is one line, without what could move the cursor."""
    lines = [[_cell(cell) for cell in line] for line in (heads, *rows)]
    return _laid_out(lines, _widths(lines))


def fitted(heads: Sequence[str], rows: Sequence[Sequence[str]], limit: int,
           least: Mapping[str, int]) -> list[str] | None:  # fmt: skip
    """The lines of a table that is at most `limit` columns wide; None where it cannot be.

    Columns named in `least` give way, the widest first, down to so many columns; what does not fit ends with `…`.
    """
    lines = [[_cell(cell) for cell in line] for line in (heads, *rows)]
    widths = _widths(lines)
    excess = sum(widths) + _GAP * (len(widths) - 1) - limit
    while excess > 0:
        flexible = [i for i, head in enumerate(heads) if widths[i] > least.get(head, limit)]
        if not flexible:
            return None
        widest = max(flexible, key=lambda i: widths[i])
        widths[widest] -= 1
        excess -= 1
    return _laid_out([[fit(cell, w) for cell, w in zip(line, widths, strict=True)] for line in lines], widths)


def width(text: str) -> int:
    """How many columns of a terminal `text` takes: wide characters take two, those that combine none."""
    if text.isascii():
        return len(text)
    import wcwidth

    return wcwidth.width(text, control_codes="ignore")


def fit(text: str, columns: int) -> str:
    """`text` as one line of at most so many columns, with `…` for what is left out."""
    text = _cell(text)
    if width(text) <= columns:
        return text
    if text.isascii():
        return text[: max(0, columns - 1)] + _MORE
    import wcwidth

    return wcwidth.clip(text, 0, max(0, columns - 1), control_codes="ignore").rstrip() + _MORE


def folded(text: str, columns: int, indent: str = "") -> list[str]:
    """`text` as lines of at most so many columns, cut between words; those after the first are indented."""
    lines = [""]
    for word in _cell(text).split():
        lead = " " if lines[-1].strip() else ""
        if lead and width(lines[-1]) + 1 + width(word) > columns:
            lines.append(indent)
            lead = ""
        lines[-1] += lead + fit(word, columns - width(lines[-1]) - len(lead))
    return lines


def _cell(text: str) -> str:
    return printable(text).replace("\n", " ")


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(width(line[i]) for line in lines) for i in range(len(lines[0]))]


def _laid_out(lines: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    def padded(cell: str, columns: int) -> str:
        return cell + " " * (columns - width(cell))

    gap = " " * _GAP
    return [gap.join(padded(cell, w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
