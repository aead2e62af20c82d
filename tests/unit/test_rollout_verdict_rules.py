"""Single rules of the judge: pulls, own clocks, questions, and the soak."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdlib.errors import Unavailable
from cdlib.rollout.causes import NEVER, Cause, Place, Question
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.patience import AGAIN, FLICKER, MOST, SETTLING, Patience, SeenTime
from cdlib.rollout.pulls import Pulled, Pulls, explained, pull_cause
from cdlib.rollout.soak import longest_probe_soak, probe_soak
from cdlib.rollout.verdict import Judge
from tests.traces.corpus import BROKEN
from tests.traces.replay import Tape, play
from tests.traces.scripted import deployment, pod_steps, rollout, unscheduled

PLACE = Place("p1", "web-1", "web")


def cause(after: float, question: Question | None = None) -> Cause:
    return Cause(("a",), "Reason", "message", after, question)


def test_own_time_stands_still_while_the_cluster_cannot_be_seen_and_until_it_has_settled() -> None:
    now = [0.0]
    time = SeenTime(lambda: now[0])
    for second in range(1, 11):
        now[0] = float(second)
        assert time.tick(True) == second
    for second in range(11, 31):
        now[0] = float(second)
        assert time.tick(False) == 10.0
        assert time.missed == second - 10.0
    for second, counted in ((31.0, 10.0), (31.0 + SETTLING, 10.0), (36.0 + SETTLING, 15.0)):
        now[0] = second
        assert time.tick(True) == counted
    assert time.missed == 21.0 + SETTLING


def test_a_connection_that_is_only_opened_anew_costs_no_time() -> None:
    now = [0.0]
    time = SeenTime(lambda: now[0])
    for second, seen, counted in ((10.0, True, 10.0), (10.2, False, 10.0), (10.5, True, 10.0), (15.5, True, 15.0)):
        now[0] = second
        assert time.tick(seen) == counted


def test_a_cause_is_a_failure_once_it_has_lasted() -> None:
    patience = Patience(lambda _k, _n, _d: True)
    assert patience.sort([cause(20.0)], 0.0) == ([], [cause(20.0)])
    assert patience.sort([cause(20.0)], 19.9) == ([], [cause(20.0)])
    assert patience.sort([cause(20.0)], 20.0) == ([cause(20.0)], [])
    assert patience.sort([cause(NEVER)], 1e6) == ([], [cause(NEVER)])


def test_a_cause_that_goes_begins_anew_but_not_where_it_only_flickers() -> None:
    patience = Patience(lambda _k, _n, _d: True)
    for now in (0.0, 10.0):
        patience.sort([cause(20.0)], now)
    patience.sort([], 10.0 + FLICKER)
    assert patience.sort([cause(20.0)], 20.0)[0]
    patience.sort([], 21.0 + 2 * FLICKER)
    assert patience.sort([cause(20.0)], 41.0)[0] == []


def test_what_our_own_look_finds_begins_anew() -> None:
    answers, asked = [True, False], []

    def exists(*question: str) -> bool:
        asked.append(question)
        return answers.pop(0)

    patience, missing = Patience(exists), cause(20.0, Question("Secret", "s", "k"))
    for now, failed in ((0.0, False), (20.0, False), (39.0, False), (40.0, True), (41.0, True)):
        assert bool(patience.sort([missing], now)[0]) is failed, now
    assert asked == [("Secret", "s", "k")] * 2


def test_where_we_may_not_look_it_must_last_twice_as_long() -> None:
    patience, missing = Patience(lambda *_: None), cause(20.0, Question("Secret", "s"))
    found = [bool(patience.sort([missing], now)[0]) for now in (0.0, 20.0, 39.0, 40.0)]
    assert found == [False, False, False, True]


def test_a_question_that_cannot_be_asked_is_asked_again() -> None:
    answers: list[Any] = [Unavailable("gone"), False]

    def exists(*_: str) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    patience, missing = Patience(exists), cause(20.0, Question("Secret", "s"))
    found = [bool(patience.sort([missing], now)[0]) for now in (0.0, 20.0, 20.5, 20.0 + AGAIN)]
    assert found == [False, False, False, True]


def many(kind: str, *, key: str = "") -> list[Cause]:
    """A hundred pods that each wait for something, each in doubt."""
    return [
        Cause((str(n),), "Reason", "message", 20.0, Question(kind, key or f"web-{n}", there=True), pod=f"web-{n}")
        for n in range(100)
    ]


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([True], 1), ([Unavailable("silent")], 1), ([None], 1), ([False], MOST), ([False, False, True], 3)],
    ids=["one is proof enough", "a silent cluster", "not allowed", "all are gone", "the third is proof"],
)
def test_what_a_look_asks_does_not_grow_with_the_pods(answers: list[Any], asked: int) -> None:
    questions: list[tuple[str, ...]] = []

    def exists(*question: str) -> bool | None:
        questions.append(question)
        answer = answers[min(len(questions), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    patience = Patience(exists)
    patience.sort(many("Pod"), 0.0)
    failures, waiting = patience.sort(many("Pod"), 20.0)
    assert len(questions) == asked
    assert len(failures) == answers.count(True)
    assert len(failures) + len(waiting) == 100


def test_the_same_question_is_asked_once_a_look_and_its_answer_is_for_all() -> None:
    questions: list[tuple[str, ...]] = []
    patience = Patience(lambda *question: bool(questions.append(question)) or True)
    patience.sort(many("ConfigMap", key="settings"), 0.0)
    failures, _ = patience.sort(many("ConfigMap", key="settings"), 20.0)
    assert len(questions) == 1 and len(failures) == 100


def test_all_have_their_turn_within_a_few_looks() -> None:
    questions = set[str]()

    def exists(_kind: str, name: str, _key: str) -> bool:
        questions.add(name)
        return False

    patience = Patience(exists)
    for now in (0.0, *range(20, 40)):
        patience.sort(many("Pod"), now)
    assert len(questions) == 100


def test_a_hundred_pods_that_fit_nowhere_are_called_by_one_question() -> None:
    asked: list[str] = []
    steps = [(0.1, unscheduled("0/1 nodes are available: 1 Insufficient cpu."))]
    pods = [line for n in range(100) for line in pod_steps(steps, f"web-2-{n}")]
    tape = rollout(deployment(0.1, want=100), pods, begins=True, end=40)
    played = play(tape, lambda _kind, name, _second: bool(asked.append(name)) or True)
    assert played.faults[0].reason == "Unschedulable" and played.called is not None and played.called <= 32.0
    assert len(asked) == 1


def test_a_message_is_one_line_and_has_an_end() -> None:
    assert PLACE.cause("x", "R", "one\n  two\t three\n").message == "one two three"
    assert len(PLACE.cause("x", "R", "long " * 1000).message) == 500


def waiting(message: str, image: str = "registry.test/web:1") -> dict[str, Any]:
    return {"name": "web", "image": image, "state": {"waiting": {"reason": "ErrImagePull", "message": message}}}


def tried(times: int, message: str = "no") -> Happenings:
    about = {"uid": "p1", "fieldPath": "spec.containers{web}"}
    told = Happenings()
    told.take([])
    told.take([{"metadata": {"uid": "e1"}, "involvedObject": about, "reason": "Failed", "count": times,
                "message": f'Failed to pull image "x": {message}'}])  # fmt: skip
    return told


@pytest.mark.parametrize(
    ("message", "tries"),
    [
        ("rpc error: code = NotFound desc = registry.test/web:1: not found", 2),
        ("pulling from host registry.test failed with status code [manifests 1]: 401 Unauthorized", 2),
        ("failed to authorize: failed to fetch anonymous token: 403 Forbidden", 2),
        ("manifest for registry.test/web:1 not found: manifest unknown", 2),
        ('failed to do request: Head "http://registry.test/v2/": dial tcp: connect: connection refused', 4),
        ("dial tcp: lookup registry.test: no such host", 4),
        ("pulling from host registry.test failed with status code [manifests 1]: 503 Service Unavailable", 4),
        ("429 Too Many Requests", 4),
        # Words that only stand in names say nothing.
        ('failed to do request: Head "https://registry.test/v2/access-denied/manifests/not found": EOF', 4),
        ("pulling from host registry-403.test failed with status code [manifests 404]: 500 Internal Server Error", 4),
        ("no match for platform in manifest: not found", 1),
    ],
)
def test_a_pull_is_a_failure_after_as_many_tries_as_its_kind_needs(message: str, tries: int) -> None:
    for times in range(1, 5):
        found = pull_cause(PLACE, waiting(message), Pulls(), tried(times), Pulled(), 0.0)
        assert found is not None
        assert (found.after != NEVER) is (times >= tries), times


def test_pulls_that_failed_before_the_first_look_need_one_more() -> None:
    event: dict[str, Any] = {"metadata": {"uid": "e1"}, "involvedObject": {"uid": "p1", "fieldPath": "spec.containers{web}"},
                             "reason": "Failed", "message": "Failed to pull image x: not found"}  # fmt: skip
    told, pulls = Happenings(), Pulls()
    for count, failed in ((7, False), (8, True)):
        told.take([{**event, "count": count}])
        found = pull_cause(PLACE, waiting("not found"), pulls, told, Pulled(), 0.0)
        assert found is not None and (found.after != NEVER) is failed
        assert f"tried {count} times" in found.message


def test_where_events_are_gone_time_counts_tries_and_what_they_counted_before_stays() -> None:
    told, pulls = tried(1), Pulls()
    pull_cause(PLACE, waiting("not found"), pulls, told, Pulled(), 1.0)
    assert told.readable
    late = pull_cause(PLACE, waiting("not found"), pulls, told, Pulled(), 60.0)
    assert late is not None and late.after == NEVER, "Events would have told of a second try"
    told.take(None)
    blind = pull_cause(PLACE, waiting("not found"), pulls, told, Pulled(), 60.0)
    assert blind is not None and blind.after != NEVER
    told.take([{"metadata": {"uid": "e2"}, "involvedObject": {"uid": "p2"}, "reason": "Failed", "count": 3}])
    assert told.readable and told.count("p2", "", "Failed") == (0, 3), "all of it is new"


def test_a_registry_that_serves_others_is_up() -> None:
    pulls, pulled = Pulls(), Pulled()
    status, told = waiting("503 Service Unavailable"), tried(4)
    pulls.see("ErrImagePull", "503", 10.0)
    pulled.see('Successfully pulled image "other.test/web:1" in 2s', 20.0)
    found = pull_cause(PLACE, status, pulls, told, pulled, 30.0)
    assert found is not None and found.after != NEVER
    pulled.see('Successfully pulled image "registry.test/web:1" in 2s', 20.0)
    found = pull_cause(PLACE, status, pulls, told, pulled, 30.0)
    assert found is not None and found.after == NEVER


def test_a_pull_says_why_and_nothing_else() -> None:
    text = ('Back-off pulling image "r/web:1": ErrImagePull: rpc error: code = NotFound desc = failed to pull and '
            'unpack image "r/web:1": failed to resolve reference "r/web:1": r/web:1: not found')  # fmt: skip
    assert explained(text) == "r/web:1: not found"
    assert explained('Back-off pulling image "r/web:1"') == ""


def silent(tape: Tape) -> Tape:
    """The tape of a cluster whose Events may not be read."""
    return replace(tape, changes=tuple(c for c in tape.changes if c.kind != "Event"))


@pytest.mark.parametrize(
    "name",
    ["image: tag missing", "image: 403", "crash at once", "second container dies after it was complete", "quota"],
)
def test_without_events_it_is_called_in_time_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Happenings, "take", lambda _self, _events: [])
    case = BROKEN[name]
    played = play(silent(case.tape()), case.there)
    assert played.called is not None and played.called <= case.within
    assert played.faults[0].reason == case.reason


def test_old_events_of_a_workload_do_not_count() -> None:
    job: dict[str, Any] = {"metadata": {"name": "j", "uid": "j1"}, "status": {}}
    old = {"metadata": {"uid": "e1"}, "involvedObject": {"uid": "j1"}, "reason": "FailedCreate", "count": 3,
           "message": 'Error creating: pods "j-1" is forbidden: violates PodSecurity "restricted"'}  # fmt: skip
    judge = Judge([("Job", "j")])
    assert judge.look({"Job": [job], "Event": [old]}).faults == ()
    assert judge.look({"Job": [job], "Event": [{**old, "count": 4}]}).faults[0].reason == "PodForbidden"


def workload(probe: dict[str, Any] | None, **spec: Any) -> dict[str, Any]:
    container = {"name": "web", **({"livenessProbe": probe} if probe is not None else {})}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"kind": "Deployment", "spec": {"template": {"spec": pod}, **spec}}


@pytest.mark.parametrize(
    ("o", "seconds"),
    [
        (workload(None), 0.0),
        (workload({}), 36.0),
        (workload({"periodSeconds": 2, "failureThreshold": 4, "initialDelaySeconds": 3}), 17.0),
        (workload({"periodSeconds": 2, "terminationGracePeriodSeconds": 20}), 31.0),
        (workload({}, minReadySeconds=10), 26.0),
        (workload({}, minReadySeconds=100), 0.0),
        ({**workload({}), "kind": "Job"}, 0.0),
        (workload({"periodSeconds": "often"}), 0.0),
        ({"kind": "Deployment", "spec": "text"}, 0.0),
    ],
)
def test_a_soak_by_the_probes_own_numbers(o: dict[str, Any], seconds: float) -> None:
    assert probe_soak(o) == seconds


def test_the_slowest_probe_of_a_release_counts() -> None:
    assert longest_probe_soak([workload({"periodSeconds": 1}), workload({}), workload(None)]) == 36.0
    assert longest_probe_soak([]) == 0.0


def test_pods_that_only_their_owner_has_seen_ready() -> None:
    owner: dict[str, Any] = {"metadata": {"uid": "s1", "name": "web", "generation": 1}, "spec": {"replicas": 2},
                             "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
                                        "updatedReplicas": 2, "availableReplicas": 2, "updateRevision": "web-1"}}  # fmt: skip
    pods = [
        {"metadata": {"uid": name, "name": name, "labels": {"controller-revision-hash": "web-1"},
                      "ownerReferences": [{"uid": "s1"}]},
         "status": {"conditions": [{"type": "Ready", "status": ready}]}}
        for name, ready in (("web-0", "True"), ("web-1", "False"))
    ]  # fmt: skip
    judge = Judge([("StatefulSet", "web")])
    found = judge.look({"StatefulSet": [owner], "Pod": pods})
    assert (found.complete, found.unseen) == (True, 1)
    pods[1]["status"] = pods[0]["status"]
    assert judge.look({"StatefulSet": [owner], "Pod": pods}).unseen == 0


def hook_pod(phase: str, code: int | None = None) -> dict[str, Any]:
    ended = [{"name": "hook", "state": {"terminated": {"exitCode": code}}}] if code is not None else []
    return {"metadata": {"name": "migrate", "uid": "m1"}, "status": {"phase": phase, "containerStatuses": ended}}


def test_a_pod_that_is_a_hook_of_its_own() -> None:
    judge = Judge([("Pod", "migrate")])
    assert not judge.look({"Pod": [hook_pod("Running")]}).complete
    assert judge.look({"Pod": [hook_pod("Succeeded", 0)]}).complete
    (fault,) = judge.look({"Pod": [hook_pod("Failed", 4)]}).faults
    assert (fault.reason, fault.exit_code) == ("PodFailed", 4)
    assert str(fault) == "pod migrate: the Pod migrate has failed: it ended with exit code 4"


def test_a_pod_that_helm_deletes_before_it_makes_its_next_has_not_failed() -> None:
    """As where `helm test` runs again: the pod of before ends by the signal that deletes it."""
    judge = Judge([("Pod", "migrate")])
    going = hook_pod("Failed", 143)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    found = judge.look({"Pod": [going]})
    assert (found.faults, found.complete) == ((), False)
    assert judge.look({"Pod": [hook_pod("Failed", 143)]}).faults


PODS = 60


@pytest.mark.parametrize(("stuck", "unheeded"), [(False, 0.0), (True, 11.0)])
def test_a_count_that_is_late_but_moves_is_heeded(stuck: bool, unheeded: float) -> None:
    """One pod after the other becomes ready, and the count, 0.3 s behind, is wrong at nearly every look."""
    now = [0.0]
    judge = Judge([("Deployment", "web")], clock=lambda: now[0])
    missed = 0.0
    for look in range(0, 150):
        now[0] = look / 10
        ready, counted = int(now[0] / 0.25), int(max(0.0, now[0] - 0.3) / 0.25)
        missed = judge.look(one_after_the_other(ready, 0 if stuck else counted)).missed
    assert missed == pytest.approx(unheeded, abs=1.0)


def one_after_the_other(ready: int, counted: int) -> dict[str, list[dict[str, Any]]]:
    """A Deployment's first rollout, with so many pods ready, and as ready counted."""
    revision = {"deployment.kubernetes.io/revision": "1"}
    pods = [
        {
            "metadata": {"name": f"p{n}", "uid": f"p{n}", "ownerReferences": [{"uid": "rs"}]},
            "spec": {"nodeName": "n"},
            "status": {
                "phase": "Running",
                "conditions": [
                    {"type": kind, "status": str(n < ready)} for kind in ("PodScheduled", "Ready", "ContainersReady")
                ],
                "containerStatuses": [{"name": "c", "ready": n < ready, "state": {"running": {}}}],
            },
        }
        for n in range(PODS)
    ]
    count = {"observedGeneration": 1, "replicas": PODS, "readyReplicas": counted, "availableReplicas": counted}
    replica_set = {
        "metadata": {
            "name": "web-1", "uid": "rs", "generation": 1, "annotations": revision, "ownerReferences": [{"uid": "d"}],
        },
        "spec": {"replicas": PODS},
        "status": count,
    }  # fmt: skip
    owner = {
        "metadata": {"name": "web", "uid": "d", "generation": 1, "annotations": revision},
        "spec": {"replicas": PODS},
        "status": {**count, "updatedReplicas": PODS},
    }
    return {"Deployment": [owner], "ReplicaSet": [replica_set], "Pod": pods}
