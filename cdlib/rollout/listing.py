"""The history of a release: its revisions with what Helm says of them, for a program and for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cdlib.deadline import Deadline
from cdlib.rollout.lease import require_namespace
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.release import Release
from cdlib.table import fit, fitted, folded, table

_LONGEST_NOTE = 80  # columns


@dataclass(frozen=True)
class Row:
    """One revision as people need it. `available` is false where Helm has dropped it from its history."""

    entry: Revision
    live: bool
    quarantined: bool
    available: bool
    helm_status: str

    def as_dict(self) -> dict[str, Any]:
        """The row for --json."""
        e = self.entry
        return {"revision": e.revision, "at": e.at, "commit": e.commit, "digest": e.digest, "status": e.status,
                "verified": e.verified, "live": self.live, "quarantined": self.quarantined, "available": self.available,
                "helm_status": self.helm_status, "by": e.by, "change": e.change, "rollback_of": e.rollback_of,
                "reason": e.reason}  # fmt: skip


def rows(release: Release, deadline: Deadline) -> tuple[Record, list[Row]]:
    """The record, and its revisions with what Helm says of them, newest first."""
    require_namespace(release.api, release.environment.namespace, deadline)
    record, history = release.read(deadline)
    helm = {each.revision: each.status for each in history}
    found = [
        Row(
            e,
            e.revision == record.live,
            e.digest in record.quarantine,
            e.revision in helm,
            helm.get(e.revision, "gone"),
        )
        for e in reversed(record.revisions)
    ]
    return record, found


def as_text(history: list[Row], record: Record, limit: int | None = None) -> str:
    """The history for a terminal of `limit` columns, newest first; None for as many as it takes."""
    heads, cells = ("REVISION", "WHEN", "COMMIT", "DIGEST", "STATE", "NOTE"), [_cells(row) for row in history]
    found = table(heads, cells) if limit is None else fitted(heads, cells, limit, {"NOTE": 14})
    if found is None:
        found = [line for cell in cells for line in _block(heads, cell, limit or 0)]
    if record.hold:
        held = f"on hold since {record.hold.get('since')}: {record.hold.get('reason')} (lift it by: cd-hold --lift)"
        found += ["", *([held] if limit is None else folded(held, limit, "  "))]
    return "\n".join(found)


def _block(heads: tuple[str, ...], cells: tuple[str, ...], limit: int) -> list[str]:
    """A revision as a few lines, where a table would be too wide."""
    told = [f"{head.lower()} {cell}" for head, cell in zip(heads, cells, strict=True) if cell]
    return [*folded(told[0], limit), *(f"  {part}" for line in told[1:] for part in folded(line, limit - 2, "  "))]


def _cells(row: Row) -> tuple[str, ...]:
    entry = row.entry
    marks = [
        word
        for word, holds in (("live", row.live), ("quarantined", row.quarantined), ("gone", not row.available))
        if holds
    ]
    state = entry.status + (f" ({', '.join(marks)})" if marks else "")
    note = f"rollback to {entry.rollback_of}: {entry.reason}" if entry.rollback_of else entry.reason
    return (str(entry.revision), entry.at[:19].replace("T", " "), entry.commit[:12], entry.digest[7:19], state,
            fit(note, _LONGEST_NOTE))  # fmt: skip
