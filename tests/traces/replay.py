"""Recorded and scripted rollouts, played to the judge on a virtual clock.

A line of a recording is `{t, k, n, u, e, s}`: seconds from the apply, kind, name, uid, watch event, and a trimmed
state; `Mark` lines say what was done from outside. Here each state becomes the API object that it was trimmed from.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cdlib.rollout.happenings import UNNEEDED
from cdlib.rollout.verdict import Fault, Judge

RECORDED = Path(__file__).parent / "recorded"
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet", "Pod", "Event")
ENDS = ("rollback", "nsdel", "end")  # marks after which a recording tells of something else
TICK = 1.0
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)  # second 0 of each tape

Line = dict[str, Any]
Object = dict[str, Any]
# Whether an object is there, by kind, name and the second: what the judge's own look finds.
There = Callable[[str, str, float], bool | None]


def nothing_missing(_kind: str, _name: str, _second: float) -> bool:
    """Every object is there."""
    return True


@dataclass(frozen=True)
class Change:
    """One object as it becomes at second `t`; `gone` where it is deleted."""

    t: float
    kind: str
    uid: str
    o: Object
    gone: bool


@dataclass(frozen=True)
class Tape:
    """A rollout to play: its workloads, what changes, to which second, and when the API server is away."""

    workloads: tuple[tuple[str, str], ...]
    changes: tuple[Change, ...]
    end: float
    away: tuple[tuple[float, float], ...] = ()


@dataclass
class Played:
    """How a play went: when it was first complete, when it was called a failure and why, what it waited for, and the
    images that it was seen to run."""

    complete: float | None = None
    called: float | None = None
    faults: tuple[Fault, ...] = ()
    waiting: tuple[str, ...] = ()
    shown: frozenset[str] = frozenset()
    said: list[str] = field(default_factory=list)


@cache
def recorded(name: str) -> Tape:
    """One recording, up to where it was undone."""
    with (RECORDED / f"{name}.jsonl").open(encoding="utf-8") as file:
        return tape(json.loads(line) for line in file)


def tape(lines: Iterable[Line], specs: dict[str, Any] | None = None) -> Tape:
    """The tape of some lines; `specs` is added to the spec of every pod."""
    make, changes, end = _Maker(specs or {}), [], 0.0
    away, down = [], None
    for line in lines:
        if line["k"] == "Mark":
            if line["n"] == "kill apiserver":
                down = line["t"]
            if line["n"] == "readyz":
                away.append((down or 0.0, line["t"]))
            if line["n"] in ENDS:
                end = line["t"]
                break
        elif line["k"] in KINDS and not (line["k"] == "Event" and line["s"]["reason"] in UNNEEDED):
            changes.append(make(line))
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "Job")
    workloads = dict.fromkeys((c.kind, c.o["metadata"]["name"]) for c in changes if c.kind in kinds)
    return Tape(tuple(workloads), tuple(changes), end or changes[-1].t, tuple(away))


def jittered(tape: Tape, rng: random.Random) -> Tape:
    """The same rollout on a slower day: stretched a little, each kind's watch late by its own, changing delay."""
    stretch, latest = rng.uniform(0.95, 1.1), dict.fromkeys(KINDS, -1e9)
    late = {kind: rng.uniform(0.0, 1.0) for kind in KINDS}
    moved = []
    for change in tape.changes:
        t = change.t * stretch + (rng.uniform(0.0, late[change.kind]) if change.t > 0 else 0.0)
        latest[change.kind] = t = max(t, latest[change.kind])
        moved.append(Change(t, change.kind, change.uid, change.o, change.gone))
    away = tuple((a * stretch, b * stretch) for a, b in tape.away)
    return Tape(tape.workloads, tuple(sorted(moved, key=lambda c: c.t)), tape.end * stretch, away)


def play(tape: Tape, there: There = nothing_missing, *, start: float = 0.0, missed: Callable[[], bool] | None = None,
         on: float | None = None) -> Played:  # fmt: skip
    """Play it to a judge that looks from second `start` on, at each change and each second, to the first failure.

    `missed` says of a change whether the judge is too late to see it before the next; `on` is how many seconds it
    looks on after the tape's end, with nothing changing any more.
    """
    now, found, result = [start], {kind: dict[str, Object]() for kind in KINDS}, Played()
    judge = Judge(tape.workloads, lambda kind, name, _key: there(kind, name, now[0]), lambda: now[0])

    def look() -> bool:
        seen = not any(a <= now[0] < b for a, b in tape.away)
        state = judge.look({kind: list(objects.values()) for kind, objects in found.items()}, seen=seen)
        if state.complete and result.complete is None:
            result.complete = now[0]
        result.waiting, result.shown = state.waiting, state.shown
        if state.faults:
            result.called, result.faults = now[0], state.faults
        return bool(state.faults)

    for t, change in _moments(tape, start, tape.end + (on or 0.0)):
        now[0] = t
        if change is not None:
            if change.gone:
                found[change.kind].pop(change.uid, None)
            else:
                found[change.kind][change.uid] = change.o
        quiet = change is not None and (t <= start or bool(missed and missed()))
        if not quiet and look():
            break
    return result


def _moments(tape: Tape, start: float, end: float) -> Iterator[tuple[float, Change | None]]:
    """Each change, the second after which the judge looks by itself, and the end."""
    tick = start
    for change in tape.changes:
        if change.t > end:
            break
        while tick < change.t:
            if tick > start or change.t > start:
                yield tick, None
            tick += TICK
        yield max(change.t, start), change
        tick = max(tick, max(change.t, start) + TICK)
    while tick <= end:
        yield tick, None
        tick += TICK


class _Maker:
    """Makes API objects of trimmed states."""

    def __init__(self, specs: dict[str, Any]) -> None:
        self._specs, self._uids, self._hashes = specs, dict[tuple[str, str], str](), dict[str, int]()
        self._made = dict[str, str]()  # when each pod was made

    def __call__(self, line: Line) -> Change:
        kind, name, s = line["k"], line["n"], line["s"]
        if kind != "Event":
            self._uids[(kind, name)] = line["u"]
        meta: Object = {"name": name, "uid": line["u"]}
        if s.get("gen") is not None:
            meta["generation"] = s["gen"]
        if s.get("rev") is not None:
            meta["annotations"] = {"deployment.kubernetes.io/revision": s["rev"]}
        if s.get("owner"):
            owner, _, called = s["owner"].partition("/")
            meta["ownerReferences"] = [{"kind": owner, "name": called, "uid": self._uids.get((owner, called), "")}]
        if kind == "Pod":
            meta["creationTimestamp"] = self._made.setdefault(line["u"], _stamp(line["t"]))
        if kind == "Event":
            s = s | {"last": _stamp(line["t"])}
        made = getattr(self, f"_{kind.lower()}")(s, meta)
        return Change(line["t"], kind, line["u"], {"metadata": meta, **made}, line.get("e") == "DELETED")

    def _deployment(self, s: Object, _meta: Object) -> Object:
        counts = {"replicas": "replicas", "updatedReplicas": "updated", "readyReplicas": "ready",
                  "availableReplicas": "avail"}  # fmt: skip
        status = {"observedGeneration": s["obs"] or 0, "conditions": _conditions(s["cond"])}
        spec = {"replicas": s["want"], "paused": s.get("paused", False), **_template(s)}
        return {"spec": spec, "status": status | {k: s[v] for k, v in counts.items()}}

    def _replicaset(self, s: Object, _meta: Object) -> Object:
        counts = {"replicas": s["replicas"], "readyReplicas": s["ready"], "availableReplicas": s["avail"]}
        return {"spec": {"replicas": s["want"]}, "status": {"conditions": _conditions(s["cond"]), **counts}}

    def _statefulset(self, s: Object, _meta: Object) -> Object:
        status = {k: s[k] for k in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")}
        status |= {"observedGeneration": s["obs"] or 0, "currentRevision": s["cur"], "updateRevision": s["upd"]}
        spec = {"replicas": s["want"], "updateStrategy": s.get("strategy", {}), **_template(s)}
        return {"spec": spec, "status": status}

    def _daemonset(self, s: Object, _meta: Object) -> Object:
        return {"spec": _template(s), "status": {**s, "observedGeneration": s["obs"] or 0}}

    def _job(self, s: Object, _meta: Object) -> Object:
        counts = {k: s[k] for k in ("active", "ready", "failed", "succeeded")}
        return {"spec": {**s["spec"], **_template(s)}, "status": {"conditions": _conditions(s["cond"]), **counts}}

    def _pod(self, s: Object, meta: Object) -> Object:
        if s.get("deleting"):
            meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": s.get("grace", 1)}
        if s.get("hash"):
            number = self._hashes.setdefault(s["hash"], len(self._hashes) + 1)
            meta["labels"] = {"controller-revision-hash": s["hash"], "pod-template-generation": str(number)}
        status = {"phase": s["phase"], "conditions": _conditions(s["cond"])}
        if s.get("why"):
            status["reason"] = s["why"]
        for key, short in (("containerStatuses", "c"), ("initContainerStatuses", "init")):
            if s.get(short):
                status[key] = [_container(c) for c in s[short]]
        placed = {"nodeName": "node"} if s.get("node") else {}
        return {"spec": self._specs | placed, "status": status}

    def _event(self, s: Object, _meta: Object) -> Object:
        on, _, field_path = s["on"].partition("#")
        kind, _, name = on.partition("/")
        about = {"kind": kind, "name": name, "uid": self._uids.get((kind, name), ""), "fieldPath": field_path}
        return {"involvedObject": about, "reason": s["reason"], "message": s["msg"], "count": s["count"],
                "type": s["type"], "lastTimestamp": s["last"]}  # fmt: skip


def _stamp(t: float) -> str:
    """A second of the tape as the API server writes it, which knows whole ones only."""
    return (_BEGAN + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _template(s: Object) -> Object:
    """The pod template, where the line names an image."""
    containers = [{"name": "web", "image": s.get("image"), "readinessProbe": {"periodSeconds": 1}}]
    return {"template": {"spec": {"containers": containers}}} if s.get("image") else {}


def _container(c: Object) -> Object:
    made = {"name": c["name"], "ready": c["ready"], "restartCount": c["rc"], "started": c.get("started"),
            "state": c["state"], "image": c.get("image", "")}  # fmt: skip
    return made | ({"lastState": c["last"]} if c.get("last") else {})


_CONDITION = re.compile(r"(\w+)(?:/(\w*))?(?:: (.*))?\Z", re.S)


def _conditions(trimmed: dict[str, str]) -> list[Object]:
    """`True/Reason: message` back as conditions."""
    found = []
    for kind, text in trimmed.items():
        match = _CONDITION.match(text)
        assert match, text
        found.append({"type": kind, "status": match[1], "reason": match[2] or "", "message": match[3] or ""})
    return found
