"""Jobs that nobody has seen end: by their Events, and where there are none, inconclusive."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed
from cdlib.rollout import gone
from cdlib.rollout.api import Api
from cdlib.rollout.gone import how_ended
from cdlib.rollout.verdict import INCONCLUSIVE, Fault

SINCE = "2026-01-01T10:00:00Z"


def event(reason: str, message: str = "", when: str = "2026-01-01T10:00:02Z") -> dict[str, Any]:
    return {"metadata": {}, "reason": reason, "message": message, "lastTimestamp": when}


class Cluster:
    """Answers each question about Events with the next of these; the last one stays."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def get(self, _where: str, _deadline: object, **params: str) -> dict[str, Any]:
        self.asked.append(params["fieldSelector"])
        return {"items": self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]}


def ended(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> tuple[Fault, ...]:
    monkeypatch.setattr(gone, "LAG", 0.05)
    monkeypatch.setattr(gone, "ASK_EVERY", 0.01)
    return how_ended(cast(Api, cluster), "ns", ["migrate"], SINCE, Deadline(9.0))


def test_one_that_has_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster([event("SuccessfulCreate"), event("Completed", "Job completed")])
    assert ended(cluster, monkeypatch) == ()
    assert cluster.asked == ["involvedObject.kind=Job,involvedObject.name=migrate"]


def test_one_that_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Job has reached the specified backoff limit"
    (fault,) = ended(Cluster([event("BackoffLimitExceeded", text)]), monkeypatch)
    assert (fault.reason, fault.about) == ("JobFailed", "Job migrate")
    assert str(fault) == f"Job migrate: the Job migrate has failed: {text}"


def test_events_that_come_late_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(Cluster([], [], [event("Completed")]), monkeypatch) == ()


@pytest.mark.parametrize("told", [[], [event("Completed", when="2026-01-01T09:59:59Z")]], ids=["none", "of another"])
def test_no_data_is_no_pass(told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = ended(Cluster(told), monkeypatch)
    assert fault.reason == INCONCLUSIVE and "nothing tells how it ended" in fault.message


def test_what_may_not_be_asked_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(Cluster):
        def get(self, *_: object, **_params: str) -> dict[str, Any]:
            raise NotAllowed("no")

    with pytest.raises(NotAllowed):  # which the judge takes for inconclusive
        ended(Forbidden([]), monkeypatch)
