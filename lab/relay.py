"""A plain HTTP server on loopback in front of the cluster's API server: it counts requests, and can end who asks.

With `relay.kubeconfig` in place of the cluster's, whatever a command and its children ask goes through here, so that
a test can name a moment of a run by its number, and a benchmark can count.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cdlib.deadline import Deadline
from cdlib.rollout.kubeconfig import Cluster, read_cluster
from lab.layout import LOOPBACK

_CHUNK = 64 * 1024
_CREDENTIALS = 60.0  # seconds that a credential plugin may take
_HOP = ("host", "connection", "content-length", "transfer-encoding")  # headers that belong to one connection


@dataclass(frozen=True)
class Request:
    """One request; `agent` is the User-Agent's first word, such as `cdlib` or `Helm/4.3.1`."""

    method: str
    path: str
    agent: str

    @property
    def watch(self) -> bool:
        """Whether it asks for a watch."""
        return "watch=" in self.path

    def __str__(self) -> str:
        return f"{self.agent} {self.method} {self.path.split('?')[0]}{' (watch)' if self.watch else ''}"


class Relay:
    """Passes requests on and keeps a list of them; `strike` ends a process at a request of one's choice."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        """Listen at once, and write the kubeconfig into `folder`."""
        self.cluster = cluster
        self._lock = threading.Lock()
        self._seen: list[Request] = []
        self._at, self._victim = 0, 0
        self.struck: Request | None = None  # the request that was not passed on, once there is one
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.relay = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.kubeconfig = folder / "relay.kubeconfig"
        self.kubeconfig.write_text(json.dumps(_kubeconfig(f"http://{LOOPBACK}:{self._server.server_port}")))

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests since the last `reset`."""
        with self._lock:
            return tuple(self._seen)

    def reset(self) -> None:
        """Count from 1 again, and strike nobody."""
        with self._lock:
            self._seen, self._at, self._victim, self.struck = [], 0, 0, None

    def strike(self, at: int, victim: subprocess.Popen[str]) -> None:
        """SIGKILL `victim` when request number `at` since `reset` comes, before it is passed on.

        What the server was asked until then, and nothing after it, has happened. A request that came before this
        call is the one where it had that number, or a higher one.
        """
        with self._lock:
            self._at, self._victim = at, victim.pid
            if len(self._seen) >= at:
                self._strike(self._seen[-1])

    def let_pass(self, request: Request) -> bool:
        """Take a request in; False where it, or an earlier one, has been the last of whoever asks."""
        with self._lock:
            if self.struck:
                return False
            self._seen.append(request)
            if self._victim and len(self._seen) >= self._at:
                self._strike(request)
            return not self.struck

    def _strike(self, request: Request) -> None:
        os.kill(self._victim, signal.SIGKILL)
        self.struck = request


@contextmanager
def relaying(kubeconfig: Path, folder: Path) -> Iterator[Relay]:
    """A relay in front of the cluster of `kubeconfig`."""
    relay = Relay(read_cluster(kubeconfig, None), folder)
    try:
        yield relay
    finally:
        relay.close()


def connect(cluster: Cluster) -> http.client.HTTPConnection:
    """A connection to an API server, without anything of what cdlib makes of one."""
    place = urllib.parse.urlsplit(cluster.server)
    if cluster.tls is None:
        return http.client.HTTPConnection(place.hostname or "", place.port)
    return http.client.HTTPSConnection(place.hostname or "", place.port, context=cluster.tls)


def who(cluster: Cluster) -> dict[str, str]:
    """The headers that say who asks; a client's certificate is part of the connection."""
    return cluster.credentials.headers(Deadline(_CREDENTIALS, "a credential"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    relay: Relay

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed, or a server that is away: both are what is tried here."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    _upstream: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        """Pass one request on, and its answer back as it comes."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        agent = (self.headers.get("User-Agent") or "unknown").split()[0]
        if not self.server.relay.let_pass(Request(self.command, self.path, agent)):
            self.close_connection = True
            return
        self._upstream = self._upstream or connect(self.server.relay.cluster)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        self._upstream.request(self.command, self.path, body or None, {**headers, **who(self.server.relay.cluster)})
        self._answer(self._upstream.getresponse())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if not answer.chunked:
            body = answer.read()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece := answer.read1(_CHUNK):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def finish(self) -> None:
        """Close both ends."""
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the relay has a list."""


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "relay",
        "clusters": [{"name": "relay", "cluster": {"server": server}}],
        "contexts": [{"name": "relay", "context": {"cluster": "relay", "user": ""}}],
        "users": [],
    }
