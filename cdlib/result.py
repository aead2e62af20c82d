"""What a command made, or how it failed: the JSON object of `--json` and of cd-result.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdlib.errors import CdError

SCHEMA = "cd-result/1"
FILE = "cd-result.json"
Result = dict[str, Any]  # what a command made; `text` is what stdout gets without --json


def unless(problem: CdError | None, made: Result) -> Result:
    """What a command made; where there is a problem all the same, that is raised, and tells of it."""
    if problem is not None:
        problem.made = made
        raise problem
    return made


def of_problem(problem: CdError) -> Result:
    """The result of an expected error, with what the command had made by then."""
    error = {"message": problem.message, "hint": problem.hint, "details": list(problem.details)}
    return {"outcome": problem.outcome, "exit_code": problem.exit_code, **problem.made, "error": error}


def of_defect(trace: str, clean: Callable[[str], str]) -> Result:
    """The result of an error that nobody expected, by its traceback; `clean` takes secrets out."""
    message = clean(f"a defect of ours: {trace.strip().splitlines()[-1]}")
    hint = "please report it with the traceback, which is in events.jsonl"
    return {"outcome": "defect", "exit_code": 1, "error": {"message": message, "hint": hint, "details": []}}


def keep(out: Path, result: Result) -> None:
    """Leave the result, which has no secrets any more, in the folder `out`, whole or not at all. Raises OSError."""
    from cdlib.files import replace_file

    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    replace_file(out / FILE, text.encode("utf-8", "replace"))
