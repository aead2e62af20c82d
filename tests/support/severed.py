"""A TCP proxy in front of a server that can fall silent, as a network does that is cut: connections stay, bytes do not."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SIZE = 64 * 1024
_TICK = 0.05  # seconds between looks at whether it is cut


class Severed:
    """Forwards from a port of its own to `host`:`port`, unless it is cut: then it accepts, and forwards nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._cut = threading.Event()
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TICK)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Forward nothing more; connections stay open, and new ones are accepted."""
        self._cut.set()

    def mend(self) -> None:
        """Forward again, what came meanwhile included."""
        self._cut.clear()

    def close(self) -> None:
        self._over.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError, OSError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        while self._cut.is_set() and not self._over.is_set():
            threading.Event().wait(_TICK)
        with client, suppress(OSError), socket.create_connection(self._target) as server:
            self._forward(client, server)

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for one, other in ((client, server), (server, client)):
                selector.register(one, selectors.EVENT_READ, other)
            while not self._over.is_set():
                if self._cut.is_set():
                    threading.Event().wait(_TICK)
                    continue
                for key, _ in selector.select(_TICK):
                    data = key.fileobj.recv(_SIZE)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)


@contextmanager
def severed(kubeconfig: dict[str, Any], file: Path) -> Iterator[Severed]:
    """A proxy before the API server of a kubeconfig, and `file`, a kubeconfig that leads through it."""
    cluster = kubeconfig["clusters"][0]["cluster"]
    url = urlsplit(cluster["server"])
    proxy = Severed(str(url.hostname), int(url.port or 443))
    cluster = {"tls-server-name": url.hostname, **cluster, "server": f"https://127.0.0.1:{proxy.port}"}
    document = {**kubeconfig, "clusters": [{**kubeconfig["clusters"][0], "cluster": cluster}]}
    file.write_text(json.dumps(document), encoding="utf-8")
    file.chmod(0o600)
    try:
        yield proxy
    finally:
        proxy.close()
