"""What the end of a build means for us: an exit code and a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdlib import errors
from cdlib.errors import BuildFailed, BuildLost, CdError, NeedsPerson, RolledBack, TestsFailed
from cdlib.jenkins.builds import Build
from cdlib.jenkins.jobs import Job

_KINDS = {kind.exit_code: kind for kind in CdError.__subclasses__()}
_OF_THE_CLUSTER = (RolledBack.exit_code, NeedsPerson.exit_code)
_SHOWN = 20  # lines of the log


def problem_of(job: Job, build: Build, result: dict[str, Any] | None, last_lines: Sequence[str]) -> CdError | None:
    """The error that the build's end amounts to, or None where it ended well.

    cd-result.json decides where it says more than Jenkins does; a build that failed never counts as good, and one
    that was aborted is lost (11), unless a rollout had been taken back (7) or left in a bad state (8) by then.
    """
    code = int(result["exit_code"]) if result else 0
    name = f"{job.name} #{build.number}"
    if build.result == "ABORTED" and code not in _OF_THE_CLUSTER:
        return BuildLost(f"{name} was aborted", hint=f"by a person, its time limit or Jenkins; see {build.url}console",
                         details=_told(result, last_lines))  # fmt: skip
    if result and code:
        return _as_told(name, code, result, build)
    if build.result in ("SUCCESS", "NOT_BUILT"):
        return None if build.result == "SUCCESS" else BuildLost(f"{name} was not built", hint=f"see {build.url}")
    kind = TestsFailed if build.result == "UNSTABLE" else BuildFailed
    return kind(f"{name} ended with {build.result or 'no result'}", hint=f"see {build.url}console",
                details=list(last_lines)[-_SHOWN:])  # fmt: skip


def _as_told(name: str, code: int, result: dict[str, Any], build: Build) -> CdError:
    """The error that a command of ours left in cd-result.json, as one of ours."""
    found = result.get("error")
    error: dict[str, Any] = found if isinstance(found, dict) else {}
    interrupted = code in (130, 143)
    kind = BuildLost if interrupted else _KINDS.get(code, BuildFailed)
    if code == errors.CdError.exit_code:
        kind = CdError
    message = str(error.get("message") or f"{result.get('command', 'a command')} exited with {code}")
    details = error.get("details")
    return kind(f"{name}: {message}", hint=str(error.get("hint") or f"see {build.url}console"),
                details=[str(d) for d in details] if isinstance(details, list) else ())  # fmt: skip


def _told(result: dict[str, Any] | None, last_lines: Sequence[str]) -> list[str]:
    error = (result or {}).get("error")
    if isinstance(error, dict) and error.get("message"):
        return [str(error["message"])]
    return list(last_lines)[-3:]
