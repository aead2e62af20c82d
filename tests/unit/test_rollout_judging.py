"""What happens to a rollout that is up: its checks, the word that it serves, and its soak, in this order."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable
from cdlib.rollout import judging
from cdlib.rollout.chart import Rendered
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.judging import judge
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import Revision
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, Fault, State
from cdlib.run import Run
from cdlib.service import Verify

IMAGE, DIGEST = "registry.test/web@sha256:7777777777777777", "sha256:7777777777777777"
UP = State(True, "web 1 of 1 updated, 1 available", shown=frozenset({IMAGE}))
UNSEEN = State(True, "nothing to wait for", shown=frozenset({"registry.test/redis@sha256:1111"}))
BAD = (Fault("web-1", "web", "CrashLoop", "ended 3 times"),)
SINCE = "2026-01-02T03:04:05Z"
ENTRY = Revision(7, "c0ffee", IMAGE, DIGEST, "", "", "deploying", "", "", "")


@dataclass
class Played:
    """What happened, in order, and what was seen of it at the end."""

    log: list[str] = field(default_factory=list)
    soaked: list[float] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    state: State = UP

    @property
    def serving(self) -> list[dict[str, Any]]:
        return [event for event in self.said if event["event"] == "serving"]


@dataclass
class Play:
    """A rollout to judge: with which state it comes up, and what the checks and the soak find."""

    verify: Verify = field(default_factory=Verify)
    probe_soak: float = 0.0
    up: State = UP
    http: tuple[Fault, ...] = ()
    soak: tuple[Fault, ...] = ()
    vanished: tuple[str, ...] = ()
    left: float = 100.0
    requests: tuple[Any, ...] = ()
    hooks: tuple[dict[str, Any], ...] = ()
    rollback: bool = False

    def __call__(self, monkeypatch: pytest.MonkeyPatch) -> Played:
        played = Played()

        class Follower:
            def until_up(_self, _deadline: Deadline) -> State:
                return self.up

            vanished = self.vanished

            def learn_secrets(_self, _state: State, _deadline: Deadline) -> None:
                played.log.append("secrets")

            def state_now(_self, _deadline: Deadline) -> State:
                return replace(self.up, summary="as it is by now", complete=True)

            def soak(_self, seconds: float, _deadline: Deadline) -> State:
                played.soaked.append(seconds)
                played.log.append("soak")
                return State(not self.soak, "as it was at the soak's end", self.soak)

        @contextmanager
        def following(*_: Any, older: object, **_more: Any) -> Iterator[Follower]:
            yield Follower()

        def check_http(*_: Any) -> tuple[Fault, ...]:
            played.log.append("http")
            return self.http

        monkeypatch.setattr(judging, "following", following)
        monkeypatch.setattr(judging, "check_http", check_http)
        monkeypatch.setattr(judging, "_test", lambda *_: UP)
        run = Run("helm-deploy", Deadline(300.0))
        run.events.listen(played.said.append)
        run.events.listen(lambda event: played.log.append("serving") if event["event"] == "serving" else None)
        run.events.listen(Console().on_event)
        place = SimpleNamespace(namespace="ns", release="web", budget=180.0, delete_stuck_pods=False)
        helm = SimpleNamespace(hooks=lambda _revision, _deadline: list(self.hooks))
        history = [HelmRevision(7, "deployed", "u", SINCE)]
        release = cast(Release, SimpleNamespace(run=run, api=None, environment=place, helm=helm,
                                                history=lambda _: history))  # fmt: skip
        rendered = Rendered((("Deployment", "web"),), (), self.probe_soak)
        played.state = judge(release, cast(Lease, None), ENTRY, self.verify, rendered, self.requests,
                             Deadline(self.left), rollback=self.rollback)  # fmt: skip
        return played


def test_it_serves_once_the_checks_are_good_and_is_soaked_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = Play(probe_soak=8.0)(monkeypatch)
    assert played.state.faults == ()
    assert played.log == ["secrets", "http", "serving", "soak"]
    (event,) = played.serving
    assert (event["release"], event["revision"], event["commit"]) == ("web", 7, "c0ffee")
    assert "✓ serving  web revision 7" in capsys.readouterr().err


@pytest.mark.parametrize("play", [Play(up=State(False, "", BAD)), Play(http=BAD)], ids=["not up", "check"])
def test_what_is_not_good_never_serves(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch)
    assert played.state.faults == BAD
    assert not played.serving and not played.soaked


def hook(event: str) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "t", "annotations": {"helm.sh/hook": event}}}


TESTED = Verify(helm_test=True)


@pytest.mark.parametrize(
    ("play", "data"),
    [
        (Play(up=UNSEEN), False),
        (Play(up=State(True, "nothing to wait for")), False),
        (Play(up=UP), True),
        (Play(up=UNSEEN, requests=("/healthz",)), True),
        (Play(up=UNSEEN, verify=TESTED, hooks=(hook("test"),)), True),
        (Play(up=UNSEEN, verify=TESTED, hooks=(hook("post-upgrade"),)), False),
        (Play(up=UNSEEN, verify=TESTED), False),
        (Play(up=UNSEEN, hooks=(hook("test"),)), False),  # nobody has asked for it to be run
    ],
    ids=["another image", "nothing", "seen", "asked", "tested", "no test", "no hook", "test not asked for"],
)
def test_what_shows_nothing_is_no_pass(play: Play, data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    played = play(monkeypatch)
    assert [fault.reason for fault in played.state.faults] == ([] if data else [INCONCLUSIVE])
    assert bool(played.serving) is data
    assert data or f"nothing was seen to run {DIGEST[:19]} (nothing to wait for)" in played.state.faults[0].message


def test_going_back_to_what_shows_nothing_is_told_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Play(up=UNSEEN, rollback=True)(monkeypatch)
    assert played.serving and played.state.faults == ()
    assert any("nothing was seen to run" in str(event) for event in played.said)


def test_what_fails_in_its_soak_has_served_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Play(probe_soak=8.0, soak=BAD)(monkeypatch)
    assert played.serving and played.state.faults == BAD
    assert played.state.summary == "as it was at the soak's end", "evidence is of what is there now"


def test_what_fails_a_check_is_judged_as_it_is_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Play(http=BAD)(monkeypatch).state.summary == "as it is by now"


@pytest.mark.parametrize(
    ("named", "probes", "left", "soaked"),
    [
        (None, 0.0, 100.0, []),
        (None, 8.0, 100.0, [8.0]),
        (None, 65.0, 100.0, [54.0]),  # half of the 60 % of 180 s that are not the rollback's
        (0.0, 8.0, 100.0, []),
        (3.0, 8.0, 100.0, [3.0]),
        (70.0, 0.0, 100.0, [70.0]),  # planning has looked at it
        (None, 36.0, 4.0, []),
    ],
)
def test_how_long_it_is_soaked(
    named: float | None, probes: float, left: float, soaked: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Play(Verify(soak=named), probes, left=left)(monkeypatch).soaked == soaked


def test_a_slow_rollout_does_not_fail_for_want_of_a_soak_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Play(probe_soak=36.0, left=20.0)(monkeypatch)
    assert played.state.faults == ()
    assert 10.0 < played.soaked[0] <= 15.0
    assert any("not for 36 s" in event.get("text", "") for event in played.said)


@pytest.mark.parametrize(("found", "serves"), [(BAD, False), ((), True)])
def test_a_job_that_nobody_saw_end_is_judged_by_what_is_told_of_it(
    found: tuple[Fault, ...], serves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def how_ended(_api: object, _namespace: str, jobs: list[str], since: str, _deadline: Deadline) -> tuple[Fault, ...]:
        asked.append((tuple(jobs), since))
        return found

    monkeypatch.setattr(judging, "how_ended", how_ended)
    played = Play(vanished=("migrate",))(monkeypatch)
    assert asked == [(("migrate",), SINCE)]
    assert played.state.faults == found and bool(played.serving) is serves


def test_what_tests_know_is_hidden_before_helm_shows_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(kind: str, secret: str, on: str) -> dict[str, Any]:
        pod = {"spec": {"containers": [{"name": "t", "envFrom": [{"secretRef": {"name": secret}}]}]}}
        meta = {"name": secret, "annotations": {"helm.sh/hook": on}}
        return {"kind": kind, "metadata": meta, "spec": pod["spec"] if kind == "Pod" else {"template": pod}}

    class Api:
        def get(self, where: str, _deadline: Deadline) -> dict[str, Any]:
            return {"data": {"k": base64.b64encode(where.rpartition("/")[2].encode()).decode()}}

    found = [
        hook("Pod", "open-sesame", "test"),
        hook("Job", "sesame-street", "test"),
        hook("Job", "others", "pre-upgrade"),
    ]
    run, shown = Run("helm-deploy", Deadline(60.0)), list[str]()
    release = cast(Release, SimpleNamespace(run=run, api=Api(), environment=SimpleNamespace(namespace="ns"),
                                            helm=SimpleNamespace(hooks=lambda _number, _deadline: found)))  # fmt: skip

    def with_hooks(*_: object) -> None:
        shown.append(run.redactor.text("open-sesame sesame-street others"))

    monkeypatch.setattr(judging, "with_hooks", with_hooks)
    judging._tested(release, cast(Lease, SimpleNamespace(require=lambda: False)), ENTRY, Deadline(9.0))
    assert shown == ["[hidden] [hidden] others"]


@pytest.mark.parametrize(
    ("created", "answer", "is_older"),
    [
        ("2026-01-02T03:04:04Z", SINCE, True),
        (SINCE, SINCE, False),
        ("2026-01-02T03:04:06Z", SINCE, False),
        ("2026-01-02T03:04:06Z", None, True),
    ],
)
def test_a_pods_age_goes_by_helms_record_of_the_revision(created: str, answer: str | None, is_older: bool) -> None:
    asked: list[Deadline] = []

    def history(deadline: Deadline) -> list[HelmRevision]:
        asked.append(deadline)
        if answer is None:
            raise Unavailable("no answer")
        return [HelmRevision(6, "superseded", "a", "2026-01-01T00:00:00Z"), HelmRevision(7, "deployed", "b", answer)]

    older = judging._older(cast(Release, SimpleNamespace(history=history)), ENTRY, Deadline(60.0))
    for _ in range(2):
        assert older({"metadata": {"creationTimestamp": created}}) is is_older
    assert len(asked) == 1, "one that has no answer costs its time once, not once a pod"
    assert asked[0].left <= judging.ASKING


def test_why_pods_are_not_back_is_named_before_what_they_answered_while_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fault says whether the image is to blame: it is not for a node that was away."""
    away = Fault("", "", OUTAGE, "nodes were away")
    asked = Fault("", "", "HttpCheck", "GET /: answered 503")

    class Follower:
        def state_now(self, _deadline: Deadline) -> State:
            return State(False, "web 0 of 1")

        def until_up(self, _deadline: Deadline) -> State:
            return State(False, "web 0 of 1", (away,))

    monkeypatch.setattr(judging, "check_http", lambda *_: (asked,))
    release = cast(Release, SimpleNamespace(run=Run("helm-deploy", Deadline(9.0)), api=None))
    found = judging._checked(release, cast(Lease, None), (), cast(Any, Follower()), UP, Deadline(9.0))
    assert found.faults == (away, asked)
