"""Build logs read as they come: which step failed, and what it said last."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from cdlib.image.lines import LONGEST

KEPT = 15  # lines of the failing step
_VERTEX = re.compile(r"#(\d+) (.*)")
_SAID = re.compile(r"\d+\.\d+ (.*)")  # BuildKit leads a step's own output by its seconds
_NOISE = re.compile(r"(?:sha256:[0-9a-f]{64}|transferring |DONE |CACHED|naming to |writing image |exporting )")
_CACHE = "importing cache manifest"


class BuildKitLog:
    """The output of `docker build --progress=plain`, by BuildKit of any version."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._said: dict[str, deque[str]] = {}
        self._failed: list[str] = []
        self._errors: dict[str, str] = {}
        self._outside: deque[str] = deque(maxlen=KEPT)

    def feed(self, line: str) -> None:
        """Take one line."""
        vertex = _VERTEX.match(line)
        if vertex is None:
            if line.strip(" -"):
                self._outside.append(line)
            return
        number, text = vertex[1], vertex[2]
        said = _SAID.match(text)
        if said:
            self._said.setdefault(number, deque(maxlen=KEPT)).append(said[1])
        elif text.startswith("ERROR: "):
            self._errors[number] = text.removeprefix("ERROR: ")
            self._failed.append(number)
        elif number not in self._names and not _NOISE.match(text):
            self._names[number] = text

    @property
    def step(self) -> str:
        """The step that failed, as BuildKit names it; empty where none did."""
        number = self._number
        return self._names.get(number, "") if number else ""

    @property
    def lines(self) -> list[str]:
        """What the failing step said last, and why it failed; where no step failed, what stands outside of all."""
        number = self._number
        if not number:
            return list(self._outside)[-KEPT:]
        return [*self._said.get(number, ()), self._errors[number]][-KEPT:]

    @property
    def _number(self) -> str:
        """The first step that failed by itself: a cache that is missing fails no build, others were only cancelled."""
        real = [n for n in self._failed if not self._names.get(n, "").startswith(_CACHE)]
        real = [n for n in real if self._errors[n] not in ("context canceled", "canceled")] or real
        return real[0] if real else ""


class EngineLog:
    """The stream of the Engine's own builder, one JSON object an item."""

    def __init__(self) -> None:
        self.step = ""
        self.error = ""
        self._said: deque[str] = deque(maxlen=KEPT)
        self._partial = ""

    def feed(self, item: Mapping[str, Any]) -> list[str]:
        """Take one item; returns the lines that it completes, to be shown."""
        if "error" in item:
            self.error = str(item["error"])
            return []
        if item.get("status") and "progress" not in item:
            return [": ".join(filter(None, (str(item.get("id", "")), str(item["status"]))))]
        *lines, self._partial = (self._partial + str(item.get("stream", ""))).split("\n")
        if len(self._partial) > LONGEST:  # what says no line end at all
            lines, self._partial = [*lines, self._partial], ""
        lines = [line[:LONGEST] for line in lines]
        for line in lines:
            if re.match(r"Step \d+/\d+ : ", line):
                self.step = line
                self._said.clear()
            elif line.strip() and not line.startswith((" --->", "Removing intermediate container")):
                self._said.append(line)
        return [line for line in lines if line.strip()]

    @property
    def lines(self) -> list[str]:
        """What the failing step said last, and why it failed."""
        return [*self._said, *filter(None, [self._partial, self.error])][-KEPT:]
