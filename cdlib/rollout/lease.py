"""One writer a release: a Kubernetes Lease with holder and expiry, held while anything is written.

A Lease that is not renewed is taken over, but only after it was watched for its whole duration on our own
clock, as client-go does: the holder's clock may differ from ours, and a live holder is never robbed.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, UsageProblem
from cdlib.rollout.api import Api, Conflict, Object, path

DURATION = 15  # seconds without a renewal after which a holder counts as dead
RENEW_EVERY = 3.0
GIVE_UP = 10.0  # seconds without a successful renewal after which we stop by ourselves, before others may start
_LOOK_EVERY = 0.25
_GROUP = "coordination.k8s.io/v1"


class Lease:
    """The lease of one release, as a context manager.

    `lost` is set while it cannot be renewed: from GIVE_UP on nothing may be written, because somebody else might.
    Where it turns out that nobody did (an API server was away for a while), it is cleared, and the run goes on.
    """

    def __init__(self, api: Api, namespace: str, release: str, holder: str, deadline: Deadline) -> None:
        self._api, self._namespace, self._deadline = api, namespace, deadline
        self.name, self._holder = f"cd-{release}", holder
        self.lost = threading.Event()
        self._done, self._ended = threading.Event(), threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease", daemon=True)

    @property
    def holder(self) -> str:
        """Who holds it now; empty where nobody does."""
        return _holder(self._api.get(self._where(self.name), self._deadline))

    def __enter__(self) -> Self:
        self._acquire()
        self._renewer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        self._done.set()
        self._renewer.join(timeout=RENEW_EVERY)
        try:
            deadline = Deadline(5.0, "giving the lease back")
            found = self._api.get(self._where(self.name), deadline)
            if found is not None and _holder(found) == self._holder:
                self._write({**found, "spec": {**found["spec"], "holderIdentity": ""}}, deadline)
        except (CdError, Conflict):
            pass  # it runs out by itself; what this run found out matters more

    def require(self) -> bool:
        """Wait while it is in doubt, to the end of the deadline; whether it was. Raises Held where we have lost it."""
        waited = False
        while self.lost.is_set() and not self._ended.is_set() and not self._deadline.over:
            waited = True
            self._ended.wait(min(_LOOK_EVERY, self._deadline.left))
        if self._ended.is_set():
            raise Held(f"the lease {self.name} is not ours any more, so this run stopped", hint="run this again")
        return waited

    def _acquire(self) -> None:
        """Take the lease, or raise Held as soon as its holder is seen to live."""
        watched_since, watched = time.monotonic(), ""
        while True:
            found = self._api.get(self._where(self.name), self._deadline)
            state = found["metadata"]["resourceVersion"] if found else ""
            if found is not None and _holder(found) == self._holder:
                return  # the server wrote it, and the answer was lost on the way
            if state != watched:
                if watched and _holder(found):
                    raise self._held(found)
                watched_since, watched = time.monotonic(), state
            dead = time.monotonic() - watched_since > _duration(found)
            if not _holder(found) or dead:
                if self._take(found):
                    return
                continue
            self._deadline.require(f"waiting for the lease {self.name} of {_holder(found)}")
            time.sleep(_LOOK_EVERY)

    def _take(self, found: Object | None) -> bool:
        now = _now()
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": DURATION,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": (found["spec"].get("leaseTransitions", 0) if found else 0) + 1,
        }
        try:
            if found is None:
                meta = {"name": self.name, "namespace": self._namespace}
                body = {"apiVersion": _GROUP, "kind": "Lease", "metadata": meta, "spec": spec}
                self._api.create(self._where(), body, self._deadline)
            else:
                self._write({**found, "spec": spec}, self._deadline)
        except Conflict:
            return False
        return True

    def _renew(self) -> None:
        try:
            self._renew_while_held()
        finally:
            if not self._done.is_set():
                self._ended.set()
                self.lost.set()

    def _renew_while_held(self) -> None:
        """Renew until we are done, or it is not ours any more. Whatever ends it, the lease counts as lost then."""
        end = time.monotonic() + GIVE_UP
        while not self._done.wait(RENEW_EVERY if self.lost.is_set() else _between(0.1, end, RENEW_EVERY)):
            try:
                if not self._renewed(Deadline(_between(1.0, end, GIVE_UP), "renewing the lease")):
                    break
                end = time.monotonic() + GIVE_UP
                self.lost.clear()
            except (CdError, Conflict):
                if time.monotonic() >= end:
                    self.lost.set()

    def _renewed(self, deadline: Deadline) -> bool:
        """Renew it; false where it is not ours any more. The holder's name is this run's alone, so nobody had it."""
        found = self._api.get(self._where(self.name), deadline)
        if found is None or _holder(found) != self._holder:
            return False
        self._write({**found, "spec": {**found["spec"], "renewTime": _now()}}, deadline)
        return True

    def _write(self, body: Object, deadline: Deadline) -> None:
        self._api.replace(self._where(self.name), body, deadline)

    def _where(self, name: str = "") -> str:
        return path("leases", self._namespace, name, group=_GROUP)

    def _held(self, found: Object | None) -> Held:
        return Held(
            f"another run holds the release: {_holder(found)}",
            hint=f"wait for it, or see who it is: kubectl -n {self._namespace} get lease {self.name} -o yaml",
        )


def _between(least: float, end: float, most: float) -> float:
    """Seconds until `end`, a time.monotonic(), within these bounds."""
    return max(least, min(most, end - time.monotonic()))


def _holder(found: Object | None) -> str:
    return str((found or {}).get("spec", {}).get("holderIdentity") or "")


def _duration(found: Object | None) -> float:
    return float((found or {}).get("spec", {}).get("leaseDurationSeconds") or DURATION)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def require_namespace(api: Api, namespace: str, deadline: Deadline) -> None:
    """Raise UsageProblem where the namespace is not there; credentials that may not look are believed."""
    from cdlib.errors import NotAllowed

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
