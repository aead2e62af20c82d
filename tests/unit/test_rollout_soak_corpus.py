"""Harmless trouble at every moment of the checks and the soak: none of it ends a rollout that is up."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from cdlib.deadline import Deadline
from cdlib.rollout.judging import _checked
from cdlib.rollout.lease import Lease
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import State
from cdlib.rollout.verify import Request
from cdlib.run import Run
from cdlib.service import HttpCheck
from tests.traces.replay import Line
from tests.traces.scripted import (
    CREATING,
    READY,
    RUNS,
    container,
    deployment,
    ends,
    pod,
    pod_steps,
    replicaset,
    rollout,
    second_pod,
    unscheduled,
)
from tests.traces.virtual import Cluster

UP = 2.1  # the second at which the rollout is complete
SOAK = 8.0
SHARE = 108.0  # seconds for deploying and verifying, as of 180
CHECKS = 6  # of ANSWER seconds each
MOMENTS = [UP + 0.05 + 0.25 * n for n in range(56)]  # from the first check to after the soak's end
DELETED = READY | {"deleting": True}
Lines = list[Line | list[Line]]


def counts(t: float, *, want: int = 2, available: int = 2, generation: int = 2, observed: int = 0) -> list[Line]:
    """The Deployment and its ReplicaSet, with no old pods left."""
    return [replicaset(t, replicas=want, ready=available),
            deployment(t, gen=generation, obs=observed or generation, want=want, replicas=want, updated=want,
                       available=available)]  # fmt: skip


def autoscaled(t: float) -> Lines:
    return [
        counts(t, generation=3, observed=2), counts(t + 0.1, want=4, generation=3),
        *[pod_steps([(t + 0.1, CREATING), (t + after, READY)], f"web-2-{name}") for name, after in (("x", 4), ("y", 6))],
        counts(t + 6.1, want=4, available=4, generation=3),
    ]  # fmt: skip


def evicted(t: float) -> Lines:
    gone = pod(container(ended=("Error", 137)), phase="Failed", why="Evicted")
    return [pod_steps([(t, gone)]), counts(t, available=1),
            pod_steps([(t + 0.2, CREATING), (t + 3.0, READY)], "web-2-c"), counts(t + 3.1)]  # fmt: skip


def drained(t: float) -> Lines:
    """Both pods go, and the nodes stay cordoned for most of a minute: nothing serves meanwhile."""
    lines: Lines = [counts(t, available=0), counts(t + 52.0)]
    nowhere = unscheduled("0/2 nodes are available: 2 node(s) were unschedulable.")
    for old, new in (("web-2-a", "web-2-c"), ("web-2-b", "web-2-d")):
        lines += [pod_steps([(t, DELETED), (t + 2.0, None)], old),
                  pod_steps([(t + 0.1, nowhere), (t + 49.0, CREATING), (t + 51.0, READY)], new)]  # fmt: skip
    return lines


def one_drained(t: float) -> Lines:
    return [counts(t, available=1), pod_steps([(t, DELETED), (t + 2.0, None)]),
            pod_steps([(t + 0.1, CREATING), (t + 3.0, READY)], "web-2-c"), counts(t + 3.1)]  # fmt: skip


def unready_for_a_moment(t: float) -> Lines:
    return [pod_steps([(t, RUNS), (t + 1.5, READY)]), counts(t, available=1), counts(t + 1.6)]


def soaked(lines: Lines, monkeypatch: pytest.MonkeyPatch, *, share: float = SHARE) -> State:
    """How a rollout stands at the end that is complete at UP, with these lines on top."""
    tape = rollout(pod_steps([(1.0, READY)]), second_pod(2.0), pod_steps([(UP, None)], "web-1-a"), *lines, done=UP)
    cluster = Cluster(tape, monkeypatch)
    run, deadline = Run("helm-deploy", Deadline(300.0)), Deadline(share)
    follower = cluster.follower(run)
    state = follower.until_up(deadline)
    assert state.complete and not state.faults
    requests = [Request(HttpCheck("/"), "/where", through_api=True)] * CHECKS
    release = cast(Release, SimpleNamespace(run=run, api=cluster))
    state = _checked(release, cast(Lease, cluster), requests, follower, state, deadline)
    return state if state.faults else follower.soak(SOAK, deadline)


@pytest.mark.parametrize("happens", [autoscaled, evicted, one_drained, unready_for_a_moment])
def test_what_a_cluster_does_of_itself_ends_no_rollout_at_any_moment(
    happens: Callable[[float], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    for moment in MOMENTS:
        state = soaked(happens(moment), monkeypatch)
        assert state.faults == (), moment
        assert state.complete and state.pods, moment


def test_nodes_that_are_drained_end_no_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    for moment in MOMENTS:
        state = soaked(drained(moment), monkeypatch)
        assert state.faults == (), moment
        assert state.complete, moment


def test_what_does_not_come_back_is_a_fault_at_the_end_of_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Lines = [pod_steps([(9.0, RUNS)]), counts(9.0, available=1)]
    state = soaked(lines, monkeypatch, share=40.0)
    (fault,) = state.faults
    assert fault.reason == "Unsteady"
    assert fault.message == (
        "was complete and is not any more: web 2 of 2 updated, 1 available; "
        "pod web-2-a, container web: runs, and is not ready yet"
    )
    assert [p["metadata"]["name"] for p in state.pods] == ["web-2-a", "web-2-b"]


def test_a_check_that_breaks_containers_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Lines = [pod_steps(ends(2.6, 18.0), name) for name in ("web-2-a", "web-2-b")]
    state = soaked([*lines, counts(2.2, available=0)], monkeypatch)
    assert [fault.reason for fault in state.faults] == ["HttpCheck"], "at once"


def test_what_breaks_while_it_is_waited_for_is_called_by_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: Lines = [pod_steps(ends(9.0, 11.0, 27.0)), counts(9.0, available=1)]
    state = soaked(lines, monkeypatch)
    assert [fault.reason for fault in state.faults] == ["CrashLoop"]
    crashed = next(p for p in state.pods if p["metadata"]["name"] == "web-2-a")
    assert crashed["status"]["containerStatuses"][0]["restartCount"] == 2, "as it is now, not as before the soak"
