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
    """The lease of one release, as a context manager. `lost` is set once it cannot be renewed any more."""

    def __init__(self, api: Api, namespace: str, release: str, holder: str, deadline: Deadline) -> None:
        self._api, self._namespace, self._deadline = api, namespace, deadline
        self.name, self._holder = f"cd-{release}", holder
        self.lost = threading.Event()
        self._done = threading.Event()
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

    def require(self) -> None:
        """Raise Held where the lease is lost: somebody else may be writing."""
        if self.lost.is_set():
            raise Held(f"the lease {self.name} could not be renewed, so this run stopped", hint="run this again")

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
                self.lost.set()

    def _renew_while_held(self) -> None:
        """Renew until we are done, or can no more. Whatever ends it, the lease counts as lost then."""
        good = time.monotonic()
        while not self._done.wait(max(0.1, min(RENEW_EVERY, good + GIVE_UP - time.monotonic()))):
            try:
                deadline = Deadline(max(0.1, GIVE_UP - (time.monotonic() - good)), "renewing the lease")
                found = self._api.get(self._where(self.name), deadline)
                if found is None or _holder(found) != self._holder:
                    break
                self._write({**found, "spec": {**found["spec"], "renewTime": _now()}}, deadline)
                good = time.monotonic()
            except (CdError, Conflict):
                if time.monotonic() - good > GIVE_UP:
                    break

    def _write(self, body: Object, deadline: Deadline) -> None:
        self._api.replace(self._where(self.name), body, deadline)

    def _where(self, name: str = "") -> str:
        return path("leases", self._namespace, name, group=_GROUP)

    def _held(self, found: Object | None) -> Held:
        return Held(
            f"another run holds the release: {_holder(found)}",
            hint=f"wait for it, or see who it is: kubectl -n {self._namespace} get lease {self.name} -o yaml",
        )


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
