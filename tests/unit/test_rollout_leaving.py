"""Pods on their way out, and the clocks that stand still for them."""

from __future__ import annotations

from typing import Any

import pytest

from cdlib.rollout.causes import Cause
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.leaving import GRACE, LATE, Leaving
from cdlib.rollout.patience import Patience

WEB: dict[str, Any] = {"metadata": {"name": "web", "uid": "d1"}}
SETS: list[dict[str, Any]] = [
    {"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": owner}]}}
    for name, owner in (("web-1", "d1"), ("web-2", "d1"), ("api-1", "d2"))
]


def going(owner: str, **meta: Any) -> dict[str, Any]:
    about = {"uid": f"pod of {owner}", "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"uid": owner}]}
    return {"metadata": about | meta}


@pytest.mark.parametrize(
    ("kind", "pod", "own"),
    [
        ("Deployment", going("web-1"), True),
        ("Deployment", going("web-2"), True),
        ("Deployment", going("api-1"), False),
        ("Deployment", going("nobody's"), False),
        ("StatefulSet", going("d1"), True),
        ("StatefulSet", going("web-1"), False),
        ("Deployment", {"metadata": {"uid": "p", "ownerReferences": [{"uid": "web-1"}]}}, False),
        ("Deployment", {"metadata": {"uid": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
    ],
)
def test_only_a_workloads_own_pods_hold_its_place(kind: str, pod: dict[str, Any], own: bool) -> None:
    leaving = Leaving()
    leaving.see([pod], 0.0)
    assert leaving.of(kind, WEB, SETS) is own


@pytest.mark.parametrize(("meta", "grace"), [({}, GRACE), ({"deletionGracePeriodSeconds": 7}, 7.0),
                                             ({"deletionGracePeriodSeconds": 0}, 0.0)])  # fmt: skip
def test_a_pod_that_does_not_go_in_time_is_waited_for_no_longer(meta: dict[str, Any], grace: float) -> None:
    leaving, pod = Leaving(), going("web-1", **meta)
    found = []
    for now in (100.0, 99.9 + grace + LATE, 100.0 + grace + LATE):
        leaving.see([pod], now)
        found.append(leaving.of("Deployment", WEB, SETS))
    assert found == [True, True, False]
    leaving.see([], 300.0)
    leaving.see([pod], 400.0)
    assert leaving.of("Deployment", WEB, SETS), "it is another deletion by now"


def lasting(stands: int) -> Cause:
    return Cause(("a",), "Reason", "message", 20.0, stands=stands)


@pytest.mark.parametrize(("stands", "over"), [(0, 20.0), (1, 35.0), (2, 50.0)])
def test_time_stands_still_or_runs_back_while_a_place_is_held(stands: int, over: float) -> None:
    patience = Patience(lambda _kind, _name, _key: True)
    for now in (0.0, 5.0):
        assert patience.sort([lasting(0)], now)[0] == []
    for now in (10.0, 15.0, 20.0):
        patience.sort([lasting(stands)], now)
    assert patience.sort([lasting(0)], over - 0.1)[0] == []
    assert patience.sort([lasting(0)], over)[0]


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ({"lastTimestamp": "2026-01-01T00:00:07Z", "eventTime": None}, "2026-01-01T00:00:07"),
        ({"lastTimestamp": None, "eventTime": "2026-01-01T00:00:08.123456Z"}, "2026-01-01T00:00:08"),
        ({"eventTime": "2026-01-01T00:00:08.123456Z", "series": {"count": 2,
          "lastObservedTime": "2026-01-01T00:00:09.000000Z"}}, "2026-01-01T00:00:09"),
        ({"metadata": {"uid": "e", "creationTimestamp": "2026-01-01T00:00:06Z"}}, "2026-01-01T00:00:06"),
        ({}, ""),
    ],
)  # fmt: skip
def test_when_an_event_was_counted_last(times: dict[str, Any], last: str) -> None:
    told = Happenings()
    told.take([{"metadata": {"uid": "e"}, "involvedObject": {"uid": "s"}, "reason": "FailedCreate", **times}])
    assert [h.last for h in told.about("s")] == [last]
