"""The ends of containers' logs: the last lines above all, and those of Jobs before they are gone."""

from __future__ import annotations

from typing import Any, cast

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable
from cdlib.rollout import logs
from cdlib.rollout.api import Api
from cdlib.rollout.logs import LARGEST, MOST_ENDS, Keepsakes, read_log


class Kubelet:
    """Answers with the last lines of a log as a real one: what is longer than the limit is cut at its end."""

    def __init__(self, *lines: str, problem: Exception | None = None) -> None:
        self.lines, self.problem, self.asked = list(lines), problem, list[dict[str, str]]()

    def text(self, _where: str, deadline: Deadline, **asked: str) -> str | None:
        deadline.require("reading a log")
        self.asked.append(asked)
        if self.problem:
            raise self.problem
        if asked["previous"] == "true" or not self.lines:
            return None
        tail = "".join(f"{line}\n" for line in self.lines[-int(asked["tailLines"]) :])
        return tail.encode()[: int(asked["limitBytes"])].decode("utf-8", "replace")


def api(kubelet: Kubelet) -> Api:
    return cast(Api, kubelet)


@pytest.mark.parametrize("length", [10, 1_400, 4_200, 16_000])
def test_the_last_line_is_there_however_long_the_lines_are(length: int) -> None:
    """A line of 16 KiB is the longest: a runtime splits what is longer."""
    kubelet = Kubelet(*("ü" * (length // 2) for _ in range(250)), "the cause")
    log = read_log(api(kubelet), "ns", "web-1", "web", Deadline(9.0))["now"]
    assert log.endswith("\nthe cause\n")
    assert len(log.encode()) < LARGEST
    assert len(log.splitlines()) >= min(200, LARGEST // (length + 1) // 4)


def pod(name: str = "migrate-a", *, owner: str = "Job", **status: Any) -> dict[str, Any]:
    owners = {"ownerReferences": [{"kind": owner, "uid": "o"}]} if owner else {}
    container = {"name": "main", "restartCount": 0, "state": {"running": {}}, **status}
    return {"metadata": {"name": name, "uid": f"uid-{name}", **owners}, "spec": {},
            "status": {"containerStatuses": [container]}}  # fmt: skip


ENDED: dict[str, Any] = {"state": {"terminated": {"exitCode": 3}}}
AGAIN: dict[str, Any] = {"restartCount": 1, "lastState": {"terminated": {"exitCode": 3}}}


@pytest.mark.parametrize("status", [ENDED, AGAIN], ids=["it has ended", "it was started again"])
def test_the_log_of_a_jobs_container_that_ended_badly_is_kept_once(status: dict[str, Any]) -> None:
    kubelet = Kubelet("cannot migrate")
    keepsakes = Keepsakes(api(kubelet), "ns")
    assert keepsakes.see([pod()], Deadline(9.0)) == ()
    (kept,) = keepsakes.see([pod(**status)], Deadline(9.0))
    assert kept["logs"] == {"main": {"now": "cannot migrate\n"}}
    asked = len(kubelet.asked)
    for _ in range(3):
        keepsakes.see([pod(**status)], Deadline(9.0))
    assert len(kubelet.asked) == asked
    (gone,) = keepsakes.see([], Deadline(9.0))
    assert gone == kept, "it is kept although the pod is gone"


def test_a_later_end_is_kept_instead() -> None:
    kubelet = Kubelet("first")
    keepsakes = Keepsakes(api(kubelet), "ns")
    keepsakes.see([pod(**ENDED)], Deadline(9.0))
    kubelet.lines = ["second"]
    (kept,) = keepsakes.see([pod(**{**ENDED, "restartCount": 1})], Deadline(9.0))
    assert kept["logs"]["main"]["now"] == "second\n"
    assert kept["status"]["containerStatuses"][0]["restartCount"] == 1


@pytest.mark.parametrize("owner", ["Job", ""], ids=["of a Job", "a hook that is a pod"])
def test_what_ended_well_or_is_no_job_is_left_alone(owner: str) -> None:
    kubelet = Kubelet("fine")
    keepsakes = Keepsakes(api(kubelet), "ns")
    well = pod(owner=owner, state={"terminated": {"exitCode": 0}})
    assert keepsakes.see([well, pod("web-1", owner="ReplicaSet", **ENDED)], Deadline(9.0)) == ()
    assert kubelet.asked == []
    assert keepsakes.see([pod(owner=owner, **ENDED)], Deadline(9.0))


@pytest.mark.parametrize("problem", [NotAllowed("no"), Unavailable("no answer"), None])
def test_a_log_that_cannot_be_had_is_asked_for_a_few_times(problem: Exception | None) -> None:
    kubelet = Kubelet(problem=problem)
    keepsakes = Keepsakes(api(kubelet), "ns")
    for _ in range(20):
        (kept,) = keepsakes.see([pod(**ENDED)], Deadline(9.0))
    assert kept["logs"] == {}
    assert len(kubelet.asked) == MOST_ENDS * (1 if problem else 2)


def test_keeping_logs_takes_no_more_of_a_look_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOOK", 0.0)
    kubelet = Kubelet("cannot migrate")
    Keepsakes(api(kubelet), "ns").see([pod(**ENDED)], Deadline(9.0))
    assert kubelet.asked == []
