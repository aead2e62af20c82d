"""Tables of measurements, for people."""

from __future__ import annotations

from collections.abc import Sequence

from cdlib.console import Console


def show(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, in columns."""
    widths = [max(len(line[i]) for line in (heads, *rows)) for i in range(len(heads))]
    for line in (heads, *rows):
        console.line("", "", "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
