"""What api/json shows of jobs, builds and the queue."""

from __future__ import annotations

import time
from typing import Any

from lab.jenkins.controller import Controller
from lab.jenkins.definition import Parameter
from lab.jenkins.queue import BLOCKED, BUILDABLE, LEFT, WAITING, Item
from lab.jenkins.store import BUILDING, DONE, Build, Job, Value

Document = dict[str, Any]
_CLASSES = {WAITING: "WaitingItem", BLOCKED: "BlockedItem", BUILDABLE: "BuildableItem", LEFT: "LeftItem"}
_COLORS = {"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red", "ABORTED": "aborted"}
_SHOWN = 100  # `builds` shows this many, `allBuilds` all


def root(controller: Controller, jobs: list[Job]) -> Document:
    """The server."""
    return {
        "_class": "hudson.model.Hudson",
        "mode": "NORMAL",
        "nodeDescription": "the Jenkins controller's built-in node",
        "quietingDown": controller.quieting,
        "useCrumbs": True,
        "jobs": [job(controller, entry) for entry in jobs],
        "views": [{"_class": "hudson.model.AllView", "name": "all", "url": controller.url}],
        "url": controller.url,
    }


def job(controller: Controller, found: Job) -> Document:
    """A job with all of its builds; `tree` or `shallow` says how much of it goes out."""
    numbers = sorted(found.builds, reverse=True)
    builds = [build(controller, found, found.builds[number]) for number in numbers]
    done = [b for b in builds if not b["inProgress"]]
    waiting = [item for item in controller.queue.waiting() if item.job == found.name]
    parameters = [_parameter(p) for p in found.definition.parameters]
    return {
        "_class": "hudson.model.FreeStyleProject",
        "name": found.name,
        "fullName": found.name,
        "displayName": found.name,
        "description": found.definition.description,
        "url": f"{controller.url}job/{found.name}/",
        "buildable": not found.definition.disabled,
        "disabled": found.definition.disabled,
        "color": "disabled" if found.definition.disabled else _color(builds),
        "concurrentBuild": found.definition.concurrent,
        "inQueue": bool(waiting),
        "queueItem": item(controller, waiting[0]) if waiting else None,
        "nextBuildNumber": found.next_number,
        "labelExpression": found.definition.label or None,
        "builds": builds[:_SHOWN],
        "allBuilds": builds,
        "lastBuild": next(iter(builds), None),
        "lastCompletedBuild": next(iter(done), None),
        "lastSuccessfulBuild": next((b for b in done if b["result"] in ("SUCCESS", "UNSTABLE")), None),
        "lastFailedBuild": next((b for b in done if b["result"] == "FAILURE"), None),
        "property": [
            {"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": parameters},
            {"_class": "jenkins.model.BuildDiscarderProperty"},
        ][0 if parameters else 1 :],
    }


def build(controller: Controller, owner: Job, found: Build) -> Document:
    """A build. `building` ends before `inProgress` does: its log may still be without its end."""
    url = f"{controller.url}job/{owner.name}/{found.number}/"
    running = found.state == BUILDING
    seconds = time.time() - found.started if running else found.seconds
    cause = {"_class": "hudson.model.Cause$UserIdCause", "userId": found.user, "userName": found.user}
    actions: list[Document] = [{"_class": "hudson.model.CauseAction", "causes": [cause]}]
    if found.parameters:
        values = [_value(name, value, name in found.secret) for name, value in found.parameters.items()]
        actions.insert(0, {"_class": "hudson.model.ParametersAction", "parameters": values})
    if found.tests:
        counts = {"failCount": found.tests["failCount"], "skipCount": found.tests["skipCount"],
                  "totalCount": sum(found.tests[k] for k in ("failCount", "skipCount", "passCount"))}  # fmt: skip
        actions.append({"_class": "hudson.tasks.junit.TestResultAction", **counts, "urlName": "testReport"})
    return {
        "_class": "hudson.model.FreeStyleBuild",
        "actions": actions,
        "artifacts": [
            {"displayPath": path.split("/")[-1], "fileName": path.split("/")[-1], "relativePath": path}
            for path in found.artifacts
        ],
        "building": running,
        "inProgress": found.state != DONE,
        "builtOn": found.node,
        "displayName": f"#{found.number}",
        "duration": 0 if running else int(seconds * 1000),
        "fullDisplayName": f"{owner.name} #{found.number}",
        "id": str(found.number),
        "number": found.number,
        "queueId": found.queue_id,
        "result": found.result,
        "timestamp": int(found.started * 1000),
        "url": url,
    }


def item(controller: Controller, found: Item) -> Document:
    """A queue item, its class and members by its state."""
    values = [_value(name, value, name in found.secret) for name, value in found.parameters.items()]
    document: Document = {
        "_class": f"hudson.model.Queue${_CLASSES[found.state]}",
        "actions": [{"_class": "hudson.model.ParametersAction", "parameters": values}] if values else [],
        "blocked": found.state == BLOCKED,
        "buildable": found.state == BUILDABLE,
        "id": found.id,
        "inQueueSince": int(found.since * 1000),
        "params": "".join(f"\n{name}={value}" for name, value in found.parameters.items() if name not in found.secret),
        "stuck": found.stuck,
        "task": {
            "_class": "hudson.model.FreeStyleProject",
            "name": found.job,
            "url": f"{controller.url}job/{found.job}/",
        },
        "url": f"queue/item/{found.id}/",
        "why": found.why,
    }
    if found.state == LEFT:
        there = found.number is not None
        url = f"{controller.url}job/{found.job}/{found.number}/"
        document["cancelled"] = found.cancelled
        document["executable"] = (
            {"_class": "hudson.model.FreeStyleBuild", "number": found.number, "url": url} if there else None
        )
    return document


def computers(controller: Controller) -> Document:
    """The agents."""
    busy = [execution.place.agent.name for execution in controller.running.values()]
    return {
        "_class": "hudson.model.ComputerSet",
        "busyExecutors": len(busy),
        "totalExecutors": sum(agent.executors for agent in controller.settings.agents),
        "computer": [
            {
                "_class": "hudson.slaves.SlaveComputer",
                "displayName": agent.name,
                "numExecutors": agent.executors,
                "offline": False,
                "idle": agent.name not in busy,
                "assignedLabels": [{"name": label} for label in sorted({agent.name, *agent.labels})],
            }
            for agent in controller.settings.agents
        ],
    }


def shallow(document: Any, *, top: bool = True) -> Any:
    """The document as it goes out without `tree`: what has an address of its own is shown by that only."""
    if isinstance(document, list):
        return [shallow(entry, top=top) for entry in document]
    if not isinstance(document, dict):
        return document
    if not top and "url" in document:
        return {name: document[name] for name in ("_class", "name", "number", "url", "color") if name in document}
    shown = {name: value for name, value in document.items() if name != "allBuilds"}
    return {name: shallow(value, top=name == "items") for name, value in shown.items()}  # a queue shows its items whole


def _color(builds: list[Document]) -> str:
    last = next((b["result"] for b in builds if b["result"]), None)
    color = _COLORS.get(str(last), "notbuilt")
    return f"{color}_anime" if builds and builds[0]["building"] else color


def _parameter(parameter: Parameter) -> Document:
    kind = f"{parameter.kind}ParameterDefinition"
    default: Value = parameter.default == "true" if parameter.kind == "Boolean" else parameter.default
    shown: Document = {"_class": f"hudson.model.{kind}", "name": parameter.name, "type": kind, "description": None}
    if parameter.kind == "Password":
        return {**shown, "defaultParameterValue": None}
    value = {"_class": f"hudson.model.{parameter.kind}ParameterValue", "name": parameter.name, "value": default}
    return {
        **shown,
        "defaultParameterValue": value,
        **({"choices": list(parameter.choices)} if parameter.choices else {}),
    }


def _value(name: str, value: Value, secret: bool) -> Document:
    kind = "Password" if secret else "Boolean" if isinstance(value, bool) else "String"
    shown = {"_class": f"hudson.model.{kind}ParameterValue", "name": name}
    return shown if secret else {**shown, "value": value}
