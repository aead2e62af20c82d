"""A build of one request: adopted where there is one, triggered where there is none, and known by its number."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cdlib.answers import Answer
from cdlib.deadline import Deadline
from cdlib.errors import BuildLost, CdError, Unavailable, UsageProblem
from cdlib.jenkins.answers import never_sent, said_by
from cdlib.jenkins.builds import find, read_item, recent
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import Job

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0  # seconds between two looks at the queue
_ITEM = re.compile(r"/queue/item/(\d+)/?$")


@dataclass(frozen=True)
class Ticket:
    """A place in the queue, or a build that had one. `start` is the server's life in which the item was given."""

    request: str
    item: int = 0
    start: str = ""
    number: int = 0
    adopted: bool = False
    shared: bool = False


def adopt(server: Server, job: Job, request: str, deadline: Deadline) -> Ticket | None:
    """What carries `request` already: in the queue, running, or ended well. What ended badly is no answer to it."""
    found = find(server, job, request, deadline)
    for build in found.builds:
        if build.running or build.result == "SUCCESS":
            return Ticket(request, number=build.number, adopted=True)
    if found.items:
        return Ticket(request, item=found.items[0].id, adopted=True)
    return None


def trigger(server: Server, job: Job, values: Mapping[str, str], request: str, deadline: Deadline) -> Ticket:
    """A new place in the queue. An answer that was lost on its way does not make a second build."""
    asked = False

    def once() -> Ticket:
        nonlocal asked
        if asked and job.adoptable and (there := adopt(server, job, request, deadline)):
            return there
        try:
            asked = True
            return _post(server, job, values, request, deadline)
        except Unavailable as problem:
            if job.adoptable or never_sent(problem):
                raise
            raise Unavailable(
                f"{problem.message}; a build may have been triggered all the same",
                hint=f"look at {server.url}{job.path} before running this again: {job.name} declares no CD_REQUEST, "
                "by which it could be found",
                retryable=False,
            ) from problem

    ticket: Ticket = server.patiently(once, deadline)
    return ticket


def wait_for_number(server: Server, job: Job, ticket: Ticket, deadline: Deadline, say: Callable[[str], None]) -> int:
    """The number of the ticket's build. `say` is told why it waits. Raises BuildLost where it will never start."""
    why, wait, missing = "", FIRST_WAIT, 0
    while not ticket.number:
        deadline.require(f"waiting for a build of {job.name} to start{': ' + why if why else ''}")
        item = read_item(server, job, ticket.item, deadline)
        if item and item.request == ticket.request and _holds(server, ticket):
            missing = 0
            if item.number:
                return item.number
            if item.cancelled:
                raise BuildLost(
                    f"the build of {job.name} was cancelled while it waited in the queue",
                    hint="somebody cancelled it in Jenkins; run this again if that was a mistake",
                )
            if item.why and _plain(item.why) != _plain(why):
                say(f"{job.name} waits: {item.why}{' (stuck)' if item.stuck else ''}")
            why = item.why
        else:
            again = _find_again(server, job, ticket, deadline)
            if again is None and missing:  # once may be the moment between queue and build
                raise BuildLost(
                    f"the build of {job.name} is neither in the queue nor among the builds",
                    hint="Jenkins was restarted, and what waited is gone; run this again",
                    gone=True,
                )
            ticket, missing = again or ticket, missing + 1
        time.sleep(min(wait, deadline.left))
        wait = min(wait * 1.5, LONGEST_WAIT)
    return ticket.number


def _post(server: Server, job: Job, values: Mapping[str, str], request: str, deadline: Deadline) -> Ticket:
    """Trigger once, the parameters in the body: a URL has a limit, and ends up in logs."""
    doing = f"triggering {job.name}"
    word = "buildWithParameters" if job.parameters else "build"
    ok = (201, 303, 400, 404, 409, 500)
    answer = server.send("POST", f"{job.path}/{word}", doing, deadline, ok=ok, query={"delay": "0sec"}, form=values)
    found = _ITEM.search(answer.headers.get("Location", ""))
    if answer.status in (201, 303) and found:
        # 303: an identical one waits already. With a request of our own that is ours; without, somebody else's.
        shared = answer.status == 303 and not job.adoptable
        return Ticket(request, int(found[1]), server.start, shared=shared)
    raise _refusal(server, job, answer)


def _refusal(server: Server, job: Job, answer: Answer) -> CdError:
    meaning = {
        400: "does not take it: its parameters have changed meanwhile",
        404: "is not there any more, or may not be seen",
        409: "is disabled",
        500: "does not take it: a parameter has a value that Jenkins refuses",
    }.get(answer.status, f"answers {answer.status} without a place in the queue")
    said = said_by(answer)
    return UsageProblem(f"the job {job.name} {meaning} ({answer.status}){said}", hint=f"look at {server.url}{job.path}")


def _find_again(server: Server, job: Job, ticket: Ticket, deadline: Deadline) -> Ticket | None:
    """The ticket's build or new item, where its item is forgotten (after some 300 s) or a restart came between."""
    if ticket.request and job.adoptable:
        found = find(server, job, ticket.request, deadline)
        if found.builds:
            return Ticket(ticket.request, number=found.builds[0].number, adopted=ticket.adopted)
        if found.items:
            return Ticket(ticket.request, item=found.items[0].id, adopted=ticket.adopted)
        return None
    builds = [build for build in recent(server, job, deadline) if build.queue_id == ticket.item]
    return Ticket("", number=builds[0].number) if builds and _holds(server, ticket) else None


def _holds(server: Server, ticket: Ticket) -> bool:
    """Whether the item's id still means what it did: a killed Jenkins gives the same ids again."""
    return bool(ticket.request) or server.start == ticket.start


def _plain(why: str) -> str:
    """The reason without what counts down in it."""
    return re.sub(r"[\d.]+", "#", why)
