"""The history of a release for people: a table, or a list where the terminal is too narrow for one."""

from __future__ import annotations

import pytest

from cdlib.rollout.listing import Row, as_text
from cdlib.rollout.record import Record, Revision
from cdlib.table import width

WHY = "注文が失われた、e\u0301clair " * 9


def row(number: int, status: str, reason: str = "", live: bool = False) -> Row:
    digest = f"sha256:{number:064}"
    entry = Revision(number, f"{number}{'a' * 38}", f"r.test/hello@{digest}", digest, "c", "v", status,
                     "2026-03-02T09:14:00Z", "本", "run", reason=reason)  # fmt: skip
    return Row(entry, live, status == "failed", available=True, helm_status="deployed")


ROWS = [row(12, "failed", WHY), row(11, "verified", live=True)]
RECORD = Record("hello", "hello", hold={"since": "2026-03-02T09:15:00Z", "reason": WHY})


@pytest.mark.parametrize("limit", [*range(40, 201, 8), 41, 79])
def test_every_revision_is_told_at_every_width(limit: int) -> None:
    lines = as_text(ROWS, RECORD, limit).splitlines()
    assert max(map(width, lines)) <= limit
    text = " ".join(" ".join(lines).split())
    for word in ("failed (quarantined)", "verified (live)", "12aaaaaaaaaa", "11aaaaaaaaaa", "cd-hold --lift"):
        assert word in text
    assert ("COMMIT" in text) == (limit >= 95) and ("commit 1" in text) == (limit < 95)


def test_without_a_terminal_it_is_as_wide_as_it_is() -> None:
    lines = as_text(ROWS, RECORD).splitlines()
    assert lines[0].split() == ["REVISION", "WHEN", "COMMIT", "DIGEST", "STATE", "NOTE"] and WHY in lines[-1]
    assert as_text([], Record("hello", "hello")).split() == lines[0].split()
    assert "on hold" not in as_text(ROWS, Record("hello", "hello"), 40)
