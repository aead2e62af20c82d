"""What a failed rollout leaves to learn from, saved before the rollback deletes it.

A rollback's first write makes the kubelet rewrite the pods' own story, and their logs answer 404 seconds later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.verdict import Fault, State, pod_ready
from cdlib.run import Run

LINES = 200  # of a container's log
SHOWN = 12  # lines of it that a person sees first
MOST_PODS = 5
_UNREADABLE = "unable to retrieve container logs"


def gather(run: Run, api: Api, namespace: str, state: State, out: Path, deadline: Deadline) -> list[str]:
    """Save states, logs and events of the pods that are not ready below `out`; return the lines to show first.

    Whatever cannot be had is left out: evidence must never stand in the rollback's way.
    """
    folder = out / "evidence"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [str(fault) for fault in state.faults[:3]]
    suspects = sorted((p for p in state.pods if not pod_ready(p)), key=lambda p: not _blamed(p, state.faults))
    for pod in suspects[:MOST_PODS]:
        try:
            found = _pod_evidence(run, api, namespace, pod, deadline)
        except CdError as problem:
            run.warn(f"no evidence from {pod['metadata']['name']}: {problem.message}")
            continue
        file = folder / f"{pod['metadata']['name']}.json"
        try:
            file.write_text(json.dumps(run.redactor.value(found), ensure_ascii=False, indent=1), encoding="utf-8")
        except OSError as problem:
            run.warn(f"the evidence could not be saved: {problem}")
        run.events.emit("evidence", pod=pod["metadata"]["name"], file=str(file), events=found["events"][-5:])
        if len(lines) <= len(state.faults[:3]):
            lines += _shown(found)
    return [run.redactor.text(line) for line in lines]


def _pod_evidence(run: Run, api: Api, namespace: str, pod: Object, deadline: Deadline) -> dict[str, Any]:
    name = str(pod["metadata"]["name"])
    selector = f"involvedObject.name={name}"
    events = (api.get(path("events", namespace), deadline, fieldSelector=selector) or {}).get("items") or []
    kept = [
        {key: event.get(key) for key in ("type", "reason", "message", "count", "lastTimestamp")} for event in events
    ]
    spec = pod.get("spec") or {}
    containers = [str(c["name"]) for kind in ("initContainers", "containers") for c in spec.get(kind) or []]
    logs = {container: _log(run, api, namespace, name, container, deadline) for container in containers}
    return {"pod": name, "status": pod.get("status"), "events": kept, "logs": logs}


def _log(run: Run, api: Api, namespace: str, pod: str, container: str, deadline: Deadline) -> list[str]:
    """The longer of the container's own and its predecessor's log: one of them is often gone already."""
    where = path("pods", namespace, pod) + "/log"
    found: list[list[str]] = []
    for previous in ("false", "true"):
        text = api.text(
            where, deadline, container=container, tailLines=str(LINES), previous=previous, limitBytes="262144"
        )
        if text and not text.startswith(_UNREADABLE):
            found.append(run.redactor.text(text).splitlines())  # whole: a key has many lines
    return max(found, key=len, default=[])


def _shown(found: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for container, log in found["logs"].items():
        if log:
            lines += [
                f"the last lines of {found['pod']}, container {container}:",
                *(f"  {line}" for line in log[-SHOWN:]),
            ]
    if not lines:
        warnings = [e for e in found["events"] if e["type"] == "Warning"]
        lines += [f"event {e['reason']}: {e['message']}" for e in warnings[-3:]]
    return lines


def _blamed(pod: Object, faults: Sequence[Fault]) -> bool:
    return any(fault.pod == pod["metadata"]["name"] for fault in faults)
