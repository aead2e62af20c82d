"""What people see of a benchmark: its table, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cdlib.console import Console
from cdlib.errors import CdError
from cdlib.table import table


def show(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, in columns."""
    for line in table(heads, rows):
        console.line("", "", line)


@contextmanager
def telling(console: Console) -> Iterator[None]:
    """What fails in the block is said, and ends the benchmark with its exit code."""
    try:
        yield
    except CdError as problem:
        console.problem(problem.message, problem.hint, problem.details)
        raise SystemExit(problem.exit_code) from problem
