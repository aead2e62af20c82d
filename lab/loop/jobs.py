"""What the supervisor's own jobs have in common: an error becomes a message in the log, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cdlib.console import Console
from cdlib.errors import CdError
from lab.layout import Layout
from lab.loop.places import Places


def main(job: Callable[[Places], None]) -> None:
    """Run `job` for the lab whose LAB_ROOT is the only argument."""
    try:
        job(Places(Layout(Path(sys.argv[1]))))
    except CdError as problem:
        Console().problem(problem.message, problem.hint, problem.details)
        sys.exit(problem.exit_code)
