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
from cdlib.errors import CdError, NotAllowed
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.confidential import CONTAINERS, Secrets, without_values
from cdlib.rollout.logs import Logs, read_log
from cdlib.rollout.verdict import Fault, State, pod_ready
from cdlib.run import Run

SHOWN = 12  # lines of a log that a person sees first
FIRST = 20  # lines that a person sees at all; the rest is in the files
MOST_FAULTS = 3
MOST_EVENTS = 3
MOST_PODS = 5
_SETTINGS = ("MissingClusterDNS", "DNSConfigForming")  # Warnings about the node, which every pod on it has
_EVENT = ("type", "reason", "message", "count", "firstTimestamp", "lastTimestamp")


def gather(
    run: Run, api: Api, namespace: str, state: State, out: Path, deadline: Deadline, part: str = ""
) -> list[str]:
    """Save what the rollout left below `out`/evidence; return the lines to show first, the cause above all.

    The verdict, then for each pod that is suspected its object, Events and logs; for what has no pod the Events of the
    object that is blamed. `part` names a folder of its own inside, so that a rollback that fails does not overwrite why
    it was needed. What an earlier run has left there goes, and the verdict says which run it is of: a folder has one
    failure's evidence. Whatever cannot be had is left out: evidence must never stand in the rollback's way.
    """
    folder = out / "evidence" / part
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    for file in folder.rglob("*.json"):
        with suppress(OSError):
            file.unlink()
    known = _known(state)
    Secrets(run, api, namespace).learn(known.values(), deadline)
    faults = [_verdict(fault) for fault in state.faults]
    verdict = {"run": run.events.run_id, "faults": faults, "summary": state.summary, "waiting": list(state.waiting)}
    _save(run, folder / "verdict.json", verdict)
    lines = [str(fault) for fault in state.faults[:MOST_FAULTS]]
    every = [_pod_evidence(run, api, namespace, known[name], deadline) for name in _suspects(state)[:MOST_PODS]]
    for found in every:  # logs come last: a node that does not answer takes the time of what is asked after it
        _save(run, folder / f"{found['pod']}.json", found)
    _add_logs(run, api, namespace, every, state, deadline)
    more: list[str] = []
    for found in every:
        file = folder / f"{found['pod']}.json"
        _save(run, file, found)
        run.events.emit("evidence", pod=found["pod"], file=str(file), events=found["events"][-5:])
        more = more or _shown(found, state.faults)
    for about in dict.fromkeys(fault.about for fault in state.faults if fault.about and not fault.pod):
        more += _object_evidence(run, api, namespace, about, folder, deadline)
    return [run.redactor.text(line) for line in (lines + more)[:FIRST]]


def _known(state: State) -> dict[str, Object]:
    """The pods by name, as they were last; those that were seen to fail with their logs of then."""
    logs = {str(pod["metadata"].get("uid")): pod["logs"] for pod in state.kept if pod.get("logs")}
    every = {str(pod["metadata"]["name"]): pod for pod in (*state.kept, *state.pods)}
    return {name: {**pod, "logs": logs.get(str(pod["metadata"].get("uid")), {})} for name, pod in every.items()}


def _verdict(fault: Fault) -> dict[str, Any]:
    return {"object": fault.about or (f"Pod {fault.pod}" if fault.pod else ""), "container": fault.container,
            "reason": fault.reason, "exit_code": fault.exit_code, "message": fault.message}  # fmt: skip


def _suspects(state: State) -> list[str]:
    """The pods to look at: those that are blamed, also where they are ready just now, then those that have failed or
    are not ready; where none is blamed, as by a check that fails, all."""
    ready = {str(p["metadata"]["name"]): pod_ready(p) for p in state.pods}
    kept = [str(p["metadata"]["name"]) for p in state.kept]
    blamed = [fault.pod for fault in state.faults if fault.pod in ready or fault.pod in kept]
    unready = [name for name, is_ready in ready.items() if not is_ready]
    return list(dict.fromkeys([*blamed, *kept, *unready, *([] if blamed else ready)]))


def _pod_evidence(run: Run, api: Api, namespace: str, pod: Object, deadline: Deadline) -> dict[str, Any]:
    """All but the logs, save those that were kept while they could be had."""
    name, events = str(pod["metadata"]["name"]), list[dict[str, Any]]()
    try:
        events = _events(api, namespace, name, deadline)
    except CdError as problem:
        run.warn(f"no events of {name}: {problem.message}")
    logs = {container: _lines(run, kept) for container, kept in (pod.get("logs") or {}).items()}
    return {
        "pod": name,
        "object": without_values({k: v for k, v in pod.items() if k != "logs"}),
        "events": events,
        "logs": logs,
    }


def _add_logs(run: Run, api: Api, namespace: str, every: Sequence[dict[str, Any]], state: State,
              deadline: Deadline) -> None:  # fmt: skip
    """Each pod's logs, within its share of the time; who is to blame comes first."""
    for number, found in enumerate(every):
        share = deadline.part(deadline.left / (len(every) - number), f"reading the logs of {found['pod']}")
        for container in _containers(found, state.faults):
            try:
                log = read_log(api, namespace, found["pod"], container, share)
            except NotAllowed as problem:
                run.warn(f"no logs: {problem.message}")
                return
            except CdError as problem:
                run.warn(f"no log of {found['pod']}, container {container}: {problem.message}")
                if share.over:
                    break
                continue
            found["logs"][container] = {**found["logs"].get(container, {}), **_lines(run, log)}


def _containers(found: dict[str, Any], faults: Sequence[Fault]) -> list[str]:
    """The containers of a pod, those that are blamed first."""
    spec = found["object"]["spec"]
    names = [str(c["name"]) for kind in CONTAINERS for c in spec.get(kind) or []]
    blamed = [fault.container for fault in faults if fault.pod == found["pod"] and fault.container in names]
    return list(dict.fromkeys([*blamed, *names]))


def _lines(run: Run, log: Logs) -> dict[str, list[str]]:
    return {key: run.redactor.text(text).splitlines() for key, text in log.items()}  # whole: a key has many lines


def _object_evidence(run: Run, api: Api, namespace: str, about: str, folder: Path, deadline: Deadline) -> list[str]:
    """The Events of what makes the pods, such as the ReplicaSets of a Deployment, and the lines to show of them."""
    kind, _, name = about.partition(" ")
    try:
        every = _listed(api, namespace, {}, deadline)
    except CdError as problem:
        run.warn(f"no evidence about {about}: {problem.message}")
        return []
    mine = [e for e in every if _concerns(e.get("involvedObject") or {}, kind, name)]
    events = [{key: event.get(key) for key in _EVENT} for event in mine]
    _save(run, folder / f"{kind.lower()}-{name}.json", {"object": about, "events": events})
    return _warnings(events)


def _concerns(involved: Object, kind: str, name: str) -> bool:
    made = kind == "Deployment" and involved.get("kind") == "ReplicaSet"
    same = involved.get("kind") == kind and involved.get("name") == name
    return same or (made and str(involved.get("name", "")).rpartition("-")[0] == name)


def _events(api: Api, namespace: str, name: str, deadline: Deadline) -> list[dict[str, Any]]:
    found = _listed(api, namespace, {"fieldSelector": f"involvedObject.name={name}"}, deadline)
    return [{key: event.get(key) for key in _EVENT} for event in found]


def _listed(api: Api, namespace: str, params: dict[str, str], deadline: Deadline) -> list[Object]:
    items = list((api.get(path("events", namespace), deadline, **params) or {}).get("items") or [])
    return sorted(items, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))


def _shown(found: dict[str, Any], faults: Sequence[Fault]) -> list[str]:
    """The end of the log of the container that is to blame, else of those that have one; then what has happened."""
    blamed = [fault.container for fault in faults if fault.pod == found["pod"] and fault.container]
    lines: list[str] = []
    for container in [c for c in blamed if found["logs"].get(c)][:1] or found["logs"]:
        log: list[str] = max(found["logs"][container].values(), key=len, default=[])
        if log and len(lines) <= SHOWN:
            lines.append(f"the last lines of {found['pod']}, container {container}:")
            lines += [f"  {line}" for line in log[-SHOWN:]]
    return lines[: SHOWN + 1] + _warnings(found["events"])


def _warnings(events: Sequence[dict[str, Any]]) -> list[str]:
    """The last Warnings, each kind once."""
    last = {e["reason"]: e for e in events if e["type"] == "Warning" and e["reason"] not in _SETTINGS}
    return [f"event {e['reason']}: {e['message']}" for e in list(last.values())[-MOST_EVENTS:]]


def _save(run: Run, file: Path, found: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(run.redactor.value(found), ensure_ascii=False, indent=1), encoding="utf-8")
    except OSError as problem:
        run.warn(f"the evidence could not be saved: {problem}")
