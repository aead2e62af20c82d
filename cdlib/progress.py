"""That a stage still lasts: a last line that counts in a terminal, a line now and then where there is none."""

from __future__ import annotations

import threading
import time
from typing import Any

from cdlib.console import Console, titled

_EVERY = 1.0  # seconds between two looks
_SHOWN_AFTER = 1.0  # seconds that a stage has to last before a terminal shows it
SILENCE = 30.0  # seconds without a line after which a log gets one: some CIs end what is silent for minutes


class Progress:
    """A listener to events that tells a console of the innermost stage that is open, until `close`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open: list[tuple[str, float]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def on_event(self, event: dict[str, Any]) -> None:
        """The listener to hand to Events."""
        if event["event"] == "run_start" and self._console.columns is None:
            self._begin(str(event["command"]))  # a terminal has a prompt or a board there, where nothing may count
        elif event["event"] == "stage_start":
            self._begin(titled(event))
        elif event["event"] == "stage_end":
            with self._lock:
                mine = [index for index, (title, _) in enumerate(self._open) if title == titled(event)]
                if mine:
                    del self._open[mine[-1]]

    def tick(self) -> None:
        """Say how it stands, where that is due."""
        with self._lock:
            title, since = self._open[-1] if self._open else ("", 0.0)
        now = time.monotonic()
        seconds = now - since
        if not title:
            return
        if self._console.columns is not None:
            if seconds >= _SHOWN_AFTER:
                self._console.passing(f"… {title}", f"  {seconds:.0f} s")
        elif now - max(self._console.spoke, since) >= SILENCE:
            self._console.line("dim", "… ", f"{title}  {seconds:.0f} s so far")

    def close(self) -> None:
        """Say nothing any more, and leave no line that counts."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=_EVERY)
        self._console.passing("")

    def _begin(self, title: str) -> None:
        with self._lock:
            self._open.append((title, time.monotonic()))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY):
            self.tick()
