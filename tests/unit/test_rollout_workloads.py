"""Following a rollout: when it is called, how long it is watched, and what is looked up meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import kubeconfig
from stand_ins import Seen, Server

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable
from cdlib.rollout import workloads
from cdlib.rollout.api import Api
from cdlib.rollout.lookup import Lookup
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, Fault, State
from cdlib.rollout.workloads import Follower, look
from cdlib.run import Run

WEB = [("Deployment", "web")]
BAD = (Fault("web-1", "web", "CrashLoop", "ended 3 times"),)


class Lease:
    """One that is held."""

    def require(self) -> None:
        """Nothing to say."""


class Watch:
    """One that has listed everything."""

    listed, trouble = True, ""

    def objects(self) -> dict[str, list[Any]]:
        """Nothing: the judge here is scripted."""
        return {}

    def wait(self, _seconds: float) -> None:
        """Something changes at once."""


class Script:
    """A judge whose verdicts are written down; the last one stays."""

    def __init__(self, *states: State) -> None:
        self.states, self.looks, self.seen = list(states), 0, list[bool]()

    def look(self, _found: object, *, seen: bool) -> State:
        """The next verdict."""
        self.looks += 1
        self.seen.append(seen)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


def state(
    *, complete: bool = False, faults: tuple[Fault, ...] = (), ends: int = 0, waiting: tuple[str, ...] = ()
) -> State:
    return State(complete, "web 1 of 2 updated", faults, (), waiting, ends)


@pytest.fixture
def run() -> Run:
    return Run("helm-deploy", Deadline(60.0))


def follower(run: Run, *states: State) -> Follower:
    made = Follower(run, None, "ns", WEB, Lease(), Watch())  # type: ignore[arg-type]
    made._judge = Script(*states)  # type: ignore[assignment]
    return made


def test_it_ends_with_the_first_fault_or_when_it_is_complete(run: Run) -> None:
    assert follower(run, state(), state(), state(complete=True)).until_up(Deadline(9.0)).complete
    assert follower(run, state(), state(faults=BAD)).until_up(Deadline(9.0)).faults == BAD


def test_what_has_no_readiness_probe_must_stay_complete_for_a_while(run: Run) -> None:
    up = replace(state(complete=True), hold=0.05)
    steady = follower(run, up)
    assert steady.until_up(Deadline(9.0)).complete
    assert steady._judge.looks > 2  # type: ignore[attr-defined]
    crashes = follower(run, up, replace(up, ends=1), replace(up, complete=False, ends=2), state(faults=BAD))
    assert crashes.until_up(Deadline(9.0)).faults == BAD
    assert follower(run, replace(up, hold=9.0)).until_up(Deadline(0.1)).complete


def test_pods_are_waited_for_whose_watch_is_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    run.events.listen(lambda event: told.append(event["text"]) if event["event"] == "note" else None)
    up = state(complete=True)
    behind = replace(up, unseen=1)
    assert follower(run, behind, behind, up).until_up(Deadline(9.0)).unseen == 0
    monkeypatch.setattr(workloads, "LAG", 0.05)
    assert follower(run, behind).until_up(Deadline(9.0)).complete, "it serves, whatever that watch shows"
    assert told == ["web 1 of 2 updated"] * 2


def test_a_pods_age_is_asked_of_who_follows_it(run: Run) -> None:
    asked: list[Any] = []
    status = {"name": "web", "ready": False, "restartCount": 1, "state": {}}
    old = {"metadata": {"name": "a", "uid": "a"}, "status": {"containerStatuses": [status]}}
    watch = Watch()
    watch.objects = lambda: {"Pod": [old]}  # type: ignore[method-assign]
    Follower(run, None, "ns", [("Pod", "a")], Lease(), watch, older=lambda o: bool(asked.append(o))).state_now()  # type: ignore[arg-type, func-returns-value]
    assert asked == [old]


def test_out_of_time_says_what_it_waited_for(run: Run) -> None:
    found = follower(run, state(waiting=("pod web-1, container web: is being created",))).until_up(Deadline(0.05))
    assert found.faults[0].reason == "OutOfTime"
    assert "web 1 of 2 updated; pod web-1, container web: is being created" in str(found.faults[0])


def test_time_that_an_outage_has_taken_is_not_the_images_fault(run: Run) -> None:
    found = follower(run, replace(state(), missed=45.0)).until_up(Deadline(0.05))
    assert found.faults[0].reason == OUTAGE
    assert "for 45 s of them the cluster's API, its controllers or nodes were away" in str(found.faults[0])


def test_a_person_is_told_of_trouble_and_not_of_being_slow(run: Run) -> None:
    told: list[str] = []
    run.events.listen(lambda event: told.append(event["text"]) if event["event"] == "note" else None)
    slow, bad = state(waiting=("is being created",)), state(waiting=("a", "b"))
    follower(run, slow, slow, replace(bad, trouble="a"), state(complete=True)).until_up(Deadline(9.0))
    assert told == ["web 1 of 2 updated", "web 1 of 2 updated; a", "web 1 of 2 updated"]


def test_what_was_never_seen_is_inconclusive(run: Run) -> None:
    blind = follower(run, state())
    blind._watch.trouble = "connection refused"  # type: ignore[misc]
    assert blind.until_up(Deadline(0.05)).faults[0].reason == INCONCLUSIVE
    assert blind._judge.seen and not any(blind._judge.seen)  # type: ignore[attr-defined]
    blind._judge = Script(state(complete=True))  # type: ignore[assignment]
    assert blind.until_up(Deadline(0.05)).faults[0].reason == INCONCLUSIVE, "one kind says so, others are not seen"


def test_a_storm_of_changes_costs_no_whole_core(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "LONGEST_PAUSE", 0.02)
    slow = follower(run, state())
    script = slow._judge
    look_at_once = script.look

    def work(found: Any, *, seen: bool) -> State:
        end = Deadline(0.01)
        while not end.over:
            pass
        return look_at_once(found, seen=seen)

    script.look = work  # type: ignore[method-assign]
    slow.until_up(Deadline(0.3))
    assert script.looks <= 12  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([state(complete=True)], ""),
        ([state(complete=True), state(complete=True, faults=BAD)], "CrashLoop"),
        ([state(complete=True, ends=4), state(complete=True, ends=4)], ""),
        ([state(complete=True), state(complete=True, ends=1)], ""),  # once, and steady in the soak after it
    ],
)
def test_a_soak(run: Run, monkeypatch: pytest.MonkeyPatch, states: list[State], reason: str) -> None:
    monkeypatch.setattr(workloads, "look", lambda *_: state(complete=True))
    faults = follower(run, *states).soak(0.2, Deadline(9.0)).faults
    assert [fault.reason for fault in faults] == ([reason] if reason else [])


def test_a_soak_in_which_containers_end_again_and_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "look", lambda *_: state(complete=True))
    restless = follower(run, state(complete=True))
    counted = iter(range(10**9))
    monkeypatch.setattr(restless._judge, "look", lambda _found, *, seen: state(complete=seen, ends=next(counted)))
    (fault,) = restless.soak(0.2, Deadline(9.0)).faults
    assert fault.reason == "Unsteady"
    assert "restarted in each of 3 soaks" in fault.message


def test_the_last_soak_needs_no_time_for_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "look", lambda *_: state(complete=True))
    restless = follower(run, state(complete=True))
    left = Deadline(100.0)

    def during(_seconds: float, _deadline: Deadline) -> tuple[list[State], float]:
        left._end -= 30.0
        return [state(complete=True), state(complete=True, ends=1)], 0.0

    monkeypatch.setattr(restless, "_during", during)
    (fault,) = restless.soak(30.0, left).faults
    assert fault.reason == "Unsteady"


def test_a_soak_without_time_for_another_goes_by_what_is_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "look", lambda *_: state(complete=True))
    assert follower(run, state(complete=True), state(complete=True, ends=1)).soak(0.02, Deadline(0.5)).faults == ()


def test_a_soak_at_whose_end_it_is_not_up_is_followed_until_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "TICK", 0.02)
    listed = [state(), state(), state(complete=True)]
    monkeypatch.setattr(workloads, "look", lambda *_: listed.pop(0))
    assert follower(run, state(complete=True)).soak(0.02, Deadline(9.0)).complete
    assert listed == [], "the list decides, because the watch may be behind"


def test_a_soak_after_which_it_never_is_up_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "TICK", 0.02)
    monkeypatch.setattr(workloads, "look", lambda *_: state())
    broken = follower(run, *[state(complete=True)] * 2, state())
    monkeypatch.setattr(broken, "_during", lambda *_: ([state(complete=True)], 0.0))
    assert broken.soak(0.02, Deadline(0.3)).faults[0].reason == "Unsteady"


@pytest.mark.parametrize(("before", "reason"), [(45.0, "Unsteady"), (0.0, OUTAGE)])
def test_an_outage_excuses_only_what_comes_after_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, before: float, reason: str
) -> None:
    monkeypatch.setattr(workloads, "TICK", 0.02)
    monkeypatch.setattr(workloads, "look", lambda *_: state())
    broken = follower(run, replace(state(), missed=45.0))
    monkeypatch.setattr(broken, "_during", lambda *_: ([replace(state(complete=True), missed=before)], 0.0))
    assert broken.soak(0.02, Deadline(0.3)).faults[0].reason == reason


@pytest.mark.parametrize("problem", [Unavailable("no answer"), NotAllowed("forbidden")])
def test_a_soak_whose_end_cannot_be_seen(run: Run, problem: CdError, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> State:
        raise problem

    monkeypatch.setattr(workloads, "look", gone)
    began = Deadline(0.5)
    assert follower(run, state(complete=True)).soak(0.02, began).faults[0].reason == INCONCLUSIVE
    assert began.left < 0.4, "it was asked again"


def test_an_api_server_that_has_just_begun_refuses_for_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [NotAllowed("forbidden"), state(complete=True)]

    def answer(*_: object) -> State:
        found = answers.pop(0)
        if isinstance(found, CdError):
            raise found
        assert isinstance(found, State)
        return found

    monkeypatch.setattr(workloads, "look", answer)
    assert follower(run, state(complete=True)).soak(0.02, Deadline(9.0)).faults == ()


JOB_POD: dict[str, Any] = {
    "metadata": {"name": "migrate-a", "uid": "p1", "ownerReferences": [{"kind": "Job", "uid": "j"}]},
    "spec": {"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": "keys"}}]}]},
    "status": {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 3}}}]},
}


class Cluster:
    """Has one Secret and one log."""

    def get(self, where: str, _deadline: Deadline) -> dict[str, Any]:
        """The Secret."""
        assert where.endswith("/secrets/keys")
        return {"data": {"c": base64.b64encode(b"open-sesame").decode()}}

    def text(self, _where: str, _deadline: Deadline, **_asked: str) -> str:
        """The log."""
        return "cannot log in"


def test_trouble_is_told_without_secrets_and_logs_of_jobs_are_kept(run: Run) -> None:
    told: list[str] = []
    run.events.listen(lambda event: told.append(event["text"]) if event["event"] == "note" else None)
    made = Follower(run, Cluster(), "ns", [("Job", "migrate")], Lease(), Watch())  # type: ignore[arg-type]
    made._judge = Script(replace(state(), pods=(JOB_POD,), trouble="bad word: open-sesame"), state())  # type: ignore[assignment]
    made.state_now()
    assert told == ["web 1 of 2 updated; bad word: [hidden]"]
    later = made.state_now()
    assert later is not None and later.pods == ()
    assert later.kept[0]["logs"]["main"]["now"] == "cannot log in"


def test_jobs_that_nobody_saw_end_well_have_vanished(run: Run) -> None:
    def job(name: str, kind: str = "") -> dict[str, Any]:
        return {"metadata": {"name": name}, "status": {"conditions": [{"type": kind, "status": "True"}]}}

    jobs = [("Job", name) for name in ("seen", "unseen", "there", "begun")]
    made, watch = Follower(run, None, "ns", [*WEB, *jobs], Lease(), Watch()), Watch()  # type: ignore[arg-type]
    made._judge, made._watch = Script(state(complete=True)), watch  # type: ignore[assignment]
    for found in ([job("seen"), job("begun")], [job("seen", "Complete"), job("begun")], [job("there")]):
        watch.objects = lambda found=found: {"Job": found}  # type: ignore[method-assign, misc]
        made.state_now()
    assert made.vanished == ["unseen", "begun"]


THERE = {
    "/api/v1/namespaces/ns/configmaps/settings": {"metadata": {}, "data": {"a": "1"}, "binaryData": {"b": "MQ=="}},
    "/api/v1/namespaces/ns/secrets/keys": {"metadata": {}, "data": {"c": "MQ=="}},
    "/apis/apps/v1/namespaces/ns/replicasets/web-1": {"metadata": {}},
}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Api, list[Seen]]]:
    seen: list[Seen] = []

    def answer(request: Seen) -> tuple[int, dict[str, str], bytes]:
        seen.append(request)
        if "forbidden" in request.path:
            return 403, {}, b'{"message": "no"}'
        if "trouble" in request.path:
            return 503, {}, b"{}"
        found = THERE.get(request.path)
        return (200 if found else 404), {"Content-Type": "application/json"}, json.dumps(found or {}).encode()

    server = Server(answer)
    made = Api(kubeconfig(tmp_path, server.url), None)
    yield made, seen
    made.close()
    server.close()


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (("ConfigMap", "settings", ""), True),
        (("ConfigMap", "settings", "a"), True),
        (("ConfigMap", "settings", "b"), True),
        (("ConfigMap", "settings", "x"), False),
        (("ConfigMap", "gone", "a"), False),
        (("Secret", "keys", "c"), True),
        (("Secret", "gone", ""), False),
        (("Secret", "forbidden", ""), None),
        (("ReplicaSet", "web-1", ""), True),
        (("Pod", "../../secrets/keys", ""), False),
    ],
)
def test_single_objects_are_looked_up(
    api: tuple[Api, list[Seen]], question: tuple[str, str, str], there: bool | None
) -> None:
    assert Lookup(api[0], "ns")(*question) is there


def test_a_secrets_values_are_not_asked_for(api: tuple[Api, list[Seen]]) -> None:
    Lookup(api[0], "ns")("Secret", "keys")
    assert "PartialObjectMetadata" in api[1][-1].headers["Accept"]


def test_a_cluster_in_trouble_gives_no_answer(api: tuple[Api, list[Seen]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdlib.rollout.lookup.PATIENCE", 0.3)
    with pytest.raises((Unavailable, OutOfTime)):
        Lookup(api[0], "ns")("Secret", "trouble")


def test_all_questions_of_a_look_have_one_limit(api: tuple[Api, list[Seen]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdlib.rollout.lookup.PATIENCE", 0.3)
    lookup, limit = Lookup(api[0], "ns"), Deadline(9.0)
    lookup.begin(limit)
    for _ in range(3):
        with pytest.raises((Unavailable, OutOfTime)):
            lookup("Secret", "trouble")
    assert limit.left > 8.4
    lookup.begin(Deadline(0.0))
    with pytest.raises(OutOfTime):
        lookup("Secret", "keys")


def test_one_look_asks_for_each_kind_once(api: tuple[Api, list[Seen]]) -> None:
    assert not look(api[0], "ns", [*WEB, ("Job", "migrate")], Deadline(5.0)).complete
    assert [request.path.rpartition("/")[2] for request in api[1]] == ["deployments", "jobs", "replicasets", "pods"]
