"""Taking the lab down, and seeing to it that nothing of it is left, whatever state it was found in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cdlib.errors import CdError
from lab import cgroups, firewall, network, processes, sandbox
from lab.layout import Layout
from lab.plan import read_json, write_json
from lab.processes import Process

_ORDERLY = 10.0  # seconds that the supervisor gets before it is killed
_KILLED = 10.0  # seconds for the kernel to end a namespace


def supervisor(layout: Layout) -> Process | None:
    """The lab's supervisor, where it runs."""
    record = read_json(layout.record)
    found = Process(int(record.get("pid", 0)), int(record.get("start", 0)))
    return found if record.get("boot") == processes.boot() and found.alive else None


def remember(layout: Layout, *, containers: bool) -> None:
    """Note what the lab is going to change on this machine, unless an earlier lab's note is still due.

    A lab without `containers` leaves the network alone: what changes there meanwhile is somebody else's.
    """
    before = _remembered(layout)
    if not before or (containers and not before.get("containers", True)):
        write_json(
            _before(layout),
            {
                "boot": processes.boot(),
                "containers": containers,
                "mounts": sandbox.mounts_below(layout.root),
                "sysctls": network.read_sysctls(),
                "firewall": {
                    family: {name: asdict(table) for name, table in tables.items()}
                    for family, tables in firewall.snapshot().items()
                },
                "folders": [str(path) for path in sandbox.HIDDEN if not path.exists()],
            },
        )


def stop(layout: Layout) -> None:
    """End every process of the lab, in order where that works, and take back what it changed.

    Raises CdError, with one line for each, where something is left all the same.
    """
    processes.require_root("lab down")
    status = read_json(layout.status)
    space = str(status.get("namespace", ""))
    if head := supervisor(layout):
        _end(head, space)
    if space:
        processes.wait_until(lambda: not processes.inhabitants(space), _KILLED)
    cgroups.kill_members(layout.cgroup)
    left = [f"process {pid}: {processes.command(pid)}" for pid in cgroups.members(layout.cgroup)]
    left += [f"cgroup {path}" for path in cgroups.remove(layout.cgroup)]
    left += _restore(layout)
    if left:
        raise CdError("the lab is down, but something of it is left", details=left, hint="run it once more")
    shutil.rmtree(layout.run, ignore_errors=True)


def _end(head: Process, space: str) -> None:
    inner = [child for child in processes.children(head.pid) if processes.namespace(child.pid) == space]
    for first in inner:
        first.send(signal.SIGTERM)
    if not inner or not processes.wait_until(lambda: not head.alive, _ORDERLY):
        for process in (head, *inner, *processes.children(head.pid)):
            process.send(signal.SIGKILL)
    processes.wait_until(lambda: not head.alive and not any(p.alive for p in inner), _KILLED)


def _restore(layout: Layout) -> list[str]:
    """Remove links, and put packet filter rules, settings and folders back; returns what would not go."""
    before = _remembered(layout)
    if not before:
        return []  # this lab has changed nothing, so what is there is somebody else's
    left = _restore_network(layout, before) if before.get("containers", True) else []
    for folder in before["folders"]:
        with contextlib.suppress(OSError):  # somebody else uses it by now
            os.rmdir(folder)
    mounts = [point for point in sandbox.mounts_below(layout.root) if point not in before["mounts"]]
    return [*left, *(f"mount {point}" for point in mounts)]


def _restore_network(layout: Layout, before: dict[str, Any]) -> list[str]:
    was = {
        family: {name: firewall.Table(**table) for name, table in tables.items()}
        for family, tables in before["firewall"].items()
    }
    left = [f"link {name}" for name in network.remove(layout)]
    left += firewall.remove(was, network.links())
    network.write_sysctls(before["sysctls"])
    return left


def _remembered(layout: Layout) -> dict[str, Any]:
    """What was noted in this boot; whatever an earlier one had is gone by itself."""
    before = read_json(_before(layout))
    return before if before.get("boot") == processes.boot() else {}


def _before(layout: Layout) -> Path:
    return layout.run / "before.json"


def wipe(layout: Layout) -> None:
    """Forget what outlives `down`: the cluster, the registry's content, Docker's and containerd's stores."""
    for folder in (layout.data, layout.pki, layout.config, layout.logs):
        if below := [point for point in sandbox.mounts_below(folder) if point != str(folder)]:
            raise CdError(f"{below[0]} is still mounted", hint="unmount it, then run this again")
        shutil.rmtree(folder, ignore_errors=True)
