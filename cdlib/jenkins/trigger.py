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
from cdlib.jenkins.builds import Found, find, read_item, recent
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


class Request:
    """A build of `job` that is wanted by a name, which is empty where the job does not declare it."""

    def __init__(self, server: Server, job: Job, name: str) -> None:
        self.name = name
        self.asked = False  # whether Jenkins was asked to build it, and may have heard
        self._server, self._job = server, job
        self._before: frozenset[int] | None = None  # the builds that carried the name before that

    def adopt(self, deadline: Deadline) -> Ticket | None:
        """What carries the name already: in the queue, running, or ended.

        A build that ended badly before we asked is no answer. One that came since is ours, however it ended.
        """
        if not self._job.adoptable:
            return None
        found = find(self._server, self._job, self.name, deadline)
        before = self._remember(found)
        for build in found.builds:
            if build.running or build.result == "SUCCESS" or build.number not in before:
                return Ticket(self.name, number=build.number, adopted=True)
        if found.items:
            return Ticket(self.name, item=found.items[0].id, adopted=True)
        return None

    def trigger(self, values: Mapping[str, str], deadline: Deadline) -> Ticket:
        """A new place in the queue. An answer that was lost on its way does not make a second build."""
        server, job = self._server, self._job
        if job.adoptable and self._before is None:
            self._remember(find(server, job, self.name, deadline))
        again = False

        def once() -> Ticket:
            nonlocal again
            if again and (there := self.adopt(deadline)):
                return there
            try:
                again = self.asked = True
                return _post(server, job, values, self.name, deadline)
            except Unavailable as problem:
                if job.adoptable or never_sent(problem):
                    raise
                raise Unavailable(
                    f"{problem.message}; a build may have been triggered all the same",
                    hint=f"look at {server.url}{job.path} before running this again: {job.name} declares no "
                    "CD_REQUEST, by which it could be found",
                    retryable=False,
                ) from problem

        ticket: Ticket = server.patiently(once, deadline)
        return ticket

    def _remember(self, found: Found) -> frozenset[int]:
        """The builds that there were when this was asked first."""
        if self._before is None:
            self._before = frozenset(build.number for build in found.builds)
        return self._before


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
