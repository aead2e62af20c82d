"""What is live where, for a terminal: a table, or, where that is too narrow, a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdlib.table import fitted, folded, table

Board = Mapping[str, Any]  # as the schema of results has it
Row = Mapping[str, Any]

_WIDE = ("", "ENV", "RELEASE", "REV", "STATE", "COMMIT", "DIGEST", "SINCE (UTC)", "BY", "BEFORE", "NOTE")
_MEDIUM = ("", "ENV", "RELEASE", "REV", "STATE", "COMMIT", "SINCE (UTC)", "NOTE")
_NARROW = ("", "ENV", "RELEASE", "REV", "STATE", "COMMIT", "NOTE")
_LEAST = {"ENV": 8, "RELEASE": 14, "BY": 12, "BEFORE": 14, "NOTE": 14}

_ADVICE = {
    "stuck": "its run died: run it again, which clears up first",
    "interrupted": "run it again, which goes on or rolls back",
    "unrecorded": "Helm has it, and none of our runs made it",
}


def as_text(board: Board, limit: int | None = None) -> str:
    """The board in at most `limit` columns; None for as many as it takes.

    The fewer there are, the fewer columns the table has; below some 75 it is a list, which has everything again.
    """
    rows, ends = board["releases"], [summary(board)]
    found = _columns(rows, limit)
    if found is None:
        found = [line for row in rows for line in _block(row, limit or 0)]
    else:  # what a person should look at is never cut short
        cut = [row for row, line in zip(rows, found[1:], strict=True) if row["attention"] and "…" in line]
        ends = [*(f"! {_name(row)}: {_heard(row)}" for row in cut), *ends]
    if limit is not None:
        ends = [line for end in ends for line in folded(end, limit, "  ")]
    return "\n".join([*found, "", *ends])


def _columns(rows: Sequence[Row], limit: int | None) -> list[str] | None:
    """The widest table that fits, without columns that nothing stands in; None where none does."""
    cells = [dict(zip(_WIDE, _cells(row), strict=True)) for row in rows]
    empty = {head for head in _WIDE if not any(cell[head] for cell in cells)} - {"RELEASE"}
    for chosen in (_WIDE, _MEDIUM, _NARROW):
        heads = [head for head in chosen if head not in empty]
        lines = [[cell[head] for head in heads] for cell in cells]
        found = table(heads, lines) if limit is None else fitted(heads, lines, limit, _LEAST)
        if found is not None:
            return found
    return None


def summary(board: Board) -> str:
    """One sentence: how many releases there are, and in which states."""
    rows = board["releases"]
    states = Counter(row["state"] for row in rows)
    parts = [f"{count} {state}" for state, count in states.most_common()]
    for word, what in (("on hold", "hold"), ("quarantined", "quarantined"), ("changed by hand", "drift")):
        if count := sum(bool(row[what]) for row in rows):
            parts.append(f"{count} {word}")
    return (
        f"{_count(len(rows), 'release')} in {_count(len(board['clusters']), 'cluster')}: {', '.join(parts) or 'none'}"
    )


def changes(before: Board, after: Board) -> Iterator[str]:
    """One line for each release that is not as it was; also the very first board is news, as far as it moves."""
    known = {_name(row): _heard(row) for row in before["releases"]}
    for row in after["releases"]:
        if known.get(_name(row)) != _heard(row):
            yield f"{_name(row)}: {_heard(row)}"


def who(row: Row) -> str:
    """Who deployed it, without host, process and number of the run, and the permit that allowed it."""
    by = str(row["by"])
    parts = by.rsplit("/", 3)
    return " ".join(filter(None, (parts[0] if len(parts) == 4 else by, row["permit"])))


def since(row: Row) -> str:
    """When it was deployed, in UTC, to the minute."""
    return str(row["since"])[:16].replace("T", " ")


def before(row: Row) -> str:
    """What came before it."""
    b = row["before"]
    return f"{b['revision']} {b['commit'][:8]} {b['status']}" if b else ""


def notes(row: Row) -> list[str]:
    """What else there is to say, the most urgent first."""
    found = [row["trouble"], _ADVICE.get(row["state"], ""), row["progress"]]
    found += [f"held by {row['holder']}"] if row["holder"] else []
    found += [f"Helm: {row['helm_status']}"] if row["helm_status"] not in ("", "deployed") else []
    found += [f"drift: {'; '.join(row['drift'])}"] if row["drift"] else []
    found += ["its image is quarantined"] if row["quarantined"] else []
    found += [f"on hold: {row['hold'].get('reason')}"] if row["hold"] else []
    back = f"rollback to {row['rollback_of']}" if row["rollback_of"] else ""
    found.append(": ".join(filter(None, (back, row["reason"]))))
    return [str(each) for each in found if each]


def _cells(row: Row) -> list[str]:
    return ["!" if row["attention"] else "", row["environment"], f"{row['namespace']}/{row['release']}",
            str(row["revision"] or ""), row["state"], row["commit"][:12], row["digest"][7:19], since(row), who(row),
            before(row), "; ".join(notes(row))]  # fmt: skip


def _block(row: Row, limit: int) -> Iterator[str]:
    """A release as a few lines."""
    lead = "! " if row["attention"] else ""
    of = f"revision {row['revision']}, {row['commit'][:12]}" if row["revision"] else ""
    told = (("", of), ("image ", row["digest"][:19]), ("since ", since(row)), ("by ", who(row)),
            ("before ", before(row)))  # fmt: skip
    yield from folded(f"{lead}{row['state']} {_name(row)}", limit, "  ")
    for line in (*(f"{label}{text}" for label, text in told if text), *notes(row)):
        yield from (f"  {part}" for part in folded(line, limit - 2, "  "))


def _name(row: Row) -> str:
    return f"{row['environment']} {row['namespace']}/{row['release']}"


def _heard(row: Row) -> str:
    of = f", revision {row['revision']} ({row['commit'][:12]})" if row["revision"] else ""
    more = "; ".join(notes(row))
    return f"{row['state']}{of}{': ' if more else ''}{more}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
