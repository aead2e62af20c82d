"""How a board is shown as it changes: drawn anew in a terminal, a line a change elsewhere, and as a page."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdlib.deadline import Deadline
    from cdlib.rollout.board import Board
    from cdlib.rollout.survey import Survey
    from cdlib.run import Run

_EVERY = 1.0  # seconds between two looks
_SHARE = 4.0  # times as long as a look took is paused after it, so that many releases cost the clusters little
_CLEAR = "\x1b[H\x1b[2J"


def columns() -> int | None:
    """How wide the terminal is on stdout; None where it is none, and lines may be as long as they are."""
    from cdlib.console import columns as wide

    return wide(sys.stdout)


def write_page(run: Run, board: dict[str, Any], page: Path, every: int = 0) -> None:
    """Write the board's page, whole or not at all."""
    from cdlib.files import replace_file
    from cdlib.report.board import page as html

    if run.would(f"write {page}"):
        return
    replace_file(page, html(board, every=every).encode("utf-8", "replace"))


def follow(run: Run, survey: Survey, deadline: Deadline, page: Path | None, *, draw: bool) -> Board:
    """Show the board and whatever changes, to the end of `deadline`; the last one."""
    from cdlib.console import printable
    from cdlib.report.boardtext import as_text, changes

    shown: dict[str, Any] = {"releases": []}
    while True:
        began = time.monotonic()
        board = survey.look(deadline)
        told: Any = run.redactor.value(board.as_dict())
        pause = max(_EVERY, _SHARE * (time.monotonic() - began))
        last = deadline.left <= pause
        if draw:  # the last one is printed as any other command's outcome
            sys.stdout.write(_CLEAR + ("" if last else f"{printable(as_text(told, columns()))}\n\n{told['at']}\n"))
            sys.stdout.flush()
        for line in changes(shown, told) if not draw else ():
            run.note(f"{told['at'][11:19]} {line}")
        if page:
            write_page(run, told, page, every=int(_EVERY) * 2)
        if last:
            return board
        shown = told
        time.sleep(pause)
