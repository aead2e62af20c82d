"""events.jsonl: what happened in a run, one JSON object a line, of which reports and timings are made.

Every line has `t` (RFC 3339), `run` (unique a run), `command` and `event`; the rest depends on the event.
Listeners get each event as it happens, and with them `output`, the lines of programs, which the file leaves
out: a build's log belongs to the log.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdlib.redact import Redactor
from cdlib.units import timestamp

Listener = Callable[[dict[str, Any]], None]


class Events:
    """Writes events, without secrets, to a file and to listeners. Threads may share one."""

    def __init__(self, command: str, redactor: Redactor, path: Path | None = None) -> None:
        self.run_id = uuid.uuid4().hex
        self._command = command
        self._redactor = redactor
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._file = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", errors="replace")

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each event from now on."""
        self._listeners.append(listener)

    def emit(self, event: str, **fields: Any) -> None:
        """Record one event."""
        told = self._redactor.value(fields)
        assert isinstance(told, dict)
        clean = {"t": timestamp(), "run": self.run_id, "command": self._command, "event": event, **told}
        with self._lock:
            if self._file is not None and event != "output":
                with suppress(OSError):  # a full disk must not end a rollout half way
                    self._file.write(json.dumps(clean, ensure_ascii=False) + "\n")
                    self._file.flush()
            for listener in self._listeners:
                listener(clean)

    def close(self) -> None:
        """Close the file; later events reach listeners only."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
                self._file = None
