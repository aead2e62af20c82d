"""What is told of a rollout's pods, so that a report can draw them."""

from __future__ import annotations

from typing import Any

from cdlib.deadline import Deadline
from cdlib.rollout.sightings import MOST, Sightings, pod_state
from cdlib.run import Run
from tests.traces.replay import recorded

Pod = dict[str, Any]


def pod(name: str = "web-1", *, ready: bool = False, restarts: int = 0, phase: str = "Running", **state: Any) -> Pod:
    container = {"name": "web", "ready": ready, "restartCount": restarts, "state": state or {"running": {}}}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"name": name, "uid": name},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": [container]},
    }


class Told:
    """Sightings whose events are kept."""

    def __init__(self) -> None:
        self.run = Run("helm-deploy", Deadline(60.0))
        self.events: list[dict[str, Any]] = []
        self.run.events.listen(self.events.append)
        self.sightings = Sightings(self.run)

    def after(self, *pods: Pod) -> list[tuple[str, str, int]]:
        """What is told of the pods as they are now."""
        del self.events[:]
        self.sightings.tell(pods)
        return [(e["pod"], e["state"], e["restarts"]) for e in self.events]


def test_only_what_changes_is_told() -> None:
    told, first = Told(), pod(waiting={"reason": "ContainerCreating"})
    assert told.after(first) == [("web-1", "ContainerCreating", 0)]
    assert told.after(first) == told.after(pod(waiting={"reason": "ContainerCreating"})) == []
    assert told.after(pod()) == [("web-1", "Running", 0)]
    assert told.after(pod(ready=True)) == [("web-1", "Ready", 0)]
    assert told.after() == [("web-1", "gone", 0)]
    assert told.after() == []


def test_a_container_that_ended_is_told_where_the_state_is_the_same() -> None:
    told = Told()
    assert told.after(pod()) == [("web-1", "Running", 0)]
    assert told.after(pod(restarts=1)) == [("web-1", "Running", 1)]


def test_states_are_kubectl_s_words() -> None:
    assert pod_state({"metadata": {}, "status": {}}) == "Pending"
    assert pod_state(pod(phase="Pending")) == "Pending"
    assert pod_state(pod(waiting={"reason": "ImagePullBackOff"})) == "ImagePullBackOff"
    assert pod_state(pod(terminated={"reason": "OOMKilled", "exitCode": 137})) == "OOMKilled"
    assert pod_state(pod(terminated={"exitCode": 1})) == "Error"
    assert pod_state(pod(phase="Succeeded", terminated={"exitCode": 0})) == "Succeeded"


def test_many_pods_and_one_that_crashes_for_ever_do_not_fill_the_disk() -> None:
    told = Told()
    assert len(told.after(*(pod(f"web-{n}") for n in range(3 * MOST)))) == MOST
    many = [told.after(pod("web-0", restarts=n)) for n in range(1000)]
    assert 10 < sum(map(len, many)) - MOST < 50  # the others are gone at once


def test_a_recorded_crash_is_told_from_its_first_start_to_its_last_end() -> None:
    told, there, states = Told(), dict[str, Pod](), list[str]()
    for change in recorded("crash0").changes:
        if change.kind == "Pod":
            there[change.uid] = change.o
            states += [state for _, state, _ in told.after(*there.values())]
    assert {"ContainerCreating", "CrashLoopBackOff"} <= set(states)
