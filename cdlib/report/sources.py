"""Which files a report is made of, below the folders that it is given, and what they tell together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cdlib.errors import UsageProblem
from cdlib.given import require_file
from cdlib.report.story import Story, weight
from cdlib.report.timeline import LARGEST, MOST_EVENTS, CommandRun, command_run, read_events, text

BELOW = {"artifacts", "checkout", "comment"}  # the folders below --out with events of the same run
EVENTS, RESULT, VERDICT = "events.jsonl", "cd-result.json", "verdict.json"
_LARGEST = 4 * 2**20  # bytes of a result
_DEPTH = 4  # objects and lists within each other in a result
MOST_FILES = 200
EVIDENCE = ("evidence", "evidence/rollback")  # why a rollout failed, and why going back from it did
LARGEST_REPORTS = 12 * 2**20  # bytes of all JUnit files: they grow many times when they are parsed
# What follows each other in one run, in this order; every other command is a run of its own.
STEPS = ("cd-checkout", "authorize-deploy", "build-image", "run-tests", "publish-tag", "helm-deploy")


def gather_story(paths: Iterable[Path], page: Path, about: Mapping[str, Any], gerrit: str = "", *,
                 ended: bool = False) -> Story:  # fmt: skip
    """The story of the last run in `paths`, for a page that will lie at `page`.

    `about` are the fields of its trigger, and `gerrit` is the address of the server that links lead to. Raises
    UsageProblem where there are no events.
    """
    paths = list(paths)
    try:
        runs, results, deciding = gather(paths)
    except OSError as problem:
        raise UsageProblem(f"events {problem.filename}: {problem.strerror}", hint="check the path") from problem
    if not runs:
        named = ", ".join(map(str, paths))
        raise UsageProblem(f"there are no events in {named}", hint=f"name the --out of a run, or its {EVENTS}")
    known = {key: str(value) for key, value in about.items() if value and about.get("source") != "person"}
    if known.get("change"):
        known["change"] = f"{known['change']},{known.get('patchset', '')}"
    story = Story(runs, results, deciding, ended, about=known)
    story.links = dict(_links(known, gerrit.rstrip("/"), story.result.get("build")))
    files = [file for folder in EVIDENCE for file in beside(paths, folder, "*.json")]
    ours = _made_by({run.id for run in runs}, files)
    story.evidence = [name for file in files if file.parent in ours and (name := _relative(file, page))]
    return story


def _made_by(runs: Set[str], files: Iterable[Path]) -> set[Path]:
    """The folders whose evidence is of these runs: an earlier one, in the same place, may have left its own."""
    folders = {file.parent for file in files}
    told = {folder: found[0]["run"] for folder in folders if (found := _result(folder / VERDICT, _LARGEST)[0])}
    return {folder for folder in folders if told.get(folder, "") in {*runs, ""}}


def beside(paths: Iterable[Path], folder: str, pattern: str) -> list[Path]:
    """The files in a folder beside the events, never what a link leads to."""
    found = (file for path in paths for events in _files(path) for file in (events.parent / folder).glob(pattern))
    return sorted({file for file in found if file.is_file() and not file.is_symlink()})[:MOST_FILES]


def _links(about: Mapping[str, str], gerrit: str, build: Any) -> Iterator[tuple[str, str]]:
    """Where the change, a commit and the build are to be seen; a commit's address begins with what is given here."""
    if gerrit:
        yield "commit", f"{gerrit}/q/"
        number, _, patchset = about.get("change", "").partition(",")
        if number and about.get("project"):
            place = quote(f"{about['project']}/+/{number}/{patchset}", safe="/+", errors="replace")
            yield "change", f"{gerrit}/c/{place}"
    url = about.get("url") or (build.get("url") if isinstance(build, dict) else "")
    if isinstance(url, str) and url:
        yield "build", url


def _relative(file: Path, page: Path) -> str:
    """The way from the page to the file; empty where it leads out of the page's folder."""
    try:
        return quote(os.fsencode(file.absolute().relative_to(page.absolute().parent)))
    except ValueError:
        return ""


def gather(paths: Iterable[Path]) -> tuple[list[CommandRun], list[dict[str, Any]], list[CommandRun]]:
    """The runs in `paths`, oldest first, the results beside their events, and the run of each path that decides.

    A path is a file of events, or a folder with such files in it and below. Each file counts from its last beginning
    on, and a file in a subfolder only where it is of the same time. What decides is by its place in the highest file,
    and never by what it says: a change may bring events of its own, and they may say anything. All files together
    are read as far as one file would be, those that lie highest first. Raises OSError.
    """
    runs, results, deciding = dict[str, CommandRun](), list[dict[str, Any]](), list[CommandRun]()
    size, count = LARGEST, MOST_EVENTS
    for path in paths:
        of_path = list[CommandRun]()
        for file in _files(path):
            told = read_events(file, size, count)
            size, count = max(0, size - file.stat().st_size), max(0, count - sum(map(len, told)))
            found = last_way([command_run(events) for events in told])
            if found and not of_path:
                deciding.append(max(enumerate(found), key=lambda pair: (weight(pair[1].command), pair[0]))[1])
            if not of_path or not found or found[-1].last >= of_path[0].start:
                of_path += found
                result, took = _result(file.with_name(RESULT), size)
                results, size = [*results, *result], size - took
        runs |= {run.id: run for run in of_path if run.id not in runs}
    return sorted(runs.values(), key=lambda run: run.start), results, deciding


def last_way(runs: list[CommandRun]) -> list[CommandRun]:
    """The runs that belong together: from the last on back, as long as each is of an earlier step than the next."""
    found = runs[-1:]
    for run in reversed(runs[:-1]):
        earlier, later = run.command, found[0].command
        if earlier not in STEPS or later not in STEPS or STEPS.index(earlier) >= STEPS.index(later):
            break
        found.insert(0, run)
    return found


def _files(path: Path) -> Iterator[Path]:
    """The files of events, those that lie highest first; never what a link leads to, nor what is not ours."""
    if not path.is_dir():
        yield require_file(path, "events")
        return
    found = (file for file in path.rglob(EVENTS) if file.is_file() and not file.is_symlink())
    below = ((file.relative_to(path).parts, file) for file in found)
    ours = sorted((len(parts), parts, file) for parts, file in below if set(parts[:-1]) <= BELOW)
    yield from (file for _, _, file in ours[:MOST_FILES])


def _result(file: Path, most: int) -> tuple[list[dict[str, Any]], int]:
    """The result in `file`, if that is what is in it, and how many bytes of at most `most` it took."""
    try:
        size = 0 if file.is_symlink() else file.stat().st_size
        if not 0 < size <= min(most, _LARGEST):
            return [], 0
        found = _shallow(json.loads(file.read_text(encoding="utf-8")), _DEPTH)
    except (OSError, ValueError, RecursionError):
        return [], 0
    if not isinstance(found, dict):
        return [], size
    error = found.get("error")
    if isinstance(error, dict) and not isinstance(error.get("details"), list):
        error["details"] = []
    return [{**found, "run": text(found, "run")}], size


def _shallow(value: Any, levels: int) -> Any:
    """The same without what lies deeper: nothing that shows it has to go further down than this."""
    if isinstance(value, dict):
        return {key: _shallow(each, levels - 1) for key, each in value.items()} if levels else "…"
    if isinstance(value, list):
        return [_shallow(each, levels - 1) for each in value] if levels else "…"
    return value
