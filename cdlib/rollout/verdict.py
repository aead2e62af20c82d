"""How a rollout stands: complete, failed and why, or what it waits for.

The judge sees API objects as a watch has them, and a clock; it writes nothing. The rules come from recorded
rollouts of a real kubelet: which states are final, which only when repeated or when they last, and which look the
same in a rollout that ends well. docs/verdicts.md has them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cdlib.rollout.api import Object
from cdlib.rollout.causes import INCONCLUSIVE, Cause
from cdlib.rollout.controllers import held_back, workload_causes
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.leaving import Leaving
from cdlib.rollout.patience import Exists, Patience, SeenTime
from cdlib.rollout.pods import UNREADY, PodMemory, pod_causes
from cdlib.rollout.progress import (
    counted_available,
    has_past,
    observed,
    own_pods,
    own_replicaset,
    pod_ready,
    unproven,
    workload_done,
)
from cdlib.rollout.pulls import Pulled
from cdlib.rollout.shown import shown_images
from cdlib.rollout.unheeded import Unheeded

__all__ = ["INCONCLUSIVE", "OUTAGE", "Fault", "Judge", "State", "Workloads", "pod_ready"]

OUTAGE = "Outage"  # that of one that is the API server's, and not the release's
MOST = 5  # lines of what a rollout waits for

Workloads = Sequence[tuple[str, str]]  # (kind, name)


@dataclass(frozen=True)
class Fault:
    """Why a rollout has failed: which pod and container, the reason, and what the state says of it.

    `about` names the object where no pod is to blame; `exit_code` is None where nothing has ended.
    """

    pod: str
    container: str
    reason: str
    message: str
    about: str = ""
    exit_code: int | None = None

    def __str__(self) -> str:
        where = f"pod {self.pod}" if self.pod else self.about
        where += f", container {self.container}" if self.container else ""
        return f"{where}: {self.message}" if where else self.message


@dataclass(frozen=True)
class State:
    """One look at a rollout: complete, failed (with its faults), or still under way.

    `kept` are pods of Jobs that were seen to fail, each with its `logs` as they were then: they may be gone.

    `waiting` says what keeps it so far, as one line each, and `trouble` the first of them that is more than being
    slow; `ends` counts how often containers have ended. `hold` is for how many seconds it must stay complete to count
    as such: not 0 where containers have no readiness probe. `unseen` is how many pods a controller counts as available
    whose watch, which is another one, has not shown that yet; `missed` for how many seconds the cluster was away, or
    coming to itself, its scheduler and nodes included. `shown` are the images of workloads of which something was seen
    to run, or that shall run nothing.
    """

    complete: bool
    summary: str
    faults: tuple[Fault, ...] = ()
    kept: tuple[Object, ...] = field(default=(), repr=False, kw_only=True)
    pods: tuple[Object, ...] = field(default=(), repr=False)
    waiting: tuple[str, ...] = ()
    ends: int = 0
    trouble: str = ""
    hold: float = 0.0
    unseen: int = 0
    missed: float = 0.0
    shown: frozenset[str] = frozenset()


class Judge:
    """Judges one rollout, look by look. `exists` looks up single objects before something missing counts.

    `older` says of a pod that has a past already when it is first seen whether it was there before what was applied.
    """

    def __init__(self, workloads: Workloads, exists: Exists = lambda _kind, _name, _key: None,
                 clock: Callable[[], float] = time.monotonic,
                 older: Callable[[Object], bool] = lambda _pod: False) -> None:  # fmt: skip
        self._workloads, self._clock, self._older = tuple(workloads), clock, older
        self._seen_time, self._unheeded, self._patience = SeenTime(clock), Unheeded(), Patience(exists)
        self._told, self._pulled, self._leaving = Happenings(), Pulled(), Leaving()
        self._shown: frozenset[str] = frozenset()
        self._pods: dict[str, PodMemory] = {}

    def look(self, found: Mapping[str, list[Object]], *, seen: bool = True) -> State:
        """How it stands, by all objects of the namespace, by kind. `seen` is whether the cluster can be seen now."""
        mine = list(_named(found, self._workloads))
        sets, every = found.get("ReplicaSet", []), found.get("Pod", [])
        makers = [o for kind, o in mine if kind not in ("Job", "Pod")]
        makers += [r for kind, o in mine if kind == "Deployment" and (r := own_replicaset(o, sets))]
        acting = all(map(observed, makers))
        now, patient = self._clock(), self._seen_time.tick(seen and acting)
        for h in self._told.take(found.get("Event")):
            self._pulled.see(h.message, now)
        self._leaving.see(every, patient)
        self._shown = self._shown.union(image for kind, o in mine for image in shown_images(kind, o))
        pods = [(kind, o, [] if held_back(kind, o, sets) else own_pods(kind, o, sets, every)) for kind, o in mine]
        own = tuple(pod for _, _, group in pods for pod in group)
        self._unheeded.see(pods, sets, every, patient)
        missed = self._seen_time.missed + self._unheeded.seconds
        failures, waiting = self._patience.sort(self._causes(pods, sets, now, missed), patient)
        self._forget(every)
        done = [workload_done(kind, o) for kind, o in mine]
        summary = "; ".join(f"{o['metadata']['name']} {text}" for (_, o), (_, text) in zip(mine, done, strict=True))
        gone = set(self._workloads) - {(kind, str(o["metadata"]["name"])) for kind, o in mine}
        # A Job that is not there any more has ended, and its time to live is over: Helm has just applied it. Hooks,
        # which may be pods, come and go as Helm has their turn.
        complete = all(ok for ok, _ in done) and all(kind in ("Job", "Pod") for kind, _ in gone)
        available = sum(counted_available(kind, o) for kind, o in mine)
        return State(complete, summary or "nothing to wait for", _faults(failures), own,
                     _waiting(waiting), self._ends(own), _trouble(waiting),
                     max((unproven(kind, o) for kind, o in mine), default=0.0),
                     max(0, available - sum(map(pod_ready, own))), missed, self._shown)  # fmt: skip

    def _causes(self, pods: Sequence[tuple[str, Object, list[Object]]], sets: list[Object],
                now: float, missed: float) -> Iterator[Cause]:  # fmt: skip
        for kind, o, group in pods:
            leaving = self._leaving.of(kind, o, sets)
            for pod in group:
                memory = self._pods.get(uid := str(pod["metadata"]["uid"]))
                if memory is None:
                    memory = self._pods[uid] = PodMemory(has_past(pod) and self._older(pod))
                yield from pod_causes(pod, memory, self._told, self._pulled, now, leaving)
            yield from workload_causes(kind, o, sets, group, self._told, missed, leaving)

    def _ends(self, own: Sequence[Object]) -> int:
        memories = [self._pods[str(pod["metadata"]["uid"])] for pod in own]
        return sum(each.total for memory in memories for each in memory.containers.values())

    def _forget(self, every: Sequence[Object]) -> None:
        """Forget pods that are gone: a rollout may make thousands of them."""
        if len(self._pods) > 2 * len(every):
            there = {str(pod["metadata"]["uid"]) for pod in every}
            self._pods = {uid: memory for uid, memory in self._pods.items() if uid in there}


def _faults(failures: Sequence[Cause]) -> tuple[Fault, ...]:
    """What to blame, the most telling first: a passed deadline only says that something else has lasted long, and what
    cannot be judged says nothing against what can."""
    last = (INCONCLUSIVE, "ProgressDeadlineExceeded", "CrashLoop")
    order = sorted(failures, key=lambda c: [c.reason == reason for reason in last])
    return tuple(Fault(c.pod, c.container, c.reason, c.message, c.about, c.exit_code) for c in order)


def _waiting(causes: Sequence[Cause]) -> tuple[str, ...]:
    """What may still go away, the most telling first."""
    return tuple(str(c) for c in sorted(causes, key=lambda c: c.reason == UNREADY)[:MOST])


def _trouble(causes: Sequence[Cause]) -> str:
    return next((str(c) for c in causes if c.reason != UNREADY), "")


def _named(found: Mapping[str, list[Object]], workloads: Workloads) -> Iterator[tuple[str, Object]]:
    wanted = set(workloads)
    for kind in dict.fromkeys(kind for kind, _ in workloads):
        yield from ((kind, o) for o in found.get(kind, []) if (kind, o["metadata"]["name"]) in wanted)
