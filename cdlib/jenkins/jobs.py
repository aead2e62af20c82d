"""What a job declares, and whether given parameters fit it: Jenkins drops or bends what does not, without a word."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.jenkins.http import Server

REQUEST = "CD_REQUEST"
_KIND = "ParameterDefinition"
_TREE = "buildable,property[parameterDefinitions[name,type,choices]],lastCompletedBuild[number]"


@dataclass(frozen=True)
class Parameter:
    """A declared parameter. `kind` is Jenkins' type, such as String or Choice."""

    name: str
    kind: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A job as Jenkins describes it. `completed` is the number of its last completed build, 0 without."""

    name: str
    parameters: Mapping[str, Parameter]
    completed: int

    @property
    def path(self) -> str:
        """Its address below the server's; folders are named as in `folder/job`."""
        return "/".join(f"job/{urllib.parse.quote(part, safe='')}" for part in self.name.split("/"))

    @property
    def adoptable(self) -> bool:
        """Whether a build of this job carries the name of its request."""
        return REQUEST in self.parameters

    def require(self, given: Mapping[str, str]) -> None:
        """Raise UsageProblem for what Jenkins would drop (undeclared), bend (booleans) or answer 500 to (choices)."""
        mistakes = [mistake for name, value in given.items() if (mistake := self._mistake(name, value))]
        if mistakes:
            raise UsageProblem(
                f"{len(mistakes)} parameter{'s do' if len(mistakes) > 1 else ' does'} not fit the job {self.name}",
                details=mistakes,
                hint=f"it declares: {', '.join(sorted(self.parameters)) or 'no parameters'}",
            )

    def _mistake(self, name: str, value: str) -> str:
        declared = self.parameters.get(name)
        if declared is None:
            return f"{name} is not declared, so Jenkins would drop it"
        if declared.kind == "Boolean" and value.lower() not in ("true", "false"):
            return f"{name} is true or false, not {value!r}"
        if declared.kind == "Choice" and value not in declared.choices:
            return f"{name} is one of {', '.join(declared.choices)}, not {value!r}"
        return ""


def read_job(server: Server, name: str, deadline: Deadline) -> Job:
    """The job `name`. Raises UsageProblem where it is missing, not visible to us, or switched off."""
    job = Job(name, {}, 0)
    document = server.read(f"{job.path}/api/json", f"looking at the job {name}", deadline, tree=_TREE)
    if document is None:
        raise UsageProblem(
            f"{server.host} has no job {name}, or {server.user or 'nobody'} may not see it",
            hint="check the name, and that the user has the right Job/Read: Jenkins answers 404 to both",
        )
    if not document.get("buildable"):
        raise UsageProblem(f"the job {name} is disabled", hint="ask the Jenkins operators to enable it")
    declared = [d for p in document.get("property") or () for d in p.get("parameterDefinitions") or ()]
    parameters = {str(d["name"]): _parameter(d) for d in declared}
    return Job(name, parameters, int((document.get("lastCompletedBuild") or {}).get("number", 0)))


def may_abort(server: Server, job: Job, deadline: Deadline) -> bool | None:
    """Whether we may abort builds of the job, found out without touching one that runs; None where nothing tells.

    The right to build does not bring the right to cancel. Stopping a build that has ended changes nothing, and is
    refused like any other.
    """
    if not job.completed:
        return None
    doing = f"asking whether builds of {job.name} may be aborted"
    answer = server.act(f"{job.path}/{job.completed}/stop", doing, deadline, ok=(200, 302, 403, 404))
    return None if answer.status == 404 else answer.status != 403


def _parameter(document: Mapping[str, Any]) -> Parameter:
    kind = str(document.get("type") or "").removesuffix(_KIND)
    return Parameter(str(document["name"]), kind, tuple(map(str, document.get("choices") or ())))
