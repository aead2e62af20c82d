"""What becomes of each answer of the Kubernetes API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from clusters import kubeconfig
from stand_ins import Fault, Seen, Server

from cdlib.answers import Answer, ahead
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable, UsageProblem
from cdlib.rollout.api import Api, Conflict, path
from cdlib.rollout.connection import first_part

WHERE = path("configmaps", "ns", "name")


def _answer(_request: Seen) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, b'{"kind": "ConfigMap"}'


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(_answer)
    yield made
    made.close()


@pytest.fixture
def api(server: Server, tmp_path: Path) -> Iterator[Api]:
    made = Api(kubeconfig(tmp_path, server.url), None)
    yield made
    made.close()


def status(message: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message}).encode()


def fail(server: Server, code: int, message: str = "no", times: int = 1_000_000, **headers: str) -> None:
    server.faults.append(
        Fault("GET", WHERE, code, status(message), {"Content-Type": "application/json", **headers}, times)
    )


def test_an_object_is_what_the_server_sent(api: Api, server: Server) -> None:
    assert api.get(WHERE, Deadline(5)) == {"kind": "ConfigMap"}
    assert server.seen[0].headers["Authorization"] == "Bearer tok-12345678"


def test_the_servers_clock_is_known_by_its_first_answer(api: Api, server: Server) -> None:
    def off() -> timedelta:
        return api.now() - datetime.now(UTC)

    assert abs(off()) < timedelta(seconds=1)
    api._connection.exchange = lambda *_, **__: Answer(200, {"Date": "Thu, 01 Jan 2099 00:00:00 GMT"}, b"{}")  # type: ignore[method-assign]
    api.get(WHERE, Deadline(5))
    assert abs(datetime(2099, 1, 1, tzinfo=UTC) - api.now()) < timedelta(seconds=5)


@pytest.mark.parametrize("headers", [{}, {"Date": "soon"}, {"Date": "Thu, 99 Jan 2099 00:00:00 GMT"}, "now"])
def test_a_clock_that_is_not_told_or_right_is_ours(headers: dict[str, str] | str) -> None:
    if isinstance(headers, str):
        headers = {"Date": format_datetime(datetime.now(UTC), usegmt=True)}
    assert not ahead(headers)


def test_what_is_missing_is_none(api: Api, server: Server) -> None:
    fail(server, 404)
    assert api.get(WHERE, Deadline(5)) is None


@pytest.mark.parametrize(
    ("code", "kind"), [(401, NotAllowed), (403, NotAllowed), (409, Conflict), (422, CdError), (400, CdError)]
)
def test_refusals_are_told_apart_and_not_repeated(api: Api, server: Server, code: int, kind: type[Exception]) -> None:
    fail(server, code, "configmaps is forbidden: User nobody cannot get")
    with pytest.raises(kind, match="User nobody"):
        api.get(WHERE, Deadline(5))
    assert len(server.seen) == 1


@pytest.mark.parametrize("code", [429, 500, 503])
def test_trouble_that_passes_is_not_seen(api: Api, server: Server, code: int) -> None:
    fail(server, code, times=1)
    assert api.get(WHERE, Deadline(10)) == {"kind": "ConfigMap"}


def test_trouble_that_stays_is_unavailable(api: Api, server: Server) -> None:
    fail(server, 503, "etcd is away")
    with pytest.raises(Unavailable, match="etcd is away"):
        api.get(WHERE, Deadline(1))


def test_a_connection_that_is_cut_is_tried_again(api: Api, server: Server) -> None:
    server.faults.append(Fault("GET", WHERE, drop=True, times=1))
    assert api.get(WHERE, Deadline(10)) == {"kind": "ConfigMap"}


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    api = Api(kubeconfig(tmp_path, "http://127.0.0.1:9"), None)
    with pytest.raises(Unavailable, match="http://127.0.0.1:9 cannot be reached"):
        api.get(WHERE, Deadline(1))
    api.close()


def test_nothing_is_asked_when_the_time_is_up(api: Api, server: Server) -> None:
    with pytest.raises(OutOfTime):
        api.get(WHERE, Deadline(0))
    assert server.seen == []


def test_a_namespace_that_is_missing_is_told_on_the_first_write(api: Api, server: Server) -> None:
    server.faults.append(Fault("POST", "/api/v1/namespaces/ns/configmaps", 404, status("namespaces not found")))
    with pytest.raises(UsageProblem, match="has no"):
        api.create(path("configmaps", "ns"), {}, Deadline(5))


def test_an_answer_without_end_is_cut_and_one_that_drips_ends_with_the_deadline() -> None:
    assert len(first_part(iter(lambda: b"x" * 8192, b""), Deadline(5))) == 256 * 1024
    with pytest.raises(OutOfTime):
        first_part(iter(lambda: b"x", b""), Deadline(0.05))


def test_an_answer_that_is_no_json_is_told(api: Api, server: Server) -> None:
    server.faults.append(Fault("GET", WHERE, 200, b"<html>", {"Content-Type": "text/html"}))
    with pytest.raises(Unavailable, match="no JSON"):
        api.get(WHERE, Deadline(5))


def test_names_cannot_lead_elsewhere() -> None:
    assert path("pods", "a/../b", "../secrets") == "/api/v1/namespaces/a%2F..%2Fb/pods/..%2Fsecrets"


@pytest.mark.parametrize("text", ["", "[]", "{", "clusters: 1", '{"current-context": "gone"}'])
def test_a_kubeconfig_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(UsageProblem, match="kubeconfig"):
        Api(tmp_path / "k", None)


def test_a_missing_kubeconfig_or_context_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="kubeconfig"):
        Api(tmp_path / "gone", None)
    with pytest.raises(UsageProblem, match="moon"):
        Api(kubeconfig(tmp_path, "http://127.0.0.1:9"), "moon")
