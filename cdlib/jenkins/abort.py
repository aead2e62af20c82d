"""Builds ended before their end, and seen to be so: Jenkins answers before anything has happened."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, UsageProblem
from cdlib.jenkins.builds import Build, Item, find, read_build, read_item
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import REQUEST, Job

AGAIN = 15.0  # seconds until a build that does not end is asked once more; one that ignores TERM took 10.7
WAIT = 0.2  # seconds between two looks


@dataclass(frozen=True)
class Aborted:
    """What was ended: builds as they are now, and the number of items that never became one."""

    builds: tuple[Build, ...]
    cancelled: int


def abort_request(server: Server, job: Job, request: str, deadline: Deadline) -> Aborted:
    """End all that carries `request`, in the queue or running, and return once none of it is left.

    An item may become a build while it is being cancelled, and a trigger may still be on its way, so this looks
    until it has found nothing twice in a row.
    """
    if not job.adoptable:
        raise UsageProblem(
            f"the job {job.name} declares no {REQUEST}, so its builds carry no request",
            hint=f"declare the parameter {REQUEST} in the job",
        )
    seen: dict[int, Build] = {}
    cancelled, clean = 0, 0
    while clean < 2:
        deadline.require(f"aborting the request {request}")
        found = find(server, job, request, deadline)
        running = [build for build in found.builds if build.running]
        cancelled += sum(cancel(server, job, item, deadline) for item in found.items)
        for build in stop(server, job, running, deadline):
            seen[build.number] = build
        clean = 0 if found.items or running else clean + 1
        time.sleep(min(WAIT, deadline.left))
    return Aborted(tuple(seen[number] for number in sorted(seen)), cancelled)


def cancel(server: Server, job: Job, item: Item, deadline: Deadline) -> bool:
    """Take an item out of the queue; false where it has become a build. The item tells, not the answer to the POST."""
    doing = f"cancelling a build of {job.name} in the queue"
    answer = server.act(f"queue/cancelItem?id={item.id}", doing, deadline, ok=(204, 302, 404, 422, 500))
    if answer.status == 422:
        raise _may_not(server, job)
    left = read_item(server, job, item.id, deadline)
    return left is None or left.cancelled


def stop(server: Server, job: Job, builds: Iterable[Build], deadline: Deadline) -> list[Build]:
    """Stop builds, and wait until each has ended; those that are gone altogether are left out."""
    waiting = {build.number: 0.0 for build in builds}
    ended = []
    while waiting:
        for number, asked in list(waiting.items()):
            doing = f"stopping {job.name} #{number}"
            deadline.require(doing)
            if time.monotonic() - asked > AGAIN:
                answer = server.act(f"{job.path}/{number}/stop", doing, deadline, ok=(200, 302, 403, 404))
                if answer.status == 403:
                    raise _may_not(server, job)
                waiting[number] = time.monotonic()
            now = read_build(server, job, number, deadline)
            if now is None or not now.running:
                del waiting[number]
                ended += [now] if now else []
        time.sleep(min(WAIT, deadline.left) if waiting else 0)
    return ended


def _may_not(server: Server, job: Job) -> NotAllowed:
    return NotAllowed(
        f"{server.user or 'nobody'} may not abort builds of {job.name}",
        hint="ask the Jenkins operators for the right Job/Cancel; the right Job/Build does not include it",
    )
