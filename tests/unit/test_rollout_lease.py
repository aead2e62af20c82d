"""The lease while the cluster is away for a moment: nothing is written in doubt, and nothing is given up too soon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import Held, Unavailable
from cdlib.rollout import lease as leases
from cdlib.rollout.api import Api, Conflict
from cdlib.rollout.lease import Lease


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("RENEW_EVERY", 0.02), ("GIVE_UP", 0.1), ("_LOOK_EVERY", 0.02)):
        monkeypatch.setattr(leases, name, seconds)


class Cluster:
    """One Lease object, and an API server that can be away."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None
        self.away = threading.Event()
        self.renewed = threading.Event()

    def get(self, _where: str, _deadline: Deadline) -> dict[str, Any] | None:
        """The object as it is."""
        if self.away.is_set():
            raise Unavailable("connection refused")
        return self.found

    def create(self, _where: str, body: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        """Make it."""
        return self._put(body, 1)

    def replace(self, _where: str, body: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        """Change it, where nobody else has."""
        if self.away.is_set():
            raise Unavailable("connection refused")
        assert self.found is not None
        if body["metadata"]["resourceVersion"] != self.found["metadata"]["resourceVersion"]:
            raise Conflict
        self.renewed.set()
        return self._put(body, body["metadata"]["resourceVersion"] + 1)

    def take(self, holder: str) -> None:
        """Let somebody else take it."""
        assert self.found is not None
        self.replace("", {**self.found, "spec": {**self.found["spec"], "holderIdentity": holder}}, Deadline(1))

    def _put(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        self.found = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        return self.found


@contextmanager
def held(cluster: Cluster, seconds: float = 10.0) -> Iterator[Lease]:
    """The lease, held by us."""
    with Lease(cast(Api, cluster), "ns", "web", "us", Deadline(seconds)) as lease:
        yield lease


def in_doubt(cluster: Cluster, lease: Lease) -> None:
    """Take the API server away for so long that the lease may be somebody else's."""
    cluster.away.set()
    assert lease.lost.wait(5), "what runs is told to stop"


def beside(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """`call` on a thread of its own, and what it has returned."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    return thread, found


def test_a_cluster_that_comes_back_gives_the_lease_back() -> None:
    cluster = Cluster()
    with held(cluster) as lease:
        assert not lease.require(), "nothing is waited for while it is held"
        in_doubt(cluster, lease)
        thread, waited = beside(lease.require)
        assert not waited
        cluster.away.clear()
        thread.join(5)
        assert waited == [True] and not lease.lost.is_set()
        assert not lease.require()
    assert cluster.found is not None and cluster.found["spec"]["holderIdentity"] == ""


def test_what_somebody_else_took_meanwhile_is_lost_for_good() -> None:
    cluster = Cluster()
    with held(cluster) as lease:
        in_doubt(cluster, lease)
        assert cluster.found is not None
        cluster.found = {**cluster.found, "spec": {**cluster.found["spec"], "holderIdentity": "them"}}
        cluster.away.clear()
        with pytest.raises(Held, match="not ours any more"):
            lease.require()
        assert lease.lost.is_set()
    assert cluster.found["spec"]["holderIdentity"] == "them", "it is not given back for them"


def test_what_is_taken_while_we_hold_it_is_lost_at_once() -> None:
    cluster = Cluster()
    with held(cluster) as lease:
        cluster.renewed.wait(5)
        for _ in range(100):  # ours is renewed all the time, and one of both wins
            try:
                cluster.take("them")
                break
            except Conflict:
                continue
        assert lease.lost.wait(5)
        with pytest.raises(Held):
            lease.require()


def test_doubt_ends_with_the_deadline() -> None:
    cluster = Cluster()
    with held(cluster, 0.5) as lease:
        in_doubt(cluster, lease)
        assert lease.require() and lease.lost.is_set(), "and everything that could be written is out of time, too"
