"""Builds and queue items, and how those of one request are found again."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdlib.deadline import Deadline
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import REQUEST, Job

_PARAMETERS = "actions[parameters[name,value]]"
_BUILD = f"number,url,queueId,building,inProgress,result,duration,artifacts[relativePath],{_PARAMETERS}"
_ITEM = f"id,why,stuck,cancelled,executable[number],task[url],{_PARAMETERS}"
_NEWEST = 100  # builds of a job that are looked through; a request is looked for while it is young


@dataclass(frozen=True)
class Build:
    """A build as Jenkins shows it now. `seconds` is 0 while it runs."""

    number: int
    url: str
    queue_id: int
    running: bool
    result: str
    seconds: float
    artifacts: tuple[str, ...]
    parameters: Mapping[str, Any]

    @property
    def request(self) -> str:
        """The request that it was triggered by."""
        return str(self.parameters.get(REQUEST) or "")


@dataclass(frozen=True)
class Item:
    """A queue item as Jenkins shows it now. `number` is the build's that it became, 0 before that."""

    id: int
    why: str
    stuck: bool
    cancelled: bool
    number: int
    request: str


@dataclass(frozen=True)
class Found:
    """What carries one request: items that wait, and builds, the newest first."""

    items: tuple[Item, ...]
    builds: tuple[Build, ...]


def read_build(server: Server, job: Job, number: int, deadline: Deadline) -> Build | None:
    """The build, or None where it is not there: lost in a restart, deleted, or discarded."""
    doing = f"looking at {job.name} #{number}"
    document = server.read(f"{job.path}/{number}/api/json", doing, deadline, tree=_BUILD)
    return None if document is None else _build(document)


def read_item(server: Server, job: Job, item: int, deadline: Deadline) -> Item | None:
    """The queue item, or None where it is not there, or is another job's: ids begin anew when Jenkins is killed."""
    doing = f"looking at the queue item of {job.name}"
    document = server.read(f"queue/item/{item}/api/json", doing, deadline, tree=_ITEM)
    return None if document is None or not _is_of(document, job) else _item(document)


def find(server: Server, job: Job, request: str, deadline: Deadline) -> Found:
    """What carries `request`. The queue is asked first, so that nothing is missed on its way to a build."""
    doing = f"looking for the request {request}"
    queue = server.read("queue/api/json", doing, deadline, tree=f"items[{_ITEM}]") or {}
    items = [_item(document) for document in queue.get("items") or () if _is_of(document, job)]
    builds = recent(server, job, deadline)
    return Found(
        tuple(item for item in items if item.request == request),
        tuple(build for build in builds if build.request == request),
    )


def recent(server: Server, job: Job, deadline: Deadline) -> list[Build]:
    """The job's newest builds, the newest first."""
    tree = f"builds[{_BUILD}]{{0,{_NEWEST}}}"
    document = server.read(f"{job.path}/api/json", f"looking at the builds of {job.name}", deadline, tree=tree) or {}
    return [_build(entry) for entry in document.get("builds") or ()]


def _build(document: Mapping[str, Any]) -> Build:
    # A result may be there while the build still writes its log; older servers have no inProgress.
    return Build(
        number=int(document["number"]),
        url=str(document.get("url") or ""),
        queue_id=int(document.get("queueId") or 0),
        running=bool(document.get("inProgress", document.get("building"))) or bool(document.get("building")),
        result=str(document.get("result") or ""),
        seconds=float(document.get("duration") or 0) / 1000,
        artifacts=tuple(str(entry["relativePath"]) for entry in document.get("artifacts") or ()),
        parameters=_parameters(document),
    )


def _item(document: Mapping[str, Any]) -> Item:
    return Item(
        id=int(document["id"]),
        why=str(document.get("why") or ""),
        stuck=bool(document.get("stuck")),
        cancelled=bool(document.get("cancelled")),
        number=int((document.get("executable") or {}).get("number") or 0),
        request=str(_parameters(document).get(REQUEST) or ""),
    )


def _is_of(document: Mapping[str, Any], job: Job) -> bool:
    path = "/" + urllib.parse.urlsplit(str((document.get("task") or {}).get("url") or "")).path.strip("/")
    root = path.removesuffix("/" + job.path)
    return root != path and "/job/" not in root  # a job of the same name may lie in a folder


def _parameters(document: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a build's ParametersAction. A password's is None."""
    entries = [entry for action in document.get("actions") or () for entry in action.get("parameters") or ()]
    return {str(entry["name"]): entry.get("value") for entry in entries}
