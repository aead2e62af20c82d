"""One server of a lab that runs, stopped and started again: what a test of faults, or a person, wants."""

from __future__ import annotations

import signal
import time

from cdlib.deadline import Deadline
from cdlib.errors import Unavailable, UsageProblem
from lab import down, processes
from lab.layout import Layout
from lab.loop.places import EVENTS, EVENTS_AFTER
from lab.plan import read, read_json

_ORDERLY = 20.0  # seconds that a server gets to end by itself
_KILLED = 10.0
_START = 120.0  # seconds until it serves again


def stop(layout: Layout, name: str, *, kill: bool = False) -> None:
    """End a server, with `kill` as a crash would. Raises UsageProblem where it does not run."""
    process = _process(layout, name)
    process.send(signal.SIGKILL if kill else signal.SIGTERM)
    if not processes.wait_until(lambda: not process.alive, _KILLED if kill else _ORDERLY):
        process.send(signal.SIGKILL)
        processes.wait_until(lambda: not process.alive, _KILLED)
    processes.wait_until(lambda: state(layout, name) == "down", _KILLED)


def start(layout: Layout, name: str) -> None:
    """Start a server that has ended, and wait until it serves. Raises UsageProblem, Unavailable."""
    _require_known(layout, name)
    _start(layout, name)
    if name in EVENTS_AFTER and {state(layout, other) for other in EVENTS_AFTER} == {"up"}:
        _start(layout, EVENTS)


def _start(layout: Layout, name: str) -> None:
    layout.requests.mkdir(exist_ok=True)
    request = layout.requests / name
    request.touch()
    deadline = Deadline(_START, name)
    while request.exists() or state(layout, name) in ("waiting", "starting"):
        if deadline.over:
            raise Unavailable(f"{name} does not serve after {_START:g} s", hint=f"read {layout.log(name)}")
        time.sleep(0.05)
    if state(layout, name) not in ("up", "done"):
        raise Unavailable(f"{name} ended while it started", hint=f"read {layout.log(name)}", retryable=False)


def state(layout: Layout, name: str) -> str:
    """How the supervisor has a server: waiting, starting, up (a job: done), failed or down."""
    return str(read_json(layout.status).get("servers", {}).get(name, {}).get("state", ""))


def _require_known(layout: Layout, name: str) -> None:
    names = read(layout.plan).names if down.supervisor(layout) else set()
    if name not in names:
        known = ", ".join(sorted(names)) or "none: the lab is down"
        raise UsageProblem(f"the lab runs no server {name!r}", hint=f"choose from: {known}")


def _process(layout: Layout, name: str) -> processes.Process:
    _require_known(layout, name)
    status = read_json(layout.status)
    entry = status["servers"].get(name, {})
    found = processes.inhabitants(str(status["namespace"])).get(int(entry.get("pid", 0)))
    if not found or found.start != entry["start"] or not found.alive:
        raise UsageProblem(f"{name} does not run", hint=f"start it: python -m lab start {name}")
    return found
