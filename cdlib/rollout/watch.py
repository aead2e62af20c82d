"""The objects of one namespace as they change: one list and one watch a kind, however many objects there are.

Rules from Kubernetes' "API Concepts": a watch goes on from the last resourceVersion it saw; one that is told
410 Gone lists again; bookmarks move the resourceVersion on where nothing else happens.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed
from cdlib.retry import FORBIDDEN
from cdlib.rollout.api import Api, Object, path

# The server ends a watch after this many seconds, and a silent connection counts as broken a little later: an API
# server that is gone without a word is noticed, and one request a kind in this time costs it nothing.
WINDOW = 20
_SILENCE = WINDOW + 5.0
_PAUSE = (0.1, 2.0)  # seconds between attempts that fail: the first, and the longest
_LONGEST = 24 * 3600.0  # seconds; the deadline that counts is that of whoever waits

# (kind, plural, API group and version)
Kind = tuple[str, str, str]


class Watch:
    """The objects of some kinds in a namespace, kept up to date by threads, as a context manager.

    Kinds in `helpful` are left out of `objects` while they cannot be had, and nothing waits for them; each maps to
    a field selector, by which the server leaves out what nobody needs.
    """

    def __init__(self, api: Api, namespace: str, kinds: Sequence[Kind],
                 helpful: Mapping[str, str] | None = None) -> None:  # fmt: skip
        self._changed, helpful = threading.Condition(), helpful or {}
        self._feeds = [_Feed(api, namespace, kind, self._changed, helpful.get(kind[0])) for kind in kinds]
        self._needed = [feed for feed in self._feeds if not feed.helpful]
        self._seen = 0

    def __enter__(self) -> Self:
        for feed in self._feeds:
            feed.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        for feed in self._feeds:
            feed.stop()

    @property
    def listed(self) -> bool:
        """Whether every kind that is needed has been listed at least once."""
        return all(feed.listed for feed in self._needed)

    @property
    def trouble(self) -> str:
        """Why something cannot be seen right now; empty where everything can."""
        return next((feed.trouble for feed in self._needed if feed.trouble), "")

    def objects(self) -> dict[str, list[Object]]:
        """All objects by kind, as they were seen last."""
        with self._changed:
            return {feed.kind: list(feed.found.values()) for feed in self._feeds if feed.to_be_had}

    def wait(self, seconds: float) -> None:
        """Return once something has changed since the last call, or after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._count() != self._seen, timeout=max(0.0, seconds))
            self._seen = self._count()

    def _count(self) -> int:
        return sum(feed.changes for feed in self._feeds)


class _Feed(threading.Thread):
    """One kind: its list, then its watch, and again where that breaks."""

    def __init__(self, api: Api, namespace: str, kind: Kind, changed: threading.Condition,
                 selector: str | None = None) -> None:  # fmt: skip
        super().__init__(name=f"watch {kind[1]}", daemon=True)
        self.kind, plural, group = kind
        self._api, self._where, self._changed = api, path(plural, namespace, group=group), changed
        self.helpful = selector is not None
        self._params = {"fieldSelector": selector} if selector else {}
        self.found: dict[str, Object] = {}
        self.changes = 0
        self.listed, self.trouble = False, ""
        self._refused: float | None = None  # since when, by the monotonic clock
        self._version = ""  # where to go on; empty where everything has to be listed anew
        self._response: Any = None
        self._over = threading.Event()

    @property
    def to_be_had(self) -> bool:
        """Whether what was seen last counts: what only helps does not once it has been refused for a while.

        An outage is no refusal: what was seen before it is not older than anything else then.
        """
        return not self.helpful or (self.listed and not self._refused_for_good)

    @property
    def _refused_for_good(self) -> bool:
        """Whether it has been refused for longer than an API server that has just begun does, which knows no roles."""
        return self._refused is not None and time.monotonic() - self._refused > FORBIDDEN

    def stop(self) -> None:
        """End the thread, also one that waits for the server."""
        self._over.set()
        response = self._response
        if response is not None:
            with suppress(Exception):  # it may have ended by itself at this very moment
                response.shutdown()
        self.join(timeout=1.0)

    def run(self) -> None:
        pause = _PAUSE[0]
        while not self._over.is_set():
            began = time.monotonic()
            try:
                if not self._version:
                    self._list()
                self._watch()
            except NotAllowed as problem:
                self._refused = self._refused or time.monotonic()
                self._lose(problem.message)
                if self.helpful and not self.listed and self._refused_for_good:
                    return  # it will not be allowed the next time either
            except CdError as problem:
                self._refused = None
                self._lose(problem.message)
            except Exception as problem:  # whatever came over the wire
                self._lose(f"the watch of {self.kind}s broke: {problem or type(problem).__name__}")
            if time.monotonic() - began > _PAUSE[1]:
                pause = _PAUSE[0]
                continue
            self._over.wait(pause)  # a server that ends every watch at once must not be asked without end
            pause = min(pause * 2, _PAUSE[1])

    def _list(self) -> None:
        """Everything, as fresh as etcd has it."""
        listed = self._api.get(self._where, Deadline(_SILENCE, f"listing {self.kind}s"), **self._params) or {}
        found = {str(o["metadata"]["uid"]): _slim(o) for o in listed.get("items") or []}
        with self._changed:
            self.found, self.listed, self.trouble, self._refused = found, True, "", None
            self._version = str((listed.get("metadata") or {}).get("resourceVersion", ""))
            self.changes += 1
            self._changed.notify_all()

    def _watch(self) -> None:
        """Follow what changes, to the end of the server's window."""
        params = {"watch": "true", "resourceVersion": self._version, "allowWatchBookmarks": "true",
                  "timeoutSeconds": str(WINDOW), **self._params}  # fmt: skip
        deadline = Deadline(_LONGEST, f"watching {self.kind}s")
        with self._api.stream(self._where, deadline, _SILENCE, **params) as (response, pieces):
            self._response = response
            self.trouble = ""
            try:
                if self._over.is_set():  # `stop` came before there was a response that it could end
                    return
                for event in _events(pieces):
                    if self._over.is_set():
                        return
                    if not self._take(event):
                        return
            finally:
                self._response = None

    def _take(self, event: Object) -> bool:
        """Take one event in; False where the watch is over and everything must be listed again."""
        what, o = event["type"], event["object"]
        if what == "ERROR":  # usually 410: our resourceVersion is too old
            self._version = ""
            return False
        with self._changed:
            self._version = str(o["metadata"]["resourceVersion"])
            if what == "BOOKMARK":
                return True
            uid = str(o["metadata"]["uid"])
            if what == "DELETED":
                self.found.pop(uid, None)
            else:
                self.found[uid] = _slim(o)
            self.changes += 1
            self._changed.notify_all()
        return True

    def _lose(self, trouble: str) -> None:
        """Something went wrong: say so, and begin again with a list, which is always right."""
        with self._changed:
            self._version, self.trouble = "", trouble
            self.changes += 1
            self._changed.notify_all()


def _slim(o: Object) -> Object:
    """The object without who changed which field: a third of it, and needed by nobody here."""
    o["metadata"].pop("managedFields", None)
    return o


def _events(pieces: Iterator[bytes]) -> Iterator[Object]:
    """The JSON objects of a stream, one a line; a last line that was cut off is left out."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(None, lines):
            yield json.loads(line)
