"""What the supervisor is told to start: servers, what each waits for, and how to see that it serves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cdlib.files import replace_file


@dataclass(frozen=True)
class Probe:
    """How to ask a server whether it serves.

    `url` is asked over HTTP, over the unix socket `socket` where one is given; without a `url` it is enough
    that the socket takes a connection. `identity` is a file stem: `.crt` and `.key` beside `ca.crt`. With
    `node`, the answer must be a Kubernetes node that has reported itself ready since the server started.
    """

    url: str = ""
    socket: str = ""
    identity: str = ""
    node: bool = False


@dataclass(frozen=True)
class Server:
    """One program of the lab.

    `after` names the servers that must serve before it starts. `ports` are (address, port) that it listens
    on. A `job` is no server: it does one thing, and has served once it exits with 0.
    """

    name: str
    argv: tuple[str, ...]
    probe: Probe = Probe()
    after: tuple[str, ...] = ()
    ports: tuple[tuple[str, int], ...] = ()
    address: str = ""
    env: dict[str, str] = field(default_factory=dict)
    job: bool = False


@dataclass(frozen=True)
class Plan:
    """All that one lab starts. `given` says what it does not start, because somebody else's serves already:
    `kubernetes`, `docker` or `registry`, each with where it is."""

    servers: tuple[Server, ...]
    given: dict[str, str]

    @property
    def names(self) -> set[str]:
        """The names of the servers, jobs left out."""
        return {server.name for server in self.servers if not server.job}

    def write(self, path: Path) -> None:
        """Write the plan as JSON, whole or not at all."""
        write_json(path, asdict(self))


def has_containers(names: Iterable[str]) -> bool:
    """Whether these servers run containers, and so change the machine's network."""
    return not {"kubelet", "dockerd"}.isdisjoint(names)


def read(path: Path) -> Plan:
    """The plan in `path`; one without servers where there is none."""
    document = read_json(path)
    return Plan(tuple(_server(entry) for entry in document.get("servers", [])), document.get("given", {}))


def _server(entry: dict) -> Server:  # type: ignore[type-arg]
    return Server(
        **{
            **entry,
            "argv": tuple(entry["argv"]),
            "probe": Probe(**entry["probe"]),
            "after": tuple(entry["after"]),
            "ports": tuple((address, port) for address, port in entry["ports"]),
        }
    )


def write_json(path: Path, document: object) -> None:
    """Write `document` so that a reader finds the old one or the new one, never a part."""
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())


def read_json(path: Path) -> dict:  # type: ignore[type-arg]
    """The JSON object in `path`; an empty one where there is none."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
