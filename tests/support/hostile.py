"""Text that would be more than text wherever it was not escaped, and runs that are full of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from cdlib.report.page import page
from cdlib.report.sources import gather_story
from cdlib.report.story import Tests

HOSTILE = (
    "<script>alert(1)</script>", "</title></style></pre><img src=x onerror=alert(1)>", '" onmouseover="alert(1)',
    "' style='x", "javascript:alert(1)", "http://x/\" onclick=\"1", "--><!--", "]]>", "&lt;b&gt;&#x3c;",
    "\x1b[2J\x1b]0;t\x07\x1b[31m", "a\u202eb\u2066c", "\x00\x08\x7f\x9b", "\ud800", "<svg/onload=alert(1)>", "one\u2028two\u2029three", "日本語 ñ",
    "{{7*7}}${x}", "a" * 5000,
)  # fmt: skip

# What is neither text nor a number that anything can be reckoned with.
ODD: tuple[Any, ...] = (
    [], {}, None, True, -1, 5, 0.5, 1e11, -1e11, 1e300, 10**400, float("nan"), float("inf"), [[]], {"a": {"b": []}},
    "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59",
)  # fmt: skip

# The same, as far as a program can print it and a log can hold it; the worst last, since the end of a log is shown.
PRINTED = tuple(text for text in reversed(HOSTILE) if not set(text) & {"\0", "\ud800"})


def planted(value: Any, pick: random.Random, keep: tuple[str, ...]) -> Any:
    """The same, with hostile text in every string save those under the keys that make it readable at all."""
    if isinstance(value, str):
        return pick.choice(HOSTILE) + (pick.choice(HOSTILE) if pick.random() < 0.5 else value)
    if isinstance(value, list):
        return [planted(each, pick, keep) for each in value]
    if isinstance(value, dict):
        return {key: each if key in keep else planted(each, pick, keep) for key, each in value.items()}
    return value


def retyped(value: Any, pick: random.Random, often: float = 0.15) -> Any:
    """The same, with things of other types, and other numbers, here and there at any depth."""
    if pick.random() < often:
        return pick.choice(ODD)
    if isinstance(value, list):
        return [retyped(each, pick, often) for each in value]
    if isinstance(value, dict):
        return {key: retyped(each, pick, often) for key, each in value.items()}
    return value


def retyped_run(runs: Path, folder: Path, seed: int) -> bytes:
    """The page of a recorded run in which values have other types; each file keeps one event that is whole."""
    pick = random.Random(seed)
    for file in runs.rglob("events.jsonl"):
        there = folder / file.relative_to(runs)
        there.parent.mkdir(parents=True, exist_ok=True)
        first, *lines = [json.loads(line) for line in file.read_text().splitlines()]
        first["cpu_s"] = pick.choice(ODD)
        made = [first, *(retyped(line, pick) for line in lines)]
        there.write_text("".join(json.dumps(line) + "\n" for line in made))
        result = json.loads(file.with_name("cd-result.json").read_text())
        result |= {"exit_code": pick.choice([result["exit_code"], None])}
        result["error"] = pick.choice([result.get("error"), {"message": "x", "hint": [], "details": pick.choice(ODD)}])
        changed = {key: retyped(each, pick, 0.3) for key, each in result.items()}
        there.with_name("cd-result.json").write_text(json.dumps(changed))
    return page(gather_story([folder], folder / "report.html", {}, ended=True))


def hostile(runs: Path, folder: Path, seed: int, *, plain: bool = False) -> bytes:
    """The page of a recorded run in which all text is hostile."""
    pick = random.Random(seed)
    for file in runs.rglob("events.jsonl"):
        there = folder / file.relative_to(runs)
        there.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        keep = ("t", "run", "event") if pick.random() < 0.5 else ("t", "run", "event", "command", "stage")
        there.write_text("".join(json.dumps(planted(line, pick, keep)) + "\n" for line in lines))
        result = json.loads(file.with_name("cd-result.json").read_text())
        there.with_name("cd-result.json").write_text(json.dumps(planted(result, pick, ("run",))))
    about = {key: pick.choice(HOSTILE) for key in ("change", "patchset", "project", "pipeline", "build", "url")}
    about |= {"source": "zuul", "who": HOSTILE[0] + HOSTILE[-2]}
    story = gather_story([folder], folder / "report.html", about, pick.choice([*HOSTILE, "https://review.example.org"]))
    story.tests = Tests([pick.choice(HOSTILE) for _ in range(20)], list(HOSTILE))
    story.evidence = []
    return page(story, plain=plain)
