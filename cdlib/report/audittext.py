"""The audit record for a terminal: one line an entry, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdlib.table import fitted, folded, table

_HEADS = ("", "N", "WHEN (UTC)", "EVENT", "RELEASE", "CHANGE", "BY", "WHAT")
MOST = 20  # problems that are shown
_LEAST = {"EVENT": 8, "RELEASE": 14, "BY": 12, "WHAT": 14}


def as_text(audit: Mapping[str, Any], limit: int | None = None) -> str:
    """What `audit` says, as the schema of results has it, in at most `limit` columns where there is room for it."""
    wrong = {problem["line"] for problem in audit["problems"]}
    rows = [_cells(entry, number in wrong) for number, entry in enumerate(audit["entries"], 1)]
    found = (fitted(_HEADS, rows, limit, _LEAST) if limit else None) or table(_HEADS, rows)
    ends = [f"! line {problem['line']}: {problem['text']}" for problem in audit["problems"][:MOST]]
    if (more := len(audit["problems"]) - MOST) > 0:
        ends.append(f"! and {more} more, which --json has")
    ends.append(_summary(audit))
    if limit:
        ends = [line for end in ends for line in folded(end, limit, "  ")]
    return "\n".join([*found, "", *ends])


def _summary(audit: Mapping[str, Any]) -> str:
    count, wrong = len(audit["entries"]), len(audit["problems"])
    many = "1 entry" if count == 1 else f"{count} entries"
    if wrong:
        return f"{many} in {audit['file']}, and the chain is broken"
    return f"{many} in {audit['file']}, each as it was written; the newest is {audit['hash']}"


def _cells(entry: Mapping[str, Any], wrong: bool) -> Sequence[str]:
    def said(name: str) -> str:
        return str(entry.get(name) or "")

    place = f"{said('namespace')}/{said('release')} ({said('environment')})" if entry.get("release") else ""
    what = [said("action"), said("permit"), said("digest")[:19], said("commit")[:12], said("reason"), said("message")]
    return ("!" if wrong else "", said("n"), said("t")[:19].replace("T", " "), said("event"), place, said("change"),
            said("by") or said("url") or said("who"), " ".join(filter(None, what)))  # fmt: skip
