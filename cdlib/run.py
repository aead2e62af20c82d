"""What every step of a run is handed: the time left, where to report, and whether it may write."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Interrupted, UsageProblem, from_os_error
from cdlib.redact import Redactor
from cdlib.report.events import Events, Listener


@dataclass
class Run:
    """One run of one command. `out` is the folder for what it leaves behind: events, result, reports.

    Without `keeps` that folder cannot be written, and the run, which only looks, leaves nothing behind.
    `about` has the service and the environment once they are known, also where the run then fails.
    """

    command: str
    deadline: Deadline
    redactor: Redactor = field(default_factory=Redactor)
    events: Events = field(default=None)  # type: ignore[assignment]
    dry_run: bool = False
    out: Path = Path(".cd")
    keeps: bool = True
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.events is None:
            self.events = Events(self.command, self.redactor)

    @contextmanager
    def stage(self, name: str, about: str = "") -> Iterator[dict[str, Any]]:
        """A named part of the run: its start, its end, its seconds and how it ended are events.

        Yields a dict; what the caller puts there is added to the end event.
        """
        self.events.emit("stage_start", stage=name, about=about)
        started, found, outcome = time.monotonic(), dict[str, Any](), "defect"
        try:
            yield found
            outcome = "ok"
        except (CdError, Interrupted) as problem:
            outcome = problem.outcome
            raise
        finally:
            seconds = round(time.monotonic() - started, 3)
            end = {"stage": name, "about": about, "outcome": outcome, "seconds": seconds, **found}
            self.events.emit("stage_end", **end)

    def note(self, text: str) -> None:
        """A line that a person wants to read."""
        self.events.emit("note", text=text)

    def warn(self, text: str) -> None:
        """Something that is not as it should be, and does not end the run."""
        self.events.emit("warning", text=text)

    def output(self, line: str) -> None:
        """A line of a program's output, as it comes."""
        self.events.emit("output", line=line)

    def would(self, action: str) -> bool:
        """In a dry run, says what would be done, and returns True: the caller then leaves it undone."""
        if self.dry_run:
            self.events.emit("would", action=action)
        return self.dry_run


def begin(command: str, folder: Path, out: Path, listeners: Iterable[Listener], *, timeout: float,
          dry_run: bool, spare: bool = False) -> Run:  # fmt: skip
    """Begin a run in the work tree `folder`, which leaves what it makes in `out` and may take `timeout` seconds.

    With `spare` it goes on where `out` cannot be written, with a warning. Raises UsageProblem where there is no such
    folder, `out` cannot be written, or a link lies in it, and OSError.
    """
    if not folder.is_dir():
        raise UsageProblem(f"{folder} is no folder", hint="name the service's work tree by -C DIR")
    redactor, problem = Redactor(), None
    try:
        events = _opened(command, redactor, out)
    except OSError as caught:
        if not spare:
            raise _unwritable(out, caught) from caught
        events, problem = Events(command, redactor), caught
    for listener in listeners:
        events.listen(listener)
    events.emit("run_start", dry_run=dry_run, cpu_s=computed())
    run = Run(command, Deadline(timeout, command), redactor, events, dry_run, out, keeps=problem is None)
    if problem is not None:
        run.warn(f"nothing is kept of this run: {problem.filename or out}: {problem.strerror}")
    return run


def _opened(command: str, redactor: Redactor, out: Path) -> Events:
    """Events in `out`, which is made where it is missing. Raises UsageProblem where a link lies in it, and OSError."""
    for place in chain([out], out.rglob("*")):  # one by one: what a link leads to is never walked
        if place.is_symlink():  # a work tree that comes from a change could lead us anywhere
            raise UsageProblem(f"{place} is a symbolic link", hint="remove it, or name another folder by --out")
    if not out.exists():
        out.mkdir(parents=True)
        (out / ".gitignore").write_text("*\n")  # what a run leaves behind is no part of the service
    return Events(command, redactor, out / "events.jsonl")


def _unwritable(out: Path, problem: OSError) -> CdError:
    """The error for a folder of results that cannot be written; a full disk is told as anywhere else."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return from_os_error(problem)
    where = problem.filename or out
    return UsageProblem(f"{where}: {problem.strerror}", hint="name a folder that can be written by --out DIR (CD_OUT)")


def computed() -> float:
    """Seconds that this process has computed since its start; what its children did is not in it."""
    return round(time.process_time(), 3)
