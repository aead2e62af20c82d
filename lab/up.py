"""Bringing the lab up: once, however often it is asked for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable, UsageProblem
from lab import down, given, images, install, kubernetes, pki, ports, processes, sandbox, servers, settings
from lab.layout import Layout
from lab.loop.places import NAMES
from lab.plan import Plan, has_containers, read, read_json, write_json

_START = 150.0  # seconds for all servers to serve, on a machine that is busy with other things too
_TAIL = 12  # lines of a log that an error shows
KINDS = {"docker", "kubernetes", "registry"}
Say = Callable[[str], None]


def bring_up(layout: Layout, say: Say, *, loop: bool = False) -> bool:
    """Install what is missing, start what does not run, and fill the registry with the lab's images.

    `loop` adds Gerrit, Zuul and Jenkins; a lab that has them keeps them. Returns False where nothing had to be
    started. Raises as `install` and `start` do.
    """
    processes.require_root("lab up")
    loop = loop or has_loop(layout)
    there = given.find(layout, running(layout), say, loop=loop)
    if not down.supervisor(layout):
        ports.require_free(make_plan(layout, there, loop=loop).servers)  # before compiling for ten minutes
    install.install(layout, there, extras=False, loop=loop, say=say)
    started = start(layout, there, say, loop=loop)
    registry = there.get("registry", settings.REGISTRY)
    images.push_base(layout, registry, say)
    settings.write_targets(layout.targets, registry)
    if loop and not started:
        _set_up_loop(layout)
    return started


def running(layout: Layout) -> set[str]:
    """The names of the servers that the lab itself runs now."""
    return read(layout.plan).names if down.supervisor(layout) else set()


def has_loop(layout: Layout) -> bool:
    """Whether the lab that runs has the loop's servers."""
    return not running(layout).isdisjoint(NAMES)


def make_plan(layout: Layout, there: dict[str, str], *, loop: bool = False) -> Plan:
    """What has to be started beside what is `there` already; writes the servers' configuration files."""
    layout.config.mkdir(parents=True, exist_ok=True)
    wanted = []
    if "registry" not in there:
        wanted += servers.registry(layout)
    if "kubernetes" not in there:
        wanted += servers.containerd(layout)
        wanted += kubernetes.servers(layout)
    if "docker" not in there:
        wanted += servers.docker(layout, shared="kubernetes" not in there)
    if loop:
        from lab.loop import servers as loops

        wanted += loops.plan(layout, there)
    return Plan(tuple(wanted), there)


def healthy(layout: Layout) -> bool:
    """Whether a supervisor runs, and all that it was told to start serves."""
    if not down.supervisor(layout):
        return False
    status = read_json(layout.status).get("servers", {})
    good = {name for name, entry in status.items() if entry["state"] in ("up", "done")}
    return bool(status) and good == {server.name for server in read(layout.plan).servers}


def coming(layout: Layout) -> bool:
    """Whether a supervisor runs and nothing has failed: what does not serve yet will."""
    status = read_json(layout.status)
    bad = any(entry["state"] in ("failed", "down") for entry in status.get("servers", {}).values())
    return down.supervisor(layout) is not None and not bad and not status.get("problem")


def start(layout: Layout, there: dict[str, str], say: Say, *, loop: bool = False) -> bool:
    """Start what is not `there` already. Returns False where it was up already.

    Raises UsageProblem where a port is taken, Unavailable where a server does not come up; then nothing of
    the lab is left running, save what ran before the loop was added to it.
    """
    wanted = KINDS - set(there)
    if not wanted and not loop:
        down.stop(layout)
        layout.run.mkdir(parents=True, exist_ok=True)
        make_plan(layout, there).write(layout.plan)
        return False
    if coming(layout) and wanted <= KINDS - set(read(layout.plan).given) and (not loop or _can_grow(layout)):
        if loop and not has_loop(layout):
            _grow(layout, there)
            _wait(layout, say)
            return True
        if healthy(layout):
            return False
        say("the lab is coming up already")
    else:
        down.stop(layout)
        _launch(layout, there, loop=loop)
    try:
        _wait(layout, say)
    except BaseException:
        down.stop(layout)
        raise
    return True


def _set_up_loop(layout: Layout) -> None:
    """Bring what has changed in this checkout into a loop that runs; one that starts reads it by itself."""
    from lab.loop import config
    from lab.loop.places import Places

    if missing := sorted(set(NAMES) - running(layout) - set(read(layout.plan).given)):
        raise UsageProblem(
            f"the loop that runs is of an older checkout: it has no {', '.join(missing)}",
            hint="take it down first: python -m lab down",
        )
    config.apply(Places(layout))


def _can_grow(layout: Layout) -> bool:
    """Whether the supervisor has the loop's servers, or is one that takes more."""
    return has_loop(layout) or bool(read_json(layout.status).get("heeds_requests"))


def _grow(layout: Layout, there: dict[str, str]) -> None:
    """Add the loop's servers to the lab that runs."""
    old = read(layout.plan)
    known = {server.name for server in old.servers}
    more = tuple(server for server in make_plan(layout, there, loop=True).servers if server.name not in known)
    ports.require_free(more)
    Plan((*old.servers, *more), there).write(layout.plan)
    layout.requests.mkdir(exist_ok=True)
    for server in more:
        (layout.requests / server.name).touch()


def _launch(layout: Layout, there: dict[str, str], *, loop: bool) -> None:
    pki.ensure(layout)
    plan = make_plan(layout, there, loop=loop)
    ports.require_free(plan.servers)
    for folder in (layout.run, layout.logs, layout.data):
        folder.mkdir(parents=True, exist_ok=True)
    plan.write(layout.plan)
    layout.status.unlink(missing_ok=True)
    down.remember(layout, containers=has_containers(plan.names))
    # The supervisor waits for a word from us, which it gets once it is on record: killed at any moment, we
    # leave either no supervisor, or one that `down` finds.
    child = process.start(
        [*sandbox.prefix(), sys.executable, "-m", "lab.supervisor", layout.root],
        layout.log("supervisor"),
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PATH": sandbox.path()},
        stdin=subprocess.PIPE,
    )
    found = processes.known(child.pid)
    write_json(layout.record, {"boot": processes.boot(), "pid": child.pid, "start": found.start if found else 0})
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    child.stdin.close()
    child.returncode = 0  # it outlives us, and Popen need not mind


def _wait(layout: Layout, say: Say) -> None:
    deadline = Deadline(_START, "the lab's start")
    started = time.monotonic()
    seen: set[str] = set()
    while True:
        serving = healthy(layout)
        status = read_json(layout.status)
        entries = status.get("servers", {})
        for name, entry in entries.items():
            if entry["state"] == "up" and name not in seen:
                seen.add(name)
                say(f"{name} serves at {entry['address']}  ({time.monotonic() - started:.1f} s)")
        if serving:
            return
        if status.get("problem") or not down.supervisor(layout):
            raise _failure(layout, "supervisor", status.get("problem") or "the lab's supervisor ended")
        for name, entry in entries.items():
            if entry["state"] in ("failed", "down"):
                raise _failure(layout, name, f"{name} ended with status {entry['exit']} while it started")
        if deadline.over:
            late = next((name for name, entry in entries.items() if entry["state"] == "starting"), "supervisor")
            raise _failure(layout, late, f"{late} does not serve after {_START:g} s")
        time.sleep(0.1)


def _failure(layout: Layout, name: str, message: str) -> Unavailable:
    log = layout.log(name)
    lines = log.read_text(errors="replace").splitlines()[-_TAIL:] if log.exists() else []
    return Unavailable(message, details=lines, hint=f"read {log}, then run this again", retryable=False)
