"""Who listens on which port of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cdlib.errors import UsageProblem
from lab import processes
from lab.plan import Server

_ESTABLISHED, _LISTEN = "01", "0A"  # as in include/net/tcp_states.h
_NET = Path("/proc/self/net")


@dataclass(frozen=True)
class Listener:
    """A listening socket: its address, its port, and the inode that its owner's descriptor shows."""

    address: str
    port: int
    inode: str

    def clashes(self, address: str, port: int) -> bool:
        """Whether nobody else can listen on `address` and `port` while this one does."""
        return self.port == port and self.address in ("0.0.0.0", "::", address)


def listeners(proc: Path = _NET) -> list[Listener]:
    """Every TCP socket that listens in this network namespace."""
    found = []
    for words in _sockets(proc):
        if words[3] == _LISTEN:
            address, _, port = words[1].partition(":")
            found.append(Listener(_readable(address), int(port, 16), words[9]))
    return found


def connected(port: int, proc: Path = _NET) -> bool:
    """Whether a client in this network namespace is connected to `port`."""
    return any(words[3] == _ESTABLISHED and int(words[2].rpartition(":")[2], 16) == port for words in _sockets(proc))


def _sockets(proc: Path) -> Iterator[list[str]]:
    """The kernel's tables of TCP sockets, split into columns."""
    for name in ("tcp", "tcp6"):
        if (proc / name).exists():
            for line in (proc / name).read_text().splitlines()[1:]:
                yield line.split()


def _readable(text: str) -> str:
    """An address as the kernel prints it: 32-bit words, each in the machine's own byte order."""
    raw = b"".join(struct.pack("=I", int(text[i : i + 8], 16)) for i in range(0, len(text), 8))
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


def require_free(servers: Iterable[Server]) -> None:
    """Raise UsageProblem where somebody listens on a port that one of `servers` needs; it names each."""
    there = listeners()
    taken = [
        f"port {port} ({server.name}) is taken by {_owner(listener.inode)}"
        for server in servers
        for address, port in server.ports
        for listener in there
        if listener.clashes(address, port)
    ]
    if taken:
        raise UsageProblem(
            taken[0] if len(taken) == 1 else f"{len(taken)} ports that the lab needs are taken",
            details=taken if len(taken) > 1 else (),
            hint="stop that process; or let the lab use what serves there: LAB_REGISTRY, DOCKER_HOST, LAB_KUBECONFIG",
        )


def _owner(inode: str) -> str:
    for process in processes.everyone():
        if f"socket:[{inode}]" in _descriptors(process.pid):
            return f"process {process.pid}: {processes.command(process.pid)[:100]}"
    return "a process that cannot be seen from here"


def _descriptors(pid: int) -> set[str]:
    """What the open files of a process are; those that close meanwhile are left out."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found
