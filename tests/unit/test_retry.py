"""What is worth another try."""

from __future__ import annotations

import time

import pytest

from cdlib import retry
from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable, disk_full
from cdlib.retry import patiently, retrying


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)


class Server:
    """Raises what it is given, then answers."""

    def __init__(self, *problems: Exception) -> None:
        self.problems = list(problems)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.problems:
            raise self.problems.pop(0)
        return "answer"


def test_trouble_passes() -> None:
    server = Server(Unavailable("a"), Unavailable("b"))
    assert retrying(server, Deadline(9)) == "answer" and server.calls == 3


def test_the_last_trouble_is_told_as_it_is() -> None:
    server = Server(*(Unavailable(str(n)) for n in range(9)))
    with pytest.raises(Unavailable, match="4"):
        retrying(server, Deadline(9))
    assert server.calls == 5
    server = Server(Unavailable("x"), Unavailable("y"))
    with pytest.raises(Unavailable, match="x"):
        retrying(server, Deadline(9), attempts=1)


@pytest.mark.parametrize(
    "problem", [NotAllowed("no"), disk_full("/x"), ValueError("ours"), Unavailable("x", retryable=False)]
)
def test_what_no_try_helps_is_not_tried(problem: Exception) -> None:
    server = Server(problem)
    with pytest.raises(type(problem)):
        retrying(server, Deadline(9))
    assert server.calls == 1


def test_no_try_begins_after_the_deadline() -> None:
    server = Server(*(Unavailable("x") for _ in range(9)))
    with pytest.raises(Unavailable):
        retrying(server, Deadline(0))
    assert server.calls == 1


def test_a_servers_wish_counts_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_AFTER_CAP", 0.05)
    started = time.monotonic()
    assert retrying(Server(Unavailable("x", retry_after=3600)), Deadline(9)) == "answer"
    assert 0.05 <= time.monotonic() - started < 1


def test_what_was_allowed_before_is_refused_for_a_while_only() -> None:
    server = Server(NotAllowed("no"), NotAllowed("no"))
    assert patiently(server, Deadline(9), allowed=True) == "answer" and server.calls == 3
    server = Server(NotAllowed("no"))
    with pytest.raises(NotAllowed):
        patiently(server, Deadline(9))
    assert server.calls == 1


def test_a_refusal_that_stays_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FORBIDDEN", 0.05)
    server = Server(*(NotAllowed("no") for _ in range(999)))
    with pytest.raises(NotAllowed):
        patiently(server, Deadline(9), allowed=True)
    assert server.calls > 2


def test_a_refusal_counts_from_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was away for long, and then has just begun, is believed as late as any other."""
    monkeypatch.setattr(retry, "FORBIDDEN", 0.2)
    away, began = Unavailable("away"), time.monotonic()

    def call() -> str:
        if time.monotonic() - began < 0.4:
            raise away
        return server()

    server = Server(NotAllowed("no"))
    assert patiently(call, Deadline(9), allowed=True) == "answer"
