"""A watch that lists once, follows what changes, and begins again where it must."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import kubeconfig
from stand_ins import Seen, Server

from cdlib.rollout.api import Api
from cdlib.rollout.watch import Watch

PODS = ("Pod", "pods", "")
JSON = {"Content-Type": "application/json"}
LIMIT = 10.0  # seconds until a test gives up


def pod(name: str, version: int) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}}


def event(what: str, o: dict[str, Any]) -> bytes:
    return json.dumps({"type": what, "object": o}).encode() + b"\n"


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


class Cluster:
    """Answers lists with `pods` at `version`, and each watch with the next of `rounds`; then watches hang."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.version = 1
        self.rounds: list[tuple[int, bytes]] = []
        self.lists = 0
        self.watched: list[str] = []  # the resourceVersion that each watch began at
        self.over = threading.Event()
        self.server = Server(self._answer)

    def close(self) -> None:
        self.over.set()
        self.server.close()

    def _answer(self, request: Seen) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request.path).query))
        if "watch" not in asked:
            self.lists += 1
            body = {"metadata": {"resourceVersion": str(self.version)}, "items": self.pods}
            return 200, JSON, json.dumps(body).encode()
        self.watched.append(asked["resourceVersion"])
        if not self.rounds:
            return 200, JSON, self._silence()
        status, body = self.rounds.pop(0)
        return status, JSON, body if status != 200 else iter([body] if body else [])

    def _silence(self) -> Iterator[bytes]:
        self.over.wait(LIMIT)
        yield from ()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[Api]:
    made = Api(kubeconfig(tmp_path, cluster.server.url), None)
    yield made
    made.close()


def until(watch: Watch, holds: Callable[[], bool]) -> None:
    """Wait by the watch itself until something holds."""
    for _ in range(100):
        if holds():
            return
        watch.wait(LIMIT / 100)
    raise AssertionError("it did not come to hold")


def names(watch: Watch) -> set[str]:
    return {o["metadata"]["name"] for o in watch.objects()["Pod"]}


def test_one_list_and_what_changes_after_it(cluster: Cluster, api: Api) -> None:
    cluster.pods = [pod("a", 1), pod("b", 1)]
    changed = event("ADDED", pod("c", 2)) + event("DELETED", pod("a", 3)) + event("MODIFIED", pod("b", 4))
    cluster.rounds = [(200, changed)]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: names(watch) == {"b", "c"})
        until(watch, lambda: len(cluster.watched) == 2)
    assert cluster.lists == 1
    assert cluster.watched == ["1", "4"]  # it goes on where it was


def test_a_bookmark_moves_the_place_to_go_on(cluster: Cluster, api: Api) -> None:
    cluster.rounds = [(200, event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": "900"}}))]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: len(cluster.watched) == 2)
    assert cluster.watched == ["1", "900"]
    assert cluster.lists == 1


@pytest.mark.parametrize(
    "answer", [(410, json.dumps(GONE).encode()), (200, event("ERROR", GONE))], ids=["at once", "in the stream"]
)
def test_410_gone_lists_again(cluster: Cluster, api: Api, answer: tuple[int, bytes]) -> None:
    cluster.rounds = [answer]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: watch.listed)
        cluster.pods, cluster.version = [pod("new", 7)], 7
        until(watch, lambda: names(watch) == {"new"})
        until(watch, lambda: len(cluster.watched) == 2)
    assert cluster.lists == 2
    assert cluster.watched == ["1", "7"]


@pytest.mark.parametrize("rubbish", [b"<html>\n", b'{"type": "ADDED"}\n', b"[]\n"])
def test_what_cannot_be_read_lists_again_and_is_told(cluster: Cluster, api: Api, rubbish: bytes) -> None:
    cluster.rounds = [(200, rubbish)]
    troubles = []
    with Watch(api, "ns", [PODS]) as watch:

        def again() -> bool:
            troubles.append(watch.trouble)
            return cluster.lists == 2 and len(cluster.watched) == 2

        until(watch, again)
    assert any("watch of Pods broke" in trouble for trouble in troubles)


def test_a_server_that_fails_and_comes_back(cluster: Cluster, api: Api) -> None:
    cluster.rounds = [(503, b"{}")]
    cluster.pods = [pod("a", 1)]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: cluster.lists == 2 and len(cluster.watched) == 2 and not watch.trouble)
        assert names(watch) == {"a"}


def test_a_server_that_ends_every_watch_is_not_asked_without_end(cluster: Cluster, api: Api) -> None:
    cluster.rounds = [(200, b"")] * 1000
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: len(cluster.watched) >= 3)
        asked = len(cluster.watched)
        threading.Event().wait(0.5)
        assert len(cluster.watched) - asked <= 3


def test_a_line_that_comes_in_pieces_is_one(cluster: Cluster, api: Api) -> None:
    large = pod("large", 2)
    large["spec"] = {"text": "x" * 300_000}
    cluster.rounds = [(200, event("ADDED", large))]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: names(watch) == {"large"})


def test_it_ends_at_once_although_the_server_says_nothing(cluster: Cluster, api: Api) -> None:
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: len(cluster.watched) == 1)
        threads = [thread for thread in threading.enumerate() if thread.name == "watch pods"]
    assert threads
    assert not any(thread.is_alive() for thread in threads)


EVENTS = ("Event", "events", "")


def test_what_only_helps_is_filtered_and_not_waited_for(
    api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdlib.rollout.watch.FORBIDDEN", 0.2)
    refused = (403, JSON, json.dumps({"message": "events is forbidden"}).encode())
    asked: list[str] = []
    answer = cluster._answer

    def answers(request: Seen) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        if "/events" not in request.path:
            return answer(request)
        asked.append(request.path)
        return refused

    cluster.server._answer = answers
    cluster.pods = [pod("a", 1)]
    with Watch(api, "ns", [PODS, EVENTS], {"Event": "reason!=Started"}) as watch:
        until(watch, lambda: watch.listed and bool(asked))
        assert names(watch) == {"a"}
        assert "Event" not in watch.objects()
        assert watch.trouble == ""
        until(watch, lambda: not any(t.name == "watch events" for t in threading.enumerate()))
    assert 1 < len(asked) <= 4, "a server that has just begun refuses at first"
    assert "fieldSelector=reason%21%3DStarted" in asked[0]


def test_who_changed_which_field_is_not_kept(cluster: Cluster, api: Api) -> None:
    listed, changed = pod("a", 1), pod("b", 2)
    for o in (listed, changed):
        o["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    cluster.pods, cluster.rounds = [listed], [(200, event("ADDED", changed))]
    with Watch(api, "ns", [PODS]) as watch:
        until(watch, lambda: names(watch) == {"a", "b"})
        assert not any("managedFields" in o["metadata"] for o in watch.objects()["Pod"])


def refusing(cluster: Cluster, times: int) -> list[str]:
    """Let Events be refused so often from now on; what was asked for them."""
    asked: list[str] = []
    answer = cluster._answer

    def answers(request: Seen) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        if "/events" in request.path:
            asked.append(request.path)
            if len(asked) <= times:
                return 403, JSON, json.dumps({"message": "events is forbidden"}).encode()
        return answer(request)

    cluster.server._answer = answers
    return asked


def test_a_server_that_has_just_begun_ends_no_watch_of_what_helps(cluster: Cluster, api: Api) -> None:
    """Events are listed, then the server begins anew, and answers 403 for a moment."""
    cluster.rounds = [(200, event("ERROR", GONE))] * 1000
    cluster.pods = [pod("a", 1)]
    with Watch(api, "ns", [EVENTS], {"Event": "reason!=Started"}) as watch:
        until(watch, lambda: "Event" in watch.objects() and cluster.lists >= 1)
        asked = refusing(cluster, 3)
        cluster.pods = [pod("b", 9)]
        until(watch, lambda: [o["metadata"]["name"] for o in watch.objects()["Event"]] == ["b"])
    assert len(asked) >= 4


def test_events_that_are_refused_for_good_do_not_stand_for_now(
    cluster: Cluster, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdlib.rollout.watch.FORBIDDEN", 0.3)
    cluster.rounds = [(200, event("ERROR", GONE))] * 1000
    with Watch(api, "ns", [EVENTS], {"Event": "reason!=Started"}) as watch:
        until(watch, lambda: "Event" in watch.objects())
        refusing(cluster, 10**9)
        until(watch, lambda: "Event" not in watch.objects())
        cluster.server._answer = cluster._answer
        until(watch, lambda: "Event" in watch.objects())
