"""What an HTTP check says of a service that never gave the right answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable
from cdlib.rollout import verify
from cdlib.rollout.api import Api, Object
from cdlib.rollout.endpoints import behind
from cdlib.rollout.lease import Lease
from cdlib.rollout.verdict import Fault
from cdlib.rollout.verify import Request, check_http
from cdlib.run import Run
from cdlib.service import HttpCheck

WEB: Object = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"targetPort": "http"}]}}


def ready_pod(uid: str, *, port: str = "http", **more: Any) -> Object:
    ready = {"type": "Ready", "status": "True"}
    spec = {"containers": [{"name": "web", "ports": [{"name": port}]}]}
    return {"metadata": {"uid": uid} | more, "spec": spec, "status": {"conditions": [ready]}}


def endpoints(*uids: str, **more: Any) -> Object:
    return {"metadata": more, "subsets": [{"addresses": [{"targetRef": {"uid": uid}} for uid in uids]}]}


class Service:
    """Gives the answers in turn; when they are used up, none until the time is over.

    Beside them it has what the cluster has of `pods`, and in turn of `endpoints`, the last of which stays.
    """

    def __init__(self, *answers: str | Exception, status: int = 200, pods: Sequence[Object] = (),
                 endpoints: Sequence[Object | Exception | None] = (None,)) -> None:  # fmt: skip
        self._answers, self.status = list(answers), status
        self._pods, self._endpoints = list(pods), list(endpoints)
        self.asked: list[str] = []

    def get(self, where: str, _deadline: Deadline, **params: str) -> Object | None:
        self.asked.append(where)
        if where == "/api/v1/namespaces/ns/pods":
            assert params == {"labelSelector": "app=web"}
            return {"items": self._pods}
        assert where == "/api/v1/namespaces/ns/endpoints/web"
        found = self._endpoints.pop(0) if len(self._endpoints) > 1 else self._endpoints[0]
        if isinstance(found, Exception):
            raise found
        return found

    def fetch(self, where: str, deadline: Deadline) -> tuple[int, str]:
        self.asked.append(where)
        if not self._answers:
            while not deadline.over:
                pass
            raise Unavailable(f"reading {where}: timed out")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return self.status, answer

    def require(self) -> None:
        """The lease is held."""


def check(service: Service, run: Run | None = None, of: Object | None = None) -> tuple[Fault, ...]:
    deadline = Deadline(10)
    request = Request(HttpCheck("/", contains="bread"), "/where", True, "ns", of)
    return check_http(run or Run("test", deadline), cast(Api, service), [request], deadline, cast(Lease, service))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (("cake",), "answered without 'bread'"),
        (("cake", Unavailable("connection refused")), "connection refused"),
        ((), "timed out"),
    ],
    ids=["an answer tells more than a question that was cut short", "the last that was not", "nothing else was said"],
)
def test_what_is_said(answers: tuple[str | Exception, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE", 0.3)
    service = Service(*answers)
    faults = check(service)
    assert len(faults) == 1 and faults[0].message.startswith("GET /: ") and said in faults[0].message


def test_a_secret_that_would_be_cut_off_half_way_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE", 0.3)
    run = Run("test", Deadline(10))
    run.redactor.hide(["open-sesame"])
    (fault,) = check(Service("x" * 195 + "open-sesame", status=500), run)
    assert fault.message == "GET /: answered 500, expected 200: " + "x" * 195 + "[hidd"


def test_the_right_answer_is_waited_for() -> None:
    assert not check(Service("cake", Unavailable("connection refused"), "bread"))


def test_a_cluster_that_was_away_says_nothing_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is in doubt for longer than a check may fail, and held again after that."""
    monkeypatch.setattr(verify, "PATIENCE", 0.1)
    monkeypatch.setattr(verify, "ASK_EVERY", 0.01)
    away = [Unavailable("connection refused")] * 2
    service = Service(*away, "bread")
    doubts = iter([False, True, True, False])

    def require() -> bool:
        found = next(doubts)
        if found:
            time.sleep(0.12)
        return found

    monkeypatch.setattr(service, "require", require)
    assert not check(service)


STALE = {
    "there are none yet": None,
    "none is ready": {"metadata": {}},
    "they are of pods that are gone": endpoints("old"),
    "an old one is still among them": endpoints("a", "b", "old"),
    "one is missing": endpoints("a"),
    "they cannot be asked for": Unavailable("connection refused"),
}


@pytest.mark.parametrize("found", STALE.values(), ids=STALE.keys())
def test_endpoints_are_behind(found: Object | Exception | None) -> None:
    cluster = Service(pods=[ready_pod("a"), ready_pod("b")], endpoints=[found])
    assert behind(cast(Api, cluster), "ns", WEB, Deadline(10))


UNREADY: Object = {"metadata": {"uid": "c"}, "status": {}}
FULL = {"annotations": {"endpoints.kubernetes.io/over-capacity": "truncated"}}
CURRENT: dict[str, tuple[Object, Service]] = {
    "the same": (WEB, Service(pods=[ready_pod("a"), UNREADY], endpoints=[endpoints("a")])),
    "no pod is ready": (WEB, Service(pods=[UNREADY])),
    "one that goes": (WEB, Service(pods=[ready_pod("a", deletionTimestamp="now")], endpoints=[{"metadata": {}}])),
    "a port that no pod has": (WEB, Service(pods=[ready_pod("a", port="metrics")], endpoints=[{"metadata": {}}])),
    "too many": (WEB, Service(pods=[ready_pod("a"), ready_pod("b")], endpoints=[endpoints("a", **FULL)])),
    "no selector": ({"metadata": {"name": "web"}, "spec": {}}, Service(pods=[ready_pod("a")])),
    "no spec": ({"metadata": {"name": "web"}}, Service(pods=[ready_pod("a")])),
    "those that are not ready, too": (
        {**WEB, "spec": {**WEB["spec"], "publishNotReadyAddresses": True}}, Service(pods=[ready_pod("a")])
    ),
    "we may not look": (WEB, Service(pods=[ready_pod("a")], endpoints=[NotAllowed("forbidden", hint="ask")])),
}  # fmt: skip


@pytest.mark.parametrize(("of", "cluster"), CURRENT.values(), ids=CURRENT.keys())
def test_endpoints_are_not_behind_or_nobody_can_tell(of: Object, cluster: Service) -> None:
    assert not behind(cast(Api, cluster), "ns", of, Deadline(10))


PODS, ENDPOINTS = "/api/v1/namespaces/ns/pods", "/api/v1/namespaces/ns/endpoints/web"


def test_a_service_is_asked_once_its_endpoints_are_those_of_its_ready_pods() -> None:
    """A pod that goes would answer rightly, whatever the new ones do; one that is gone would let the check time out."""
    late = [None, {"metadata": {}}, endpoints("old"), endpoints("a")]
    service = Service("bread", pods=[ready_pod("a")], endpoints=late)
    assert not check(service, of=WEB)
    assert service.asked == [PODS, ENDPOINTS] * 4 + ["/where"]


def test_a_service_whose_endpoints_fall_behind_while_it_is_asked_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a pod is replaced just then: the proxy answers 503, or leads to the pod that is gone."""
    monkeypatch.setattr(verify, "PATIENCE", 0.1)
    monkeypatch.setattr(verify, "ASK_EVERY", 0.06)
    late = ['no endpoints available for service "web"'] * 2
    behind_later = [endpoints("a"), endpoints("old"), endpoints("old"), endpoints("a")]
    service = Service(*late, "bread", pods=[ready_pod("a")], endpoints=behind_later)
    assert not check(service, of=WEB)
    assert service.asked.count(ENDPOINTS) == 4 and service.asked[-2:] == [ENDPOINTS, "/where"]


@pytest.mark.parametrize("answer", ["bread", "cake"])
def test_endpoints_that_stay_behind_are_waited_for_so_long_only(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PATIENCE", 0.1)
    monkeypatch.setattr(verify, "SETTLING", 0.3)
    service = Service(*[answer] * 100, pods=[ready_pod("a")], endpoints=[endpoints("old")])
    assert [fault.reason for fault in check(service, of=WEB)] == ([] if answer == "bread" else ["HttpCheck"])
    assert service.asked.index("/where") > 2, "they were waited for before"


def test_endpoints_have_their_time_anew_after_a_cluster_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "SETTLING", 1.0)
    monkeypatch.setattr(verify, "ASK_EVERY", 0.4)
    service = Service("bread", pods=[ready_pod("a")], endpoints=[*[endpoints("old")] * 4, endpoints("a")])
    monkeypatch.setattr(service, "require", lambda: "/where" not in service.asked)
    assert not check(service, of=WEB)
    assert service.asked.count(ENDPOINTS) == 5


def test_a_service_that_is_wrong_is_not_asked_again_once_its_endpoints_are_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "PATIENCE", 0.1)
    service = Service("cake", pods=[ready_pod("a")], endpoints=[endpoints("a")])
    (fault,) = check(service, of=WEB)
    assert "answered without 'bread'" in fault.message and service.asked.count(ENDPOINTS) == 2
