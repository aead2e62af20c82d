"""Pods that a StatefulSet is stuck on: which they are, and what is done about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed
from cdlib.rollout.api import Conflict
from cdlib.rollout.stuck import IN_ROLLBACK, IN_ROLLOUT, MOST, WITHOUT_PERMISSION, StuckPods, stuck_pods
from cdlib.rollout.verdict import Fault
from cdlib.run import Run
from cdlib.service import Verify
from cdlib.target import Environment


def a_set(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "uid": "set", "generation": 2},
        "spec": {"replicas": 2, **spec},
        "status": {"observedGeneration": 2, "updateRevision": "web-good"},
    }


def a_pod(name: str = "web-1", *, revision: str = "web-bad", ready: bool = False, **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "7",
                     "labels": {"controller-revision-hash": revision}, "ownerReferences": [{"uid": "set"}], **meta},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }  # fmt: skip


def names(o: dict[str, Any], *pods: dict[str, Any]) -> list[str]:
    return [p["metadata"]["name"] for p in stuck_pods(o, list(pods))]


def test_a_pod_of_another_revision_that_is_not_ready_is_stuck_on() -> None:
    assert names(a_set(), a_pod()) == ["web-1"]


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(ready=True),
        a_pod(revision="web-good"),
        a_pod(deletionTimestamp="2026-01-01T00:00:00Z"),
        a_pod(ownerReferences=[{"uid": "another"}]),
    ],
    ids=["ready", "of the wanted revision", "being deleted", "another's"],
)
def test_others_are_not(pod: dict[str, Any]) -> None:
    assert names(a_set(), pod) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"podManagementPolicy": "Parallel"},
        {"updateStrategy": {"type": "OnDelete"}},
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
    ],
    ids=["parallel", "on delete", "below the partition"],
)
def test_sets_that_do_not_wait_or_leave_it_to_people_are_left_alone(spec: dict[str, Any]) -> None:
    assert names(a_set(**spec), a_pod()) == []


def test_before_the_controller_has_seen_the_change_nothing_is_stuck() -> None:
    o = a_set()
    o["metadata"]["generation"] = 3
    assert names(o, a_pod()) == []


class Cluster:
    """Deletes pods, or does not; and a clock."""

    def __init__(self, folder: Path, *, allowed: bool, rollback: bool = True) -> None:
        self.deleted: list[tuple[str, dict[str, Any]]] = []
        self.refuses: Exception | None = None
        self.now = 0.0
        self.told: list[str] = []
        run = Run("test", Deadline(60.0), out=folder)
        run.events.listen(lambda event: self.told.append(str(event.get("text", ""))))
        place = Environment("e", "ns", "web", (), "", None, None, "none", 60.0, "rollback", Verify(), allowed)
        self.stuck = StuckPods(run, self, place, rollback=rollback, clock=lambda: self.now)  # type: ignore[arg-type]

    def delete(self, where: str, _deadline: Deadline, **options: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.deleted.append((where.rpartition("/")[2], options["preconditions"]))

    def look(self, at: float, *pods: dict[str, Any]) -> Fault | None:
        self.now = at
        return self.stuck.look({"StatefulSet": [a_set()], "Pod": list(pods)}, {"web"})


def test_it_is_deleted_where_that_is_allowed_and_only_as_it_was_seen(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True)
    assert cluster.look(0.0, a_pod()) is None
    assert cluster.deleted == [], "it may just be coming up"
    cluster.look(IN_ROLLBACK, a_pod())
    assert cluster.deleted == [("web-1", {"uid": "uid-web-1", "resourceVersion": "7"})]


def test_one_that_is_ready_in_between_is_waited_for_anew(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True)
    cluster.look(0.0, a_pod())
    cluster.look(IN_ROLLBACK - 0.1, a_pod(ready=True))
    cluster.look(IN_ROLLBACK, a_pod())
    assert cluster.deleted == []


def test_in_a_rollout_an_old_pod_has_time_to_come_up_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True, rollback=False)
    cluster.look(0.0, a_pod())
    cluster.look(IN_ROLLOUT - 0.1, a_pod())
    assert cluster.deleted == []
    cluster.look(IN_ROLLOUT, a_pod())
    assert len(cluster.deleted) == 1


def test_without_permission_the_rollback_ends_and_says_what_to_type(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=False)
    cluster.look(0.0, a_pod())
    assert cluster.look(WITHOUT_PERMISSION - 0.1, a_pod()) is None
    fault = cluster.look(WITHOUT_PERMISSION, a_pod())
    assert fault is not None and "kubectl -n ns delete pod web-1" in str(fault)
    assert cluster.deleted == []


def test_without_permission_a_rollout_goes_on_and_says_so_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=False, rollback=False)
    for at in (0.0, WITHOUT_PERMISSION, WITHOUT_PERMISSION + 1):
        assert cluster.look(at, a_pod()) is None
    assert len([text for text in cluster.told if "delete pod web-1" in text]) == 1


def test_one_that_has_changed_meanwhile_is_looked_at_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True)
    cluster.refuses = Conflict("changed")
    cluster.look(0.0, a_pod())
    assert cluster.look(IN_ROLLBACK, a_pod()) is None
    cluster.refuses = None
    cluster.look(IN_ROLLBACK + 0.1, a_pod())
    assert len(cluster.deleted) == 1


def test_credentials_that_may_not_delete_are_as_no_permission(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True)
    cluster.refuses = NotAllowed("pods is forbidden")
    cluster.look(0.0, a_pod())
    assert cluster.look(IN_ROLLBACK, a_pod()) is None
    assert any("pods is forbidden" in text for text in cluster.told)
    assert cluster.look(WITHOUT_PERMISSION, a_pod()) is not None


def test_one_that_always_comes_back_broken_is_not_deleted_for_ever(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, allowed=True)
    at = 0.0
    fault = None
    for number in range(MOST + 1):
        again = a_pod(uid=f"uid-{number}")
        cluster.look(at, again)
        at += WITHOUT_PERMISSION
        fault = cluster.look(at, again)
    assert len(cluster.deleted) == MOST
    assert fault is not None
