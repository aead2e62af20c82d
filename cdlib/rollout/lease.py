"""One writer a release: a Kubernetes Lease with holder and expiry, held while anything is written.

A Lease that is not renewed is taken over, but only after it was watched for its whole duration on our own
clock, as client-go does: the holder's clock may differ from ours, and a live holder is never robbed.

Helm knows no fencing token. So a holder that cannot renew stops Helm before its lease runs out, by a thread that
waits for no server; and it goes on once it has renewed again what nobody has taken meanwhile. What was written counts
from before it was asked for: others count from when the server has written it, which may be long before its answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NotAllowed, OutOfTime, Unavailable, UsageProblem
from cdlib.interruptions import Unstopped
from cdlib.retry import patiently
from cdlib.rollout.api import Api, Conflict, Object, path
from cdlib.rollout.holders import DURATION, GROUP, duration_of, holder_of

RENEW_EVERY = 3.0
GIVE_UP = 10.0  # seconds without a successful renewal after which Helm is stopped; it is given 3 more to end
ONE_TRY = 4.0  # seconds for one renewal, so that there is time for another
_AGAIN = 0.5  # seconds between tries that fail
_LOOK_EVERY = 0.25
_UNSTOPPED = (
    "Ctrl-Z is ignored while this run holds the release: another would take the lease of a run that is stopped, and "
    "Helm still be writing; Ctrl-C ends it"
)


class Lease:
    """The lease of one release, as a context manager.

    `lost` is set while it cannot be renewed: whatever writes has to be stopped then. `queue`, where given, makes
    it wait for a live holder, and is told of each one. While it is held no terminal stops us, for Helm would go on
    writing in its own session, and nobody renew; `warn` is told where one tries.
    """

    def __init__(self, api: Api, namespace: str, release: str, holder: str, deadline: Deadline,
                 queue: Callable[[str], None] | None = None,
                 warn: Callable[[str], None] = lambda _: None) -> None:  # fmt: skip
        self._api, self._namespace, self._queue = api, namespace, queue
        self.deadline = deadline
        self.name, self._holder = f"cd-{release}", holder
        self.waited = False  # for a live holder, so that what was known before is old
        self.lost = threading.Event()
        self._gone = False  # another has it, or somebody has removed it
        self._settled = threading.Event()  # after it was lost: had again, or gone
        self._renewed = time.monotonic()
        self._unstopped = Unstopped(lambda: warn(_UNSTOPPED))
        self._lock, self._done = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(target=work, name="lease", daemon=True) for work in (self._renew, self._guard)
        ]

    @property
    def holder(self) -> str:
        """Who holds it now; empty where nobody does."""
        return holder_of(self._api.get(self._where(self.name), self.deadline))

    def __enter__(self) -> Self:
        try:
            self._acquire()
        except BaseException:
            self._unstopped.end()
            raise
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        self._done.set()
        deadline = Deadline(1.0 if self.lost.is_set() else 5.0, "giving the lease back")
        for thread in self._threads:
            thread.join(timeout=deadline.left)
        with suppress(CdError, Conflict):  # it runs out by itself; what this run found out matters more
            found = self._api.get(self._where(self.name), deadline)
            if found is not None and self._is_ours(found):
                self._write({**found, "spec": {**found["spec"], "holderIdentity": ""}}, deadline)
        self._unstopped.end()

    def require(self) -> bool:
        """Return while it is held; where it could not be renewed, wait until it is again; whether it had to.

        Raises Held where it is another's by then, Unavailable where the deadline passes before that shows.
        """
        waited = False
        while self.lost.is_set():
            waited = True
            if self._gone:
                raise Held(f"the lease {self.name} is not ours any more, so this run stopped", hint="run this again")
            if not self._settled.wait(self.deadline.left):
                raise Unavailable(
                    f"the lease {self.name} has not been renewed for {time.monotonic() - self._renewed:.0f} s, "
                    f"because {self._api.server} does not answer",
                    hint="see that the cluster runs, and that this machine reaches it",
                    retryable=False,
                )
        return waited

    def _acquire(self) -> None:
        """Take the lease, or raise Held as soon as its holder is seen to live, or has lived to the deadline's end.

        Where writing it took so long that it may be about to run out, or the answer was lost on the way, it is renewed
        first. Raises Unavailable where the server never gets quicker.
        """
        watched_since, watched, found = time.monotonic(), "", None
        while True:
            found = self._look(found)
            state = found["metadata"]["resourceVersion"] if found else ""
            if state != watched:
                if watched and holder_of(found) and not self._is_ours(found):
                    self._queue_or_give_up(found)
                watched_since, watched = time.monotonic(), state
            if self.deadline.over and self._is_ours(found):
                raise self._gave_up(found)
            dead = time.monotonic() - watched_since > duration_of(found)
            if not holder_of(found) or dead or self._is_ours(found):
                self._unstopped.begin()  # before the write: stopped after it, we would begin with a lease long lost
                if self._take(found) and time.monotonic() - self._renewed < ONE_TRY:
                    return
                continue
            if self.deadline.over:
                raise self._gave_up(found)
            self._unstopped.end()  # who only queues may be stopped
            time.sleep(min(_LOOK_EVERY, self.deadline.left))

    def _look(self, last: Object | None) -> Object | None:
        """The Lease as it is now. Who queues has time to wait for the API server, too."""

        def ask() -> Object | None:
            return self._api.get(self._where(self.name), self.deadline)

        try:
            return patiently(ask, self.deadline) if self._queue else ask()
        except OutOfTime:
            if holder_of(last):
                raise self._gave_up(last) from None
            raise

    def _queue_or_give_up(self, found: Object | None) -> None:
        if self._queue is None:
            raise self._gave_up(found)
        if not self.waited:
            self.waited = True
            self._queue(holder_of(found))

    def _take(self, found: Object | None) -> bool:
        """Write that it is ours, as long as nobody has written meanwhile."""
        began, now, before = time.monotonic(), _now(), (found or {}).get("spec", {})
        new = {"acquireTime": now, "leaseTransitions": before.get("leaseTransitions", 0) + 1}
        spec = {"holderIdentity": self._holder, "leaseDurationSeconds": DURATION, "renewTime": now}
        spec = {**before, **spec} if self._is_ours(found) else {**spec, **new}
        try:
            if found is None:
                meta = {"name": self.name, "namespace": self._namespace}
                body = {"apiVersion": GROUP, "kind": "Lease", "metadata": meta, "spec": spec}
                self._api.create(self._where(), body, self.deadline)
            else:
                self._write({**found, "spec": spec}, self.deadline)
        except Conflict:
            return False
        self._renewed = began
        return True

    def _renew(self) -> None:
        """Renew until we are done, or another has it; an outage only makes it go on trying."""
        pause = RENEW_EVERY
        while not self._done.wait(pause):
            self._unstopped.tell()
            pause = _AGAIN
            with suppress(Exception):  # whatever came over the wire, the guard counts the seconds
                if not self._renew_once(Deadline(ONE_TRY, "renewing the lease")):
                    return
                pause = RENEW_EVERY

    def _renew_once(self, deadline: Deadline) -> bool:
        """Renew; False where it is not ours any more. That nobody had it in between shows by its resourceVersion."""
        found = self._api.get(self._where(self.name), deadline)
        if found is None or not self._is_ours(found):
            with self._lock:
                if not self._done.is_set():
                    self._gone = True
                    self.lost.set()
                    self._settled.set()
            return False
        began = time.monotonic()
        self._write({**found, "spec": {**found["spec"], "renewTime": _now()}}, deadline)
        with self._lock:
            self._renewed = began
            self.lost.clear()
            self._settled.set()
        return True

    def _guard(self) -> None:
        """Set `lost` in time, whatever the server makes the renewing thread wait for."""
        while not self._done.wait(max(_LOOK_EVERY, self._renewed + GIVE_UP - time.monotonic())):
            with self._lock:
                if time.monotonic() - self._renewed >= GIVE_UP and not self.lost.is_set():
                    self._settled.clear()
                    self.lost.set()

    def _write(self, body: Object, deadline: Deadline) -> None:
        self._api.replace(self._where(self.name), body, deadline)

    def _where(self, name: str = "") -> str:
        return path("leases", self._namespace, name, group=GROUP)

    def _is_ours(self, found: Object | None) -> bool:
        return holder_of(found) == self._holder

    def _gave_up(self, found: Object | None) -> CdError:
        if self._is_ours(found):
            return Unavailable(
                f"{self._api.server} takes longer than {ONE_TRY:g} s to write the lease {self.name}, which is good for "
                f"{DURATION} s: it could not be kept",
                hint="see what the API server is busy with, and run this again",
                retryable=False,
            )
        return Held(
            f"another run holds the release: {holder_of(found)}",
            hint=f"wait for it (--wait-lease does), or see who it is: kubectl -n {self._namespace} get lease "
            f"{self.name} -o yaml",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def require_namespace(api: Api, namespace: str, deadline: Deadline) -> None:
    """Raise UsageProblem where the namespace is not there; credentials that may not look are believed."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}", deadline)
    except NotAllowed:
        return  # a namespaced role cannot read namespaces; the first write will tell
    if found is None:
        raise UsageProblem(
            f"{api.server} has no namespace {namespace!r}",
            hint=f"kubectl create namespace {namespace}, or mend the namespace in targets.yaml",
        )
    if found.get("status", {}).get("phase") == "Terminating":
        raise UsageProblem(f"the namespace {namespace!r} is being deleted", hint="wait until it is gone, and create it")
