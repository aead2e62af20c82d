"""What happens after the steps: files archived, reports of tests read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.jenkins import globs, junit
from lab.jenkins.definition import Archive, JUnit
from lab.jenkins.store import Build

_ORDER = ("SUCCESS", "UNSTABLE", "FAILURE", "ABORTED")


@dataclass(frozen=True)
class Stepped:
    """A build whose steps are over: where it has left what, and what adds a line to its log."""

    build: Build
    workspace: Path
    archive: Path
    say: Callable[[str], None]


def publish(stepped: Stepped, publishers: Iterable[Archive | JUnit], result: str) -> str:
    """Run the publishers in their order; returns the result, which they may only make worse."""
    for publisher in publishers:
        found = _archive(stepped, publisher, result) if isinstance(publisher, Archive) else _tests(stepped, publisher)
        result = max(result, found, key=_ORDER.index)
    return result


def _archive(stepped: Stepped, archive: Archive, result: str) -> str:
    if archive.only_if_successful and result != "SUCCESS":
        return result
    stepped.say("Archiving artifacts")
    files = globs.find(stepped.workspace, archive.patterns, archive.excludes)
    if not files and not archive.allow_empty:
        stepped.say(f'ERROR: No artifacts found that match the file pattern "{archive.patterns}".')
        return "FAILURE"
    for file in files:
        (stepped.archive / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stepped.workspace / file, stepped.archive / file)
    stepped.build.artifacts += files
    return "SUCCESS"


def _tests(stepped: Stepped, reports: JUnit) -> str:
    stepped.say("Recording test results")
    files = globs.find(stepped.workspace, reports.patterns)
    if not files:
        if reports.allow_empty:
            return "SUCCESS"
        stepped.say("ERROR: Step ‘Publish JUnit test result report’ failed: No test report files were found.")
        return "FAILURE"
    stepped.build.tests = junit.collect(stepped.workspace, files)
    return "UNSTABLE" if stepped.build.tests["failCount"] else "SUCCESS"
