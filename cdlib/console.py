"""What people see of a run, on stderr: stages with their times, notes, and the output of programs."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from cdlib.text import printable

__all__ = ["Console", "printable"]

_STYLES = {"ok": "32", "failed": "31;1", "warning": "33", "hint": "36", "dim": "2", "bold": "1"}


class Console:
    """Prints events for people. `quiet` leaves out the output of programs and the stages that went well."""

    def __init__(self, stream: TextIO | None = None, *, color: bool | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._color = _wants_color(self._stream) if color is None else color
        self._quiet = quiet

    def on_event(self, event: dict[str, Any]) -> None:
        """The listener to hand to Events."""
        kind = event["event"]
        if kind == "output" and not self._quiet:
            self.line("dim", "  │ ", str(event["line"]))
        elif kind == "note" and not self._quiet:
            self.line("", "  ", str(event["text"]))
        elif kind == "would":
            self.line("hint", "would ", str(event["action"]))
        elif kind == "warning":
            self.line("warning", "warning: ", str(event["text"]))
        elif kind == "serving" and not self._quiet:
            self.line("ok", "✓ ", f"serving  {event['release']} revision {event['revision']}  {event['seconds']:.1f} s")
        elif kind == "stage_end" and (not self._quiet or event["outcome"] != "ok"):
            self._stage(event)

    def _stage(self, event: dict[str, Any]) -> None:
        good = event["outcome"] == "ok"
        mark, style = ("✓ ", "ok") if good else ("✗ ", "failed")
        about = f"  {event['about']}" if event.get("about") else ""
        self.line(style, mark, f"{event['stage']}{about}  {event['seconds']:.1f} s")

    def line(self, style: str, lead: str, text: str) -> None:
        """One line, its lead in a style; what comes from outside cannot move the cursor."""
        paint = _STYLES.get(style) if self._color else None
        shown = f"\x1b[{paint}m{lead}\x1b[0m" if paint else lead
        try:
            self._stream.write(f"{shown}{printable(text)}\n")
            self._stream.flush()
        except OSError:
            return  # whoever read it has gone; a rollout goes on without
        except UnicodeEncodeError:
            self._stream.write(f"{lead}{printable(text)}\n".encode("ascii", "replace").decode())

    def problem(self, message: str, hint: str, details: tuple[str, ...]) -> None:
        """An error: what is wrong, what proves it, and what to do next."""
        self.line("failed", "error: ", message)
        for detail in details:
            self.line("", "  ", detail)
        if hint:
            self.line("hint", "next: ", hint)


def _wants_color(stream: TextIO) -> bool:
    """NO_COLOR (no-color.org) before FORCE_COLOR before whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
