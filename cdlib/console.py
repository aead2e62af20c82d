"""What people see of a run, on stderr: stages with their times, notes, and the output of programs."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any, TextIO

from cdlib.folding import Fold, fold
from cdlib.table import fit
from cdlib.text import printable

__all__ = ["Console", "columns", "printable", "titled"]

_STYLES = {"ok": "32", "failed": "31;1", "warning": "33", "hint": "36", "dim": "2", "bold": "1"}
_ERASE = "\r\x1b[K"


def columns(stream: TextIO) -> int | None:
    """How wide the terminal is that `stream` writes to; None where it is none, and lines may be as long as they are."""
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def titled(event: dict[str, Any]) -> str:
    """What a stage is called, in one line."""
    about = f"  {event['about']}" if event.get("about") else ""
    return printable(f"{event['stage']}{about}").replace("\n", " ")


class Console:
    """Prints events for people. `quiet` leaves out the output of programs and the stages that went well.

    `color` None means: as the environment and the stream have it. Threads may share one.
    """

    def __init__(self, stream: TextIO | None = None, *, color: bool | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._color = _wants_color(self._stream) if color is None else color
        self._quiet = quiet
        self._lock = threading.RLock()
        self._passing = False  # whether the last line is one that the next takes the place of
        self._stage = ""
        self._fold: Fold | None = None
        self.spoke = time.monotonic()  # when the last line was printed

    @property
    def columns(self) -> int | None:
        """How wide the terminal is; None where there is none, or one that cannot take a line back."""
        return columns(self._stream) if os.environ.get("TERM") != "dumb" else None

    def on_event(self, event: dict[str, Any]) -> None:
        """The listener to hand to Events."""
        kind = event["event"]
        if kind == "output":
            self._output(str(event["line"]))
            return
        self._unfold()
        if kind == "stage_start":
            self._stage = titled(event)
        elif kind == "note" and not self._quiet:
            self.line("", "  ", str(event["text"]))
        elif kind == "would":
            self.line("hint", "would ", str(event["action"]))
        elif kind == "warning":
            self.line("warning", "warning: ", str(event["text"]))
        elif kind == "serving" and not self._quiet:
            self.line("ok", "✓ ", f"serving  {event['release']} revision {event['revision']}  {event['seconds']:.1f} s")
        elif kind == "stage_end" and (not self._quiet or event["outcome"] != "ok"):
            good = event["outcome"] == "ok"
            mark, style = ("✓ ", "ok") if good else ("✗ ", "failed")
            self.line(style, mark, f"{titled(event)}  {event['seconds']:.1f} s")

    def line(self, style: str, lead: str, text: str) -> None:
        """One line, its lead in a style; what comes from outside cannot move the cursor."""
        paint = _STYLES.get(style) if self._color else None
        shown = f"\x1b[{paint}m{lead}\x1b[0m" if paint else lead
        self._write(f"{shown}{printable(text)}\n")

    def passing(self, text: str, tail: str = "") -> None:
        """A last line in a terminal, which the next line takes the place of; empty for none.

        Where the terminal is too narrow, `text` is cut, and `tail` is not.
        """
        with self._lock:
            width = self.columns
            if width is None or not (text or self._passing):
                return
            shown = fit(text, max(1, width - 1 - len(tail))) + tail if text else ""
            self._write(f"\x1b[2m{shown}\x1b[0m" if self._color and shown else shown)
            self._passing = bool(text)

    def problem(self, message: str, hint: str, details: tuple[str, ...]) -> None:
        """An error: what is wrong, what proves it, and what to do next."""
        self._unfold()
        self.line("failed", "error: ", message)
        for detail in details:
            self.line("", "  ", detail)
        if hint:
            self.line("hint", "next: ", hint)

    def _output(self, line: str) -> None:
        if self._quiet:
            return
        if self._fold is None:
            self._fold = fold(self._stage or "output")
            if self._fold is not None:
                self._write(f"{self._fold.begin}\n")
        self.line("dim", "  │ ", line)

    def _unfold(self) -> None:
        if self._fold is not None:
            self._write(f"{self._fold.end}\n")
            self._fold = None

    def _write(self, text: str) -> None:
        with self._lock:
            lead, self._passing = _ERASE if self._passing else "", False
            self.spoke = time.monotonic()
            try:
                self._stream.write(lead + text)
                self._stream.flush()
            except UnicodeEncodeError:
                self._stream.write(lead + text.encode("ascii", "replace").decode())
            except OSError:
                return  # whoever read it has gone; a rollout goes on without


def _wants_color(stream: TextIO) -> bool:
    """NO_COLOR (no-color.org) before FORCE_COLOR (force-color.org) before whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
