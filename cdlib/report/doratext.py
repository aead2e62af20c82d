"""The DORA figures for a terminal. What nobody can know says so, and is no 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdlib.table import fitted, folded, table

NO_DATA = "no data"
_HEADS = (
    "ENV",
    "RELEASE",
    "DAYS",
    "DEPLOYMENT FREQUENCY",
    "LEAD TIME",
    "CHANGE FAILURE RATE",
    "TIME TO RESTORE",
    "NOTE",
)
_LEAST = {"RELEASE": 14, "NOTE": 20}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def as_text(told: Mapping[str, Any], limit: int | None = None) -> str:
    """The figures in at most `limit` columns, None for as many as it takes; `told` as the schema of results has it.

    A table, one release a line, or where that does not fit each release as a list.
    """
    cells = [_cells(row) for row in told["releases"]]
    found = table(_HEADS, cells) if limit is None else fitted(_HEADS, cells, limit, _LEAST)
    if found is None:
        found = [line for row in cells for line in _block(row, limit or 0)]
    summary = [_summary(told)] if limit is None else folded(_summary(told), limit, "  ")
    return "\n".join([*found, "", *summary])


def _block(cells: Sequence[str], limit: int) -> Iterator[str]:
    environment, release, *rest = cells
    yield from folded(f"{environment} {release}", limit, "  ")
    for head, cell in zip(_HEADS[2:], rest, strict=True):
        yield from folded(f"  {head.capitalize()}: {cell}", limit, "    ") if cell else []


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    known = f"{row['days']:.0f}" if row["days"] >= 1 else "<1"
    note = row["trouble"] or (f"{row['unrestored']} not restored yet" if row["unrestored"] else "")
    return (row["environment"], f"{row['namespace']}/{row['release']}", known if _has(row) else "", _frequency(row),
            _duration(row["lead_time_s"]), _rate(row), _duration(row["time_to_restore_s"]), note)  # fmt: skip


def _frequency(row: Mapping[str, Any]) -> str:
    rate = row["deployments_per_day"]
    if rate is None:
        return NO_DATA
    if rate >= 1 or rate == 0:
        return f"{rate:.1f} a day" if rate else "none"
    return f"{7 * rate:.1f} a week" if 7 * rate >= 1 else f"{30 * rate:.1f} in 30 days"


def _rate(row: Mapping[str, Any]) -> str:
    rate = row["change_failure_rate"]
    return NO_DATA if rate is None else f"{100 * rate:.0f} % ({row['failures']} of {row['deployments']})"


def _duration(seconds: float | None) -> str:
    """Seconds in at most two units."""
    if seconds is None:
        return NO_DATA
    for (unit, size), (smaller, small) in zip(_UNITS, (*_UNITS[1:], ("s", 1)), strict=True):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // small:.0f} {smaller}"
    return f"{seconds:.0f} s"


def _has(row: Mapping[str, Any]) -> bool:
    return row["deployments_per_day"] is not None


def _summary(told: Mapping[str, Any]) -> str:
    rows = told["releases"]
    known = [row for row in rows if _has(row)]
    releases = f"{len(rows)} release{'' if len(rows) == 1 else 's'}, {len(known)} with a history"
    return (
        f"{releases}; the last {told['days']} days to {told['at'][:16].replace('T', ' ')} UTC, or as many as are known"
    )
