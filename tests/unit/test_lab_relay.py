"""The relay and the observer, in front of a stand-in for the API server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import Seen, Server

from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from cdlib.rollout.api import Api, path
from cdlib.rollout.kubeconfig import read_cluster
from lab.observer import Observer
from lab.relay import Relay, relaying

WHERE = path("configmaps", "ns")


def _object(name: str, version: int) -> dict[str, object]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


def _answer(request: Seen) -> tuple[int, dict[str, str], bytes]:
    found: object = {"metadata": {"resourceVersion": "1"}, "items": [_object("a", 1)]}
    if "watch=true" in request.path:
        found = {"type": "DELETED", "object": _object("a", 2)}
    return 200, {"Content-Type": "application/json"}, json.dumps(found).encode() + b"\n"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(_answer)
    yield made
    made.close()


@pytest.fixture
def relay(server: Server, tmp_path: Path) -> Iterator[Relay]:
    file = tmp_path / "kubeconfig"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "tok-12345678"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(document))
    with relaying(file, tmp_path) as made:
        yield made


@pytest.fixture
def api(relay: Relay) -> Iterator[Api]:
    made = Api(relay.kubeconfig, None)
    yield made
    made.close()


def test_requests_pass_in_the_name_of_the_cluster_s_user_and_are_counted(
    relay: Relay, api: Api, server: Server
) -> None:
    assert (api.get(WHERE, Deadline(5)) or {})["items"]
    assert server.seen[0].headers["Authorization"] == "Bearer tok-12345678"
    assert [str(request) for request in relay.requests] == [f"cdlib GET {WHERE}"]
    relay.reset()
    assert relay.requests == ()


def test_a_strike_ends_its_victim_before_the_request_is_passed_on(relay: Relay, api: Api, server: Server) -> None:
    victim = subprocess.Popen(["sleep", "60"], text=True)
    relay.strike(2, victim)
    assert api.get(WHERE, Deadline(5)) and victim.poll() is None
    with pytest.raises(Unavailable):
        api.get(WHERE, Deadline(0.1))
    assert victim.wait(10) == -signal.SIGKILL
    assert len(server.seen) == 1
    assert relay.struck is not None and relay.struck.method == "GET"


def test_an_observer_notes_each_change_with_its_second(relay: Relay, server: Server) -> None:
    with Observer(read_cluster(relay.kubeconfig, None), WHERE) as observer:
        assert observer.wait(lambda seen: len(seen) > 1, 10)
    listed, gone = observer.seen[:2]
    assert (listed.gone, gone.gone) == (False, True)
    assert listed.at <= gone.at
