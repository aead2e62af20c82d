"""Asking a server whether it serves. No proxy, no retry: the caller asks again."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from lab.plan import Probe, Server

_PATIENCE = 1.0  # seconds; everything that is asked is on this machine


def serves(server: Server, since: datetime) -> bool:
    """Whether `server`, started at `since`, serves now."""
    probe = server.probe
    try:
        if probe.url:
            return _asks(probe, since)
        return _connects(probe.socket or server.ports[0])
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _connects(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE)
        client.connect(address)
    return True


def _asks(probe: Probe, since: datetime) -> bool:
    connection = _connection(probe)
    try:
        connection.request("GET", urlsplit(probe.url).path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        return False
    return not probe.node or node_ready(json.loads(body), since)


def _connection(probe: Probe) -> http.client.HTTPConnection:
    url = urlsplit(probe.url)
    host = url.hostname or ""
    if probe.socket:
        return _UnixConnection(probe.socket)
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=_PATIENCE, context=_tls(probe.identity))
    return http.client.HTTPConnection(host, url.port, timeout=_PATIENCE)


@lru_cache
def _tls(identity: str) -> ssl.SSLContext:
    if not identity:  # a component's own self-signed certificate: only its health is asked, nothing is sent
        return ssl._create_unverified_context()
    context = ssl.create_default_context(cafile=str(Path(identity).parent / "ca.crt"))
    context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
    return context


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def node_ready(node: dict, since: datetime) -> bool:  # type: ignore[type-arg]
    """Whether a Kubernetes node has said since `since` that it is ready.

    A node that went away without a word stays ready in the API server's eyes for 40 s and more.
    """
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            said = datetime.fromisoformat(condition["lastHeartbeatTime"])
            return condition["status"] == "True" and said >= since.replace(microsecond=0)
    return False
