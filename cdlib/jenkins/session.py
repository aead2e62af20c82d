"""One run of a Jenkins job, from its request to its artifacts, and the abort of one."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import BuildLost, CdError, Interrupted, UsageProblem
from cdlib.jenkins import abort, artifacts, push, trigger, verdict
from cdlib.jenkins.builds import Build, read_build, read_item
from cdlib.jenkins.follow import follow
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import REQUEST, Job, may_abort, read_job
from cdlib.run import Run

GRACE = 20.0  # seconds for aborting what we no longer wait for, beyond the deadline
FETCHING = 60.0  # seconds for artifacts beyond the deadline: they say why it took so long
_KEPT_LINES = 50


@dataclass(frozen=True)
class Wish:
    """What to run: a job with parameters, under the name `request`, perhaps with the source in `source` pushed."""

    job: str
    parameters: Mapping[str, str]
    request: str = ""
    source: Path | None = None
    source_url: str = ""
    rerun: int = 0
    restart_lost: int = 0  # how often a build that Jenkins lost is started again


@dataclass(frozen=True)
class Ended:
    """A build that has ended, and what it left below `--out`."""

    job: Job
    build: Build
    request: str
    adopted: bool
    artifacts: tuple[str, ...]
    result: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """The members of the result."""
        told = {k: v for k, v in (self.result or {}).items() if k not in ("schema", "duration_s", "run", "error")}
        return {
            "build": {
                "job": self.job.name,
                "number": self.build.number,
                "url": self.build.url,
                "result": self.build.result,
                "duration_s": self.build.seconds,
                "request": self.request,
                "adopted": self.adopted,
            },
            "artifacts": list(self.artifacts),
            **({"job_result": told} if self.result else {}),
        }


def run_job(run: Run, server: Server, wish: Wish) -> Ended | None:
    """Run the job and return how it ended; None in a dry run. Raises what the build's end amounts to.

    Where we cannot wait any longer (the deadline, a signal, a server that is gone, an answer that is none), the
    build is aborted first.
    """
    job = read_job(server, wish.job, run.deadline)
    name, parameters = _parameters(run, server, job, wish)
    request = trigger.Request(server, job, name)
    for _ in range(wish.restart_lost):
        try:
            return _run_once(run, server, job, wish, request, parameters)
        except BuildLost as problem:
            if not problem.gone:
                raise
            run.warn(f"{problem.message}; it is started again")
    return _run_once(run, server, job, wish, request, parameters)


def _run_once(
    run: Run, server: Server, job: Job, wish: Wish, request: trigger.Request, parameters: dict[str, str]
) -> Ended | None:
    ticket = None
    with run.stage("queue", job.name):
        try:
            ticket = request.adopt(run.deadline) if wish.request or request.asked else None
            ticket = ticket or _trigger(run, server, job, wish, request, parameters)
            if ticket is None:
                return None
            number = trigger.wait_for_number(server, job, ticket, run.deadline, run.note)
        except BuildLost:
            raise
        except (CdError, Interrupted):  # of whichever kind: one odd answer of a proxy must not leave a build running
            _give_up(run, server, job, ticket or trigger.Ticket(request.name), 0)
            raise
    run.note(f"{job.name} #{number}{' (adopted)' if ticket.adopted else ''}: {server.url}{job.path}/{number}/")
    return _watch(run, server, job, number, ticket)


def abort_job(run: Run, server: Server, name: str, request: str) -> abort.Aborted | None:
    """Abort what carries `request`, and see it ended; None in a dry run."""
    job = read_job(server, name, run.deadline)
    if run.would(f"abort what carries the request {request} of {name}"):
        return None
    with run.stage("abort", request):
        return abort.abort_request(server, job, request, run.deadline)


def _parameters(run: Run, server: Server, job: Job, wish: Wish) -> tuple[str, dict[str, str]]:
    """The request's name and the parameters to send, checked against what the job declares."""
    parameters = dict(wish.parameters)
    if wish.rerun:
        parameters = {**_of_build(run, server, job, wish.rerun, parameters), **parameters}
    request = wish.request or parameters.get(REQUEST, "") or f"jenkins-run-{uuid.uuid4().hex}"
    if job.adoptable:
        parameters[REQUEST] = request
    elif wish.request:
        run.warn(f"{job.name} declares no {REQUEST}: a retry cannot adopt this build, and --abort cannot find it")
    later = dict.fromkeys(push.Pushed("", "", "").parameters(), "") if wish.source else {}
    job.require({**later, **parameters})
    if may_abort(server, job, run.deadline) is False:
        run.warn(f"{server.user} may not abort builds of {job.name}: the right Job/Cancel is missing")
    return request if job.adoptable else "", parameters


def _of_build(run: Run, server: Server, job: Job, number: int, given: Mapping[str, str]) -> dict[str, str]:
    """The parameters of an earlier build, by its ParametersAction. Passwords have no value there."""
    build = read_build(server, job, number, run.deadline)
    if build is None:
        raise UsageProblem(f"{job.name} has no build {number}", hint="it may have been discarded, or lost in a restart")
    known = {name: value for name, value in build.parameters.items() if name in job.parameters and name != REQUEST}
    hidden = sorted(name for name, value in known.items() if value is None and name not in given)
    if hidden:
        raise UsageProblem(
            f"Jenkins does not tell the values of {', '.join(hidden)}", hint="give them by --params-file"
        )
    return {name: str(v).lower() if isinstance(v, bool) else str(v) for name, v in known.items() if v is not None}


def _trigger(
    run: Run, server: Server, job: Job, wish: Wish, request: trigger.Request, parameters: dict[str, str]
) -> trigger.Ticket | None:
    if run.would(f"trigger {server.url}{job.path} with the parameters {', '.join(sorted(parameters)) or 'none'}"):
        return None
    if wish.source:
        branch = parameters.get("ZUUL_BRANCH", "") or parameters.get("ZUUL_REFNAME", "").removeprefix("refs/heads/")
        pushed = push.push(run, wish.source, wish.source_url, parameters.get("ZUUL_PROJECT", ""), branch)
        parameters = {**parameters, **pushed.parameters()}
    ticket = request.trigger(parameters, run.deadline)
    if ticket.shared:
        run.warn(f"an identical build of {job.name} waited already, and Jenkins makes one of both")
    return ticket


def _watch(run: Run, server: Server, job: Job, number: int, ticket: trigger.Ticket) -> Ended:
    last: deque[str] = deque(maxlen=_KEPT_LINES)

    def on_line(line: str) -> None:
        last.append(line)
        run.output(line)

    with run.stage("build", f"{job.name} #{number}") as told:
        try:
            build = follow(server, job, number, run.deadline, on_line)
        except (CdError, Interrupted) as problem:
            if isinstance(problem, CdError):
                problem.made = {"build": {"job": job.name, "number": number, "url": f"{server.url}{job.path}/{number}/",
                                          "result": None, "request": ticket.request}}  # fmt: skip
            if not isinstance(problem, BuildLost):
                _give_up(run, server, job, ticket, number)
            raise
        told["result"] = build.result
    ended = _collect(run, server, job, build, ticket)
    problem_found = verdict.problem_of(job, build, ended.result, last)
    if problem_found:
        problem_found.made = ended.as_dict()
        raise problem_found
    return ended


def _collect(run: Run, server: Server, job: Job, build: Build, ticket: trigger.Ticket) -> Ended:
    """Fetch what the build left, even where the deadline has passed: it says how the build ended."""
    folder = run.out / "artifacts"
    with run.stage("artifacts"):
        limit = Deadline(max(run.deadline.left, FETCHING), "artifacts")
        fetched = artifacts.fetch(run, server, job, build, folder, limit)
    result = artifacts.read_result(folder, fetched)
    return Ended(job, build, ticket.request, ticket.adopted, tuple(fetched), result)


def _give_up(run: Run, server: Server, job: Job, ticket: trigger.Ticket, number: int) -> None:
    """Abort the build that we stop waiting for, and say whether it ended. Nobody else may come to do it."""
    limit, ended = Deadline(GRACE, "aborting the build"), False
    try:
        if ticket.request:
            aborted = abort.abort_request(server, job, ticket.request, limit)
            ended = bool(aborted.builds or aborted.cancelled)
        elif number:
            found = read_build(server, job, number, limit)
            ended = bool(abort.stop(server, job, [found] if found else [], limit))
        elif ticket.item and (item := read_item(server, job, ticket.item, limit)):
            ended = abort.cancel(server, job, item, limit)
    except CdError as failed:
        run.warn(f"a build of {job.name} may still run: {failed.message}")
    if ended:
        run.note(f"the build of {job.name} was aborted, since nobody waits for it any longer")
