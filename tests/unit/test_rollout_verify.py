"""What an HTTP check says of a service that never gave the right answer."""

from __future__ import annotations

import time
from typing import cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from cdlib.rollout import verify
from cdlib.rollout.api import Api
from cdlib.rollout.lease import Lease
from cdlib.rollout.verdict import Fault
from cdlib.rollout.verify import Request, check_http
from cdlib.run import Run
from cdlib.service import HttpCheck


class Service:
    """Gives the answers in turn; when they are used up, none until the time is over."""

    def __init__(self, *answers: str | Exception, status: int = 200) -> None:
        self._answers, self.status = list(answers), status

    def fetch(self, where: str, deadline: Deadline) -> tuple[int, str]:
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


def check(service: Service, run: Run | None = None) -> tuple[Fault, ...]:
    deadline = Deadline(10)
    request = Request(HttpCheck("/", contains="bread"), "/where", through_api=True)
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
