"""The play: all scenes in a row, and what they took."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.jenkins.http import Server
from lab.loop import config
from lab.loop.actors import Loop
from lab.loop.story import scenes
from lab.loop.story.measure import measure
from lab.loop.story.shares import OURS
from lab.loop.story.stage import SERVICE, Story

LIMIT = 1500.0  # seconds for all of it; it takes about three minutes


def play(loop: Loop, root: Path) -> None:
    """Play the story against the servers of `loop`, its files below `root`. Raises at the first surprise."""
    began, console = time.monotonic(), Console(sys.stdout)
    folder = root / "loop"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    alice = loop.clone(SERVICE, folder / SERVICE)
    deadline = Deadline(LIMIT, "the loop")
    story = Story(loop, alice, Server(**loop.jenkins()), console, folder, deadline)
    # What an earlier run has left live, held or quarantined is no part of this one.
    config.begin_anew(loop.places, SERVICE)
    change = scenes.failing_test(story)
    scenes.mended_while_it_runs(story, change)
    first = scenes.approved(story, change)
    chosen = story.command("helm-rollback", "--service", SERVICE, "--list")["revisions"][0]["revision"]
    newest = scenes.bare_vote(story, *scenes.three_at_once(story))
    scenes.crash(story, newest)
    scenes.operators(story, chosen, first)
    _close(story, folder / "loop.json", time.monotonic() - began)


def _close(story: Story, file: Path, seconds: float) -> None:
    """The table, and loop.json."""
    times = measure(story)
    document: dict[str, Any] = {"schema": "cd-loop/1", "seconds": round(seconds, 1), "times": times}
    file.write_text(json.dumps(document, indent=1) + os.linesep, encoding="utf-8")
    story.title("Times")
    for entry in times:
        story.console.line("", "", f"{entry['seconds']:7.1f} s  {entry['what']}")
        story.console.line("dim", "", f"{'':11}{_whose(entry['shares'])}")
    story.console.line("dim", "", "whose seconds they are: docs/benchmarks.md")
    story.console.line("dim", "", f"also in {file}")
    story.console.line("", "", "")
    story.console.line("ok", "", f"loop: ok in {seconds:.0f} s")


def _whose(shares: dict[str, float]) -> str:
    """Ours first, then the others, the longest first, without what is too short to matter."""
    others = sorted(((value, name) for name, value in shares.items() if name != OURS and value >= 0.05), reverse=True)
    return ", ".join(f"{name} {value:.1f}" for value, name in [(shares[OURS], OURS), *others])
