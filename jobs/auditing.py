"""What cd-status shows of an audit record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cdlib.result import Result, unless
from jobs.board import columns


def audited(name: str, known: Sequence[str]) -> Result:
    """The audit record in the file `name`, by default that of CD_AUDIT, checked entry by entry.

    `known` are hashes that entries had before, and have to be among them. Raises Refused, with all of it, where it is
    not as it was written.
    """
    from cdlib.errors import Refused, UsageProblem
    from cdlib.report.audit import VARIABLE, read
    from cdlib.report.audittext import as_text

    name = name or os.environ.get(VARIABLE, "")
    if not name:
        raise UsageProblem("no audit record is named", hint=f"name its file by --audit FILE or {VARIABLE}")
    audit = read(Path(name), known)
    made: Result = {"audit": audit, "text": as_text(audit, columns())}
    problems = audit["problems"]
    if not problems:
        return made
    problem = Refused(
        f"the audit record {name} is not as it was written: line {problems[0]['line']}: {problems[0]['text']}",
        hint="compare it with a copy from elsewhere, and find out who may write it; then begin a new file",
    )
    return unless(problem, made)
