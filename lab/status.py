"""How the lab is: one row a server."""

from __future__ import annotations

from dataclasses import dataclass

from cdlib.table import table as columns
from lab import down, processes
from lab.given import answers
from lab.layout import Layout
from lab.loop.places import NAMES
from lab.plan import read, read_json

SERVERS = (
    "registry",
    "dockerd",
    "containerd",
    "etcd",
    "apiserver",
    "controller-manager",
    "scheduler",
    "kubelet",
    "proxy",
    "pod-gateway",
)
_STARTS = {
    "registry": ("registry",),
    "docker": ("dockerd",),
    "kubernetes": SERVERS[3:],
    "jenkins": ("jenkins",),
}


@dataclass(frozen=True)
class Row:
    """One server: `state` is up, given, down, or what it is on the way to up."""

    name: str
    state: str
    pid: int = 0
    address: str = ""
    since: str = ""

    @property
    def good(self) -> bool:
        """Whether it serves."""
        return self.state in ("up", "given")


def rows(layout: Layout) -> list[Row]:
    """Every server that the lab has or uses, as it is now: by the process itself, not by what was noted."""
    processes.require_root("lab status")  # nobody else sees which namespace a process of root's is in
    status = read_json(layout.status)
    running = down.supervisor(layout) is not None
    # The supervisor knows pids of its own namespace; people see those of the machine.
    here = processes.inhabitants(str(status.get("namespace", ""))) if running else {}
    plan = read(layout.plan)
    given = plan.given if running or not plan.servers else {}
    replaced = {name for what in given for name in _STARTS[what]}
    if "kubernetes" in given and "docker" in given:
        replaced.add("containerd")
    found = [Row(what, "given" if answers(what, where) else "down", address=where) for what, where in given.items()]
    loop = () if plan.names.isdisjoint(NAMES) else NAMES
    for name in (*SERVERS, *loop):
        entry = status.get("servers", {}).get(name)
        process = here.get(int(entry["pid"])) if entry else None
        if process and entry["start"] == process.start and process.alive:
            found.append(Row(name, entry["state"], process.pid, entry["address"], entry["since"]))
        elif name not in replaced and not (name == "containerd" and "kubernetes" in given):
            found.append(Row(name, "down"))
    return found


def table(shown: list[Row]) -> list[str]:
    """The rows in columns."""
    heads = ("NAME", "STATE", "PID", "ADDRESS", "SINCE")
    cells = [(row.name, row.state, str(row.pid or "-"), row.address or "-", row.since or "-") for row in shown]
    return columns(heads, cells)
