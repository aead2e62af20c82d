"""Tables of measurements, for people."""

from __future__ import annotations

from collections.abc import Sequence

from cdlib.console import Console
from cdlib.table import table


def show(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, in columns."""
    for line in table(heads, rows):
        console.line("", "", line)
