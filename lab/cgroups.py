"""The lab's own cgroup: servers in one child, pods and Docker's containers in two others.

Whatever the lab starts is below it, so it is found and removed there, on cgroup v1 (one tree a controller) and
v2 (one tree).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from lab import processes

_BASE = Path("/sys/fs/cgroup")


def unified(base: Path = _BASE) -> bool:
    """Whether this machine has cgroup v2 alone."""
    return (base / "cgroup.controllers").exists()


def trees(base: Path = _BASE) -> list[Path]:
    """The roots of the cgroup trees."""
    if unified(base):
        return [base]
    # With v1, controllers that share a tree are reached through links.
    return sorted({path.resolve() for path in base.iterdir() if (path / "cgroup.procs").exists()})


def enter(name: str, base: Path = _BASE) -> None:
    """Make the cgroup `name` of a lab, and move this process into its child for servers."""
    for tree in trees(base):
        top, servers = tree / name, tree / name / "servers"
        for folder in (top, servers):
            folder.mkdir(exist_ok=True)
            if not unified(base):
                _inherit_cpuset(folder)
        if unified(base):
            for parent in (tree, top):
                _enable_all(parent)
        (servers / "cgroup.procs").write_text("0")


def _inherit_cpuset(folder: Path) -> None:
    # A v1 cpuset starts out empty, and takes no process until it has processors and memory.
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (folder / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())


def _enable_all(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):  # a controller that the kernel cannot delegate is done without
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def members(name: str, base: Path = _BASE) -> set[int]:
    """The pids of every process in the cgroup `name` and below."""
    found: set[int] = set()
    for folder in _folders(name, base):
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return found - {0}


def kill_members(name: str, base: Path = _BASE) -> None:
    """SIGKILL whatever is still there, until nothing is."""

    def none_left() -> bool:
        for pid in members(name, base):
            if process := processes.known(pid):
                process.send(signal.SIGKILL)
        return not members(name, base)

    processes.wait_until(none_left, 5)


def remove(name: str, base: Path = _BASE) -> list[Path]:
    """Remove the cgroup `name` and those below, and return those that would not go."""

    def gone() -> bool:
        for folder in _folders(name, base):
            with contextlib.suppress(OSError):  # its last process is on its way out
                folder.rmdir()
        return not list(_folders(name, base))

    processes.wait_until(gone, 5)
    return list(_folders(name, base))


def _folders(name: str, base: Path) -> Iterator[Path]:
    """The cgroups at `name` and below, children before their parents."""
    for tree in trees(base):
        for path, _, _ in os.walk(tree / name, topdown=False):
            yield Path(path)
