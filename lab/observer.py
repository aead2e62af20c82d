"""What a cluster's watch shows, with the moment of each change: an outsider's view of a rollout, none of cdlib's."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from cdlib.rollout.kubeconfig import Cluster
from lab.relay import connect, who

_WINDOW = 300  # seconds of one watch
_PAUSE = 0.1  # seconds before the server is asked again that did not answer
_JOIN = 5.0  # seconds


@dataclass(frozen=True)
class Seen:
    """One version of an object, and the second (of the clock on the wall) at which it came."""

    at: float
    gone: bool
    object: Any


class Observer:
    """Watches collections by their API paths, such as /api/v1/namespaces/x/pods, as a context manager."""

    def __init__(self, cluster: Cluster, *paths: str) -> None:
        self._cluster = cluster
        self._changed = threading.Condition()
        self._seen: list[Seen] = []
        self._over = threading.Event()
        self._listed = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._run, args=(path,), daemon=True) for path in paths]
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            self._listed.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        self._over.set()
        for each in tuple(self._sockets):
            with suppress(OSError):  # not by way of TLS, which must not be taken from under its reader
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_JOIN)

    @property
    def seen(self) -> Sequence[Seen]:
        """All that has come so far, in its order."""
        with self._changed:
            return tuple(self._seen)

    def wait(self, true: Callable[[Sequence[Seen]], bool], seconds: float) -> bool:
        """Whether `true` came to hold of all that has come, within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: true(self._seen), seconds)

    def _run(self, path: str) -> None:
        version = ""
        while not self._over.is_set():
            with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                version = self._follow(path, version or self._list(path))
                continue
            version = ""  # the server is away, or has forgotten so old a version
            self._over.wait(_PAUSE)

    def _list(self, path: str) -> str:
        with self._opened(path) as answer:
            listed = json.load(answer)
        version = str(listed["metadata"]["resourceVersion"])
        for each in listed["items"]:
            self._take(each, gone=False)
        self._listed.release()
        return version

    def _follow(self, path: str, version: str) -> str:
        """Take in what comes; the version to go on from. Raises KeyError where the server says to list anew."""
        words = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(_WINDOW)}
        with self._opened(f"{path}{'&' if '?' in path else '?'}{urlencode(words)}") as answer:
            for line in answer:
                if self._over.is_set():
                    break
                event = json.loads(line)
                version = str(event["object"]["metadata"]["resourceVersion"])
                self._take(event["object"], gone=event["type"] == "DELETED")
        return version

    def _take(self, found: Any, *, gone: bool) -> None:
        with self._changed:
            self._seen.append(Seen(time.time(), gone, found))
            self._changed.notify_all()

    @contextmanager
    def _opened(self, path: str) -> Iterator[http.client.HTTPResponse]:
        with _answer(self._cluster, path, self._sockets) as answer:
            yield answer


def get(cluster: Cluster, path: str) -> bytes:
    """The answer's body, by a connection of its own. Raises OSError, also for an answer that is not 200."""
    with _answer(cluster, path, set()) as answer:
        if answer.status != 200:
            raise OSError(f"GET {path}: {answer.status}")
        return answer.read()


@contextmanager
def _answer(cluster: Cluster, path: str, sockets: set[socket.socket]) -> Iterator[http.client.HTTPResponse]:
    """One answer; its socket is among `sockets` meanwhile."""
    connection = connect(cluster)
    connection.connect()
    raw = connection.sock
    sockets.add(raw)
    try:
        connection.request("GET", path, headers=who(cluster))
        with connection.getresponse() as answer:
            yield answer
    finally:
        sockets.discard(raw)
        connection.close()
