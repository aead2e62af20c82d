"""What happens after the steps: files archived, reports of tests read."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lab.jenkins import globs, junit
from lab.jenkins.definition import Archive, Definition, JUnit

if TYPE_CHECKING:
    from lab.jenkins.execution import Execution

_ORDER = ("SUCCESS", "UNSTABLE", "FAILURE", "ABORTED")


def publish(execution: Execution, definition: Definition, result: str) -> str:
    """Run the publishers in their order; returns the result, which they may only make worse."""
    for publisher in definition.publishers:
        if isinstance(publisher, Archive):
            found = _archive(execution, publisher, result)
        else:
            found = _tests(execution, publisher)
        result = max(result, found, key=_ORDER.index)
    return result


def _archive(execution: Execution, archive: Archive, result: str) -> str:
    if archive.only_if_successful and result != "SUCCESS":
        return result
    execution.say("Archiving artifacts")
    workspace = execution.place.workspace
    files = globs.find(workspace, archive.patterns, archive.excludes)
    if not files and not archive.allow_empty:
        execution.say(f'ERROR: No artifacts found that match the file pattern "{archive.patterns}".')
        return "FAILURE"
    target = execution.job.place(execution.build.number) / "archive"
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(workspace / file, target / file)
    execution.build.artifacts += files
    return "SUCCESS"


def _tests(execution: Execution, reports: JUnit) -> str:
    execution.say("Recording test results")
    files = globs.find(execution.place.workspace, reports.patterns)
    if not files:
        if reports.allow_empty:
            return "SUCCESS"
        execution.say("ERROR: Step ‘Publish JUnit test result report’ failed: No test report files were found.")
        return "FAILURE"
    execution.build.tests = junit.collect(execution.place.workspace, files)
    return "UNSTABLE" if execution.build.tests["failCount"] else "SUCCESS"
