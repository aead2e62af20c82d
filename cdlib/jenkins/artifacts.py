"""What a build has archived, fetched into a folder."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from pathlib import Path, PurePosixPath
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable
from cdlib.files import scratch, take_place
from cdlib.jenkins.builds import Build
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import Job
from cdlib.run import Run

MOST = 500  # files
LARGEST = 64 * 2**20  # bytes of one
OURS = ".cd"  # the folder that our own commands leave things in; its name is left out
RESULT = "cd-result.json"


def fetch(run: Run, server: Server, job: Job, build: Build, folder: Path, deadline: Deadline) -> list[str]:
    """Download the build's artifacts below `folder`; returns their paths there.

    Paths come from the build, so those that would lead elsewhere are left out, as are files that are too large. What
    cannot be fetched is a warning: the build has ended, and does not change by it.
    """
    if len(build.artifacts) > MOST:
        run.warn(f"{job.name} #{build.number} has {len(build.artifacts)} artifacts; the first {MOST} are fetched")
    fetched = []
    for path in build.artifacts[:MOST]:
        name = _place(path)
        if name is None or name in fetched:
            run.warn(f"the artifact {path!r} is left out: its path is not one of a file below a folder")
            continue
        try:
            if _fetch_one(server, job, build, path, folder / name, deadline):
                fetched.append(name)
        except (Unavailable, OutOfTime, NotAllowed) as problem:  # the next would meet the same
            run.warn(f"the artifacts from {path} on could not be fetched: {problem.message}")
            break
        except CdError as problem:
            run.warn(f"the artifact {path} is left out: {problem.message}")
    return fetched


def read_result(folder: Path, fetched: list[str]) -> dict[str, Any] | None:
    """The cd-result.json among what was fetched, or None where there is none that can be used."""
    if RESULT not in fetched:
        return None
    with contextlib.suppress(ValueError, OSError, RecursionError):
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        if isinstance(found, dict) and type(found.get("exit_code")) is int and 0 <= found["exit_code"] <= 255:
            return found
    return None


def _place(path: str) -> str | None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path:
        return None
    return "/".join(parts[1:] if parts[0] == OURS and len(parts) > 1 else parts)


def _fetch_one(server: Server, job: Job, build: Build, path: str, target: Path, deadline: Deadline) -> bool:
    """Whether the artifact was there; a file is whole or absent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    address = f"{job.path}/{build.number}/artifact/{urllib.parse.quote(path)}"
    with scratch(target) as body:
        answer = server.download(address, f"fetching the artifact {path}", deadline, body, LARGEST, away=True)
        if answer.status == 200:
            take_place(body, target)
    return answer.status == 200
