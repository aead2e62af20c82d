"""One container: what its state, its ends and the Events about it say of whether it will ever come up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cdlib.rollout.api import Object
from cdlib.rollout.causes import (
    CONTAINER_NOT_MADE,
    ENDS,
    ENDS_IN_ALLOWANCE,
    HOOK_FAILURES,
    LIVENESS_KILLS,
    MISSING,
    OOM_KILLS,
    START_ERRORS,
    STARTUP_KILLS,
    STEADY,
    UNKNOWN_CONFIG,
    Cause,
    Place,
    Question,
    before_and_since,
    counted,
)
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.pulls import Pulls

FINAL = {
    "InvalidImageName": "its image has no valid name",
    "ErrImageNeverPull": "its image is not on the node, and imagePullPolicy Never forbids to pull it",
}
# Only what is said of the program itself, first as runc says it, then as crun does: the same words about a mount, a
# cgroup, a hook or the runtime's own programs are the node's trouble.
_FINAL_START = re.compile(
    r"""(?:^|container\ process:\ |container\ init:\ |process\ caused:?\ "?)
            exec:\ \\?".*?":\ (?:stat\ .*?:\ )?
            (?:no\ such\ file|executable\ file\ not\ found|permission\ denied|(?:is|not)\ a\ directory|exec\ format)
    |   (?<![/\w])exec\ (?:user\ process\ caused:?|container\ process\ `[^`]*`:|[^\s:]+:)\ "?exec\ format\ error
    |   executable\ file\ `[^`]*`\ not\ found
    |   open\ executable:\ permission\ denied""",
    re.I | re.S | re.X,
)
_FINAL_CONFIG = ("runAsNonRoot", "breaks non-root policy")
_NOT_FOUND = re.compile(r'\b(configmap|secret) "([^"]+)" not found', re.I)
_NO_KEY = re.compile(r"couldn't find key (\S+) in (ConfigMap|Secret) \S*?/(\S+)")
_KINDS = {"configmap": "ConfigMap", "secret": "Secret"}
# What only Events tell: reason, text, limit, and how it is said.
_TOLD = (
    ("Killing", "failed startup probe", STARTUP_KILLS, "killed {} because its startup probe failed to the end"),
    ("Killing", "failed liveness probe", LIVENESS_KILLS, "killed {} because its liveness probe failed"),
    ("FailedPostStartHook", "", HOOK_FAILURES, "its postStart hook failed {}"),
)
_RUNC = re.compile(r"^.*unable to start container process: |: unknown$", re.S)


@dataclass
class Memory:
    """What is remembered of one container between looks."""

    older: bool = False  # than what was applied is its pod: of what it did before the first look, one time more counts
    pulls: Pulls = field(default_factory=Pulls)
    ends: dict[int, tuple[str, int]] = field(default_factory=dict)  # by number: reason and exit code
    total: int = 0
    before: int = 0  # ends of an older pod before the first look
    base: int = 0  # ends up to this number do not count: it was steady after them, or they came before this rollout
    first_seen: float | None = None
    old: bool = False  # it was ready already when it was first seen: what happened to it before does not count
    ready_since: float | None = None
    before_ready: int | None = None  # ends before it was ready for the first time

    def see(self, status: Object, now: float) -> None:
        """Take in the container's status."""
        first = self.first_seen is None
        if first:
            self._count(status)  # what came before the first look counts to one less than the limit
            self.first_seen, self.base = now, self.total - before_and_since(self.total, 0, ENDS)
            self.before = self.total if self.older else 0
        elif self.ready_since is not None and now - self.ready_since >= STEADY:
            self.base = self.total
        self._count(status)
        if not status.get("ready"):
            self.ready_since = None
            return
        if self.ready_since is None:
            self.ready_since = now
        if self.before_ready is None:
            self.before_ready = self.total
        if first:
            self.base, self.old = self.total, True

    def _count(self, status: Object) -> None:
        state, number = status.get("state") or {}, int(status.get("restartCount", 0))
        ended, last = state.get("terminated"), (status.get("lastState") or {}).get("terminated")
        if last:
            # A container that waits to be started again has not counted its last end as a restart yet.
            number += "waiting" in state
            self.ends[number] = (str(last.get("reason", "")), int(last.get("exitCode", -1)))
        if ended and not (status.get("ready") and ended.get("exitCode") == 0):  # an init container that is done
            number += 1
            self.ends[number] = (str(ended.get("reason", "")), int(ended.get("exitCode", -1)))
        self.total = max(self.total, number)

    @property
    def lately(self) -> int:
        """How many ends count."""
        return self.total - self.base

    def in_a_row(self, reason: str) -> int:
        """How many of the last ends that count had this reason."""
        found = 0
        while self.total - found > self.base and self.ends.get(self.total - found, ("", 0))[0] == reason:
            found += 1
        return found

    def counting(self, reason: str, limit: int) -> int:
        """How many of them count, where `limit` of them are a failure."""
        row = self.in_a_row(reason)
        since = min(row, self.total - self.before)
        return before_and_since(row - since, since, limit)


def container_causes(place: Place, status: Object, memory: Memory, told: Happenings, allowance: float,
                     now: float) -> Iterator[Cause]:  # fmt: skip
    """What keeps a container of a service from staying up. `allowance` is that of its startup probe, in seconds."""
    yield from waiting_causes(place, status, memory)
    code = memory.ends.get(memory.total, ("", -1))[1]
    if times := memory.in_a_row("OOMKilled"):
        text = f"killed {_times(times)} for using more memory than its limit"
        yield place.cause("oom", "OOMKilled", text, counted(memory.counting("OOMKilled", OOM_KILLS), OOM_KILLS),
                          exit_code=code)  # fmt: skip
    if memory.lately > memory.in_a_row("StartError"):
        text = f"ended {_times(memory.total)}, the last time with exit code {'unknown' if code < 0 else code}"
        after = _ends_judged(memory, "running" in (status.get("state") or {}), allowance, now)
        yield place.cause("ends", "CrashLoop", text, after, exit_code=code)
    for reason, text, limit, said in _TOLD:
        before, since = told.count(place.uid, place.container, reason, text)
        if times := before_and_since(0 if memory.old else before, since, limit):
            name = text.title().replace(" ", "") or reason
            yield place.cause(name, name, said.format(_times(times)), counted(times, limit), exit_code=code)


def waiting_causes(place: Place, status: Object, memory: Memory) -> Iterator[Cause]:
    """What keeps a container from being started at all; the same for services and Jobs."""
    state = status.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in FINAL:
        yield place.cause(reason, reason, f"{FINAL[reason]}: {message}")
    elif reason == "CreateContainerConfigError":
        yield _config_cause(place, message)
    elif reason == "CreateContainerError":
        yield place.cause("make", reason, f"cannot be made: {message}", CONTAINER_NOT_MADE, place.alive)
    failed = state.get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
    if failed.get("reason") == "StartError" and "running" not in state:
        message = str(failed.get("message", ""))
        limit = 1 if _FINAL_START.search(message) else START_ERRORS
        after = counted(memory.counting("StartError", limit), limit)
        yield place.cause("start", "StartError", f"cannot be started: {_RUNC.sub('', message)}", after, exit_code=128)


def _config_cause(place: Place, message: str) -> Cause:
    """The same reason stands for what a moment mends and for what nothing mends: only the message tells."""
    if any(text in message for text in _FINAL_CONFIG):
        return place.cause("config", "RunsAsRoot", f"may not start: {message}")
    if found := _NO_KEY.search(message):
        question = Question(found.group(2), found.group(3), found.group(1))
        text = f"the {question.kind} {question.name} has no key {question.key}"
        return place.cause("config", "MissingKey", text, MISSING, question)
    if found := _NOT_FOUND.search(message):
        question = Question(_KINDS[found.group(1).lower()], found.group(2))
        text = f"the {question.kind} {question.name} does not exist"
        return place.cause("config", f"Missing{question.kind}", text, MISSING, question)
    return place.cause("config", "CreateContainerConfigError", f"cannot be configured: {message}", UNKNOWN_CONFIG,
                       place.alive)  # fmt: skip


def _ends_judged(memory: Memory, running: bool, allowance: float, now: float) -> float:
    """Three ends are a failure, four while the startup probe's own allowance runs; never while it runs once more.

    What ended after it had been ready is not starting up any more, and counts while it runs, too.
    """
    if running:
        up = memory.total if memory.before_ready is None else memory.before_ready
        return counted(memory.total - max(up, memory.base), ENDS)
    young = memory.before_ready is None and now - (memory.first_seen or 0.0) < allowance
    return counted(memory.lately, ENDS_IN_ALLOWANCE if young else ENDS)


def _times(times: int) -> str:
    return "once" if times == 1 else f"{times} times"
