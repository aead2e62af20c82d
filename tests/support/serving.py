"""Folders over HTTP on this machine, as the servers that pages lie on would serve them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.jenkins.routes import ARTIFACT_POLICY


@contextmanager
def served(folder: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a folder, while this lasts; it ends with a slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Files with the headers that a kind of server adds to each."""

    added: Mapping[str, str] = {}

    def end_headers(self) -> None:
        for name, value in self.added.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Artifacts(Quiet):
    """As Jenkins serves artifacts."""

    added = {"Content-Security-Policy": ARTIFACT_POLICY, "X-Content-Type-Options": "nosniff"}
