"""The lab's network links, made before the servers start and removed after they are gone."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from lab import processes
from lab.layout import DOCKER_ADDRESS, DOCKER_BRIDGE, NODE_ADDRESS, POD_BRIDGE, SERVICE_CIDR, Layout

_LIMIT = 20.0  # seconds for one `ip` or `sysctl`
_SYSCTL = Path("/proc/sys")
# route_localnet is kube-proxy's, for node ports on loopback; bridged packets must meet its rules too.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
_NEEDED = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")


def make(servers: Collection[str]) -> None:
    """Make the bridges of the servers that shall run, and let the machine forward between them."""
    for module in ("br_netfilter", "overlay"):
        # Built into some kernels, and a container may not load any: whatever lacks it says so itself.
        process.run(["modprobe", "--quiet", module], Deadline(_LIMIT, "modprobe"), hint="install kmod")
    for name in _NEEDED:
        if (_SYSCTL / name).exists():
            (_SYSCTL / name).write_text("1\n")
    if "kubelet" in servers:
        _bridge(POD_BRIDGE, f"{NODE_ADDRESS}/24")
        # Without a default route, the machine itself would find no way to a service's address.
        _ip("route", "replace", SERVICE_CIDR, "dev", POD_BRIDGE, "src", NODE_ADDRESS)
    if "dockerd" in servers:
        _bridge(DOCKER_BRIDGE, DOCKER_ADDRESS)


def _bridge(name: str, address: str) -> None:
    if name not in links():
        _ip("link", "add", name, "type", "bridge")
    _ip("address", "replace", address, "dev", name)
    _ip("link", "set", name, "up")


def links() -> dict[str, str]:
    """The machine's links, each with its master; empty where it has none."""
    found = json.loads(_ip("-json", "link", "show"))
    return {link["ifname"]: link.get("master", "") for link in found}


def left(layout: Layout) -> list[str]:
    """The lab's links that are there: its bridges, those of its Docker networks, and all that hang on them."""
    there = links()
    bridges = {name for name in there if name in (POD_BRIDGE, DOCKER_BRIDGE) or _docker_network(name, layout)}
    return sorted(bridges) + sorted(name for name, master in there.items() if master in bridges)


def _docker_network(name: str, layout: Layout) -> bool:
    """Whether a bridge belongs to a network of the lab's Docker Engine, by its own list of networks."""
    known = re.fullmatch(r"br-([0-9a-f]{12})", name)
    store = layout.data / "docker" / "network" / "files" / "local-kv.db"
    return bool(known and store.exists() and known[1].encode() in store.read_bytes())


def remove(layout: Layout) -> list[str]:
    """Remove the lab's links, and return those that would not go."""
    # A pod's end of a pair goes with the pod, and takes the other end along a moment later.
    processes.wait_until(lambda: all(name in (POD_BRIDGE, DOCKER_BRIDGE) for name in left(layout)), 2)
    for name in reversed(left(layout)):
        process.run(["ip", "link", "delete", name], Deadline(_LIMIT, "ip"))
    return left(layout)


def read_sysctls() -> dict[str, str]:
    """What the settings that the lab changes are now."""
    return {name: (_SYSCTL / name).read_text().strip() for name in SYSCTLS if (_SYSCTL / name).exists()}


def write_sysctls(values: dict[str, str]) -> None:
    """Put settings back to what they were."""
    for name, value in values.items():
        if name in SYSCTLS and (_SYSCTL / name).exists():
            (_SYSCTL / name).write_text(f"{value}\n")


def _ip(*args: str) -> str:
    done = process.run(["ip", *args], Deadline(_LIMIT, "ip"))
    if not done.ok:
        raise Unavailable(f"ip {' '.join(args)} failed", details=done.stderr[-3:], hint="the lab needs root")
    return done.stdout
