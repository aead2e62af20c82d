"""The release's own workloads while Helm waits for a post-hook: what ends Helm, what is only named, what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from helms import a_lease

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem
from cdlib.process import Finished
from cdlib.rollout import hooks, meanwhile
from cdlib.rollout.causes import UNMENDABLE
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.hooks import DEPLOY, ROLLBACK, TEST, Hooks, with_hooks
from cdlib.rollout.meanwhile import NOTHING, Meanwhile, comes_after, with_own
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import INCONCLUSIVE, OUTAGE, Fault, Judge, State
from cdlib.rollout.workloads import Follower
from cdlib.run import Run
from cdlib.streams import Stop
from tests.traces.corpus import BROKEN, HARMLESS
from tests.traces.replay import Tape, There, nothing_missing
from tests.traces.virtual import Cluster

SINCE = "2026-01-01T00:00:00Z"  # second 0 of each tape
BEGUN = 1.0  # the second at which the hook is seen: that at which anybody looks first
FAILED = Fault("web-post-x", "hook", "JobFailed", "the Job web-post has failed")
HELM = Fault("", "", "Helm", "Helm failed: timed out waiting for the condition")
LATE = Fault("", "", "OutOfTime", "Helm did not end: late")


def hook(name: str, events: str, kind: str = "Job") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "annotations": {"helm.sh/hook": events}}}


PRE, POST = hook("web-pre", "pre-install,pre-upgrade"), hook("web-post", "post-install, post-upgrade")


class HooksFollower:
    """The hooks `there` from second BEGUN on; they run, and at second `fails` one has failed."""

    def __init__(self, cluster: Cluster, there: set[tuple[str, str]], fails: float) -> None:
        self._cluster, self._there, self._fails = cluster, there, fails

    @property
    def there(self) -> set[tuple[str, str]]:
        return self._there if self._cluster.now >= BEGUN else set()

    def state_now(self) -> State:
        return State(False, "the hook still runs", (FAILED,) if self._cluster.now >= self._fails else ())


class Passing:
    """An Event that is set at second `end`; to wait for it lets the tape's time pass."""

    def __init__(self, cluster: Cluster, end: float) -> None:
        self._cluster, self._end = cluster, end

    def wait(self, seconds: float) -> bool:
        self._cluster.sleep(seconds)
        return self.is_set()

    def is_set(self) -> bool:
        return self._cluster.now >= self._end

    def set(self) -> None:
        """It comes by itself."""


class Scene:
    """A release on a tape, whose hooks are followed to `end`, or until Helm is ended for what is seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tape: Tape, looks: There = nothing_missing, *,
                 written: tuple[Any, ...] = (POST,), there: Any = POST, fails: float = 1e9, end: float = 0.0,
                 events: tuple[str, ...] = DEPLOY, manifest: list[Exception] | None = None) -> None:  # fmt: skip
        self.cluster, self._tape, self._looks = Cluster(tape, monkeypatch), tape, looks
        monkeypatch.setattr(meanwhile, "time", self.cluster)
        self.run, self.asked, self._raise = Run("helm-deploy", Deadline(900.0), out=Path()), 0, manifest or []
        self.warned: list[str] = []
        self.run.events.listen(lambda e: self.warned.append(e["text"]) if e["event"] == "warning" else None)
        present = {(there["kind"], there["metadata"]["name"])}
        self._patch(monkeypatch, HooksFollower(self.cluster, present, fails))
        helm = SimpleNamespace(hooks=lambda *_: list(written), manifest=self._manifest)
        release = SimpleNamespace(run=self.run, api=self.cluster, helm=helm,
                                  environment=SimpleNamespace(namespace="ns"),
                                  history=lambda _: [HelmRevision(2, "pending-upgrade", "u2", SINCE)])  # fmt: skip
        self.hooks = Hooks(cast(Release, release), a_lease(), 2, events)
        self.hooks._begin = self.hooks._over = cast(Any, Passing(self.cluster, end or tape.end))
        self.hooks._thread = cast(Any, SimpleNamespace(join=lambda _: None, is_alive=lambda: False))
        self.hooks._follow()

    @property
    def ended_at(self) -> float | None:
        """The second at which Helm was ended; nobody looks after it, and the tape goes on for one pause more."""
        return self.cluster.now - hooks.LOOK_EVERY if self.hooks._failed.is_set() else None

    def _manifest(self, _revision: int, _deadline: Deadline) -> list[Any]:
        self.asked += 1
        if self._raise:
            raise self._raise.pop(0)
        return [{"kind": kind, "metadata": {"name": name}} for kind, name in self._tape.workloads]

    def _patch(self, monkeypatch: pytest.MonkeyPatch, of_hooks: HooksFollower) -> None:
        away = self._tape.away

        class Seen:
            listed, objects = True, staticmethod(self.cluster.objects)
            trouble = property(lambda _: "refused" if any(a <= self.cluster.now < b for a, b in away) else "")

        @contextmanager
        def of_release(run: Run, _api: Any, _namespace: str, workloads: Any, lease: Any, *,
                       older: Callable[[Any], bool]) -> Iterator[Follower]:  # fmt: skip
            assert workloads == self._tape.workloads
            follower = Follower(run, cast(Any, NoLogs()), "ns", workloads, lease, cast(Any, Seen()))
            follower._judge = Judge(workloads, lambda kind, name, _: self._looks(kind, name, self.cluster.now),
                                    self.cluster.monotonic, older)  # fmt: skip
            yield follower

        @contextmanager
        def following(*_: Any, since: str) -> Iterator[HooksFollower]:
            assert since == SINCE
            yield of_hooks

        monkeypatch.setattr(meanwhile, "following", of_release)
        monkeypatch.setattr(hooks, "following", following)


class NoLogs:
    """An API that has no logs, and no Secrets."""

    def text(self, *_: object, **_asked: str) -> None:
        """Nothing."""

    def get(self, *_: object, **_asked: str) -> None:
        """Nothing."""


def scene(monkeypatch: pytest.MonkeyPatch, name: str, **more: Any) -> Scene:
    case = BROKEN[name]
    return Scene(monkeypatch, case.tape(), case.there, **more)


@pytest.mark.parametrize("name", [name for name, case in BROKEN.items() if case.reason in UNMENDABLE])
def test_what_no_hook_can_mend_ends_helm_as_soon_as_it_is_judged(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, name)
    assert seen.ended_at is not None and seen.ended_at <= max(BROKEN[name].within, BEGUN + 1.0)
    fault = seen.hooks.found.faults[0]
    assert fault.reason == BROKEN[name].reason and BROKEN[name].says in fault.message
    assert fault.pod in {pod["metadata"]["name"] for pod in seen.hooks.found.pods}, "for its evidence"


@pytest.mark.parametrize("name", [name for name, case in BROKEN.items() if case.reason not in UNMENDABLE])
def test_for_anything_else_helm_is_left_alone_and_it_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tape = BROKEN[name].tape()
    seen = scene(monkeypatch, name, end=max(tape.end, BROKEN[name].within + 1.0))
    assert seen.ended_at is None
    blamed = seen.hooks.blame(LATE).faults
    assert "Helm did not end: late: the hook still runs" in blamed[-1].message
    if BROKEN[name].reason != INCONCLUSIVE:
        assert blamed[0].reason == BROKEN[name].reason
    else:
        assert len(blamed) == 1, "what cannot be judged is no reason why a hook has failed"


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_trouble_ends_no_helm_and_is_nobodys_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = HARMLESS[name]
    seen = Scene(monkeypatch, case.tape(), case.there, end=case.tape().end + 30.0)
    assert seen.ended_at is None and seen.asked == 1
    assert seen.hooks.own.faults == () and seen.hooks.own.summary


def test_a_hook_that_fails_beside_pods_that_crash_is_named_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "crash at once", fails=25.0)
    assert seen.ended_at == 25.0
    own, of_hook = seen.hooks.found.faults
    assert "ended 3 times" in own.message and of_hook.message == "a hook failed: the Job web-post has failed"
    assert seen.hooks.blame(HELM).faults == (own, of_hook), "also where Helm has seen the hook fail"


def test_what_is_not_a_failure_yet_is_named_beside_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "crash at once", fails=4.0)
    (fault,) = seen.hooks.found.faults
    assert fault.pod == FAILED.pod and fault.message.startswith("a hook failed: the Job web-post has failed; meanwhile")
    assert "container web: ended 2 times" in fault.message


def test_where_both_are_broken_the_cause_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "command not found", fails=BEGUN)
    assert [fault.reason for fault in seen.hooks.found.faults] == ["StartError", "JobFailed"]


def test_a_cause_that_passes_is_not_blamed_for_what_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConfigMap that the hook has brought."""
    late = HARMLESS["ConfigMap comes late"]
    seen = Scene(monkeypatch, late.tape(), late.there, fails=30.0)
    assert seen.ended_at == 30.0 and [fault.reason for fault in seen.hooks.found.faults] == ["JobFailed"]


@pytest.mark.parametrize(
    ("written", "there"),
    [((PRE,), PRE), ((PRE, POST), PRE), ((POST, hook("web-post", "pre-upgrade")), POST),
     ((hook("web-post", "pre-upgrade,post-upgrade"),), POST)],
    ids=["alone", "with one that comes after", "of the same name", "at both ends"],
)  # fmt: skip
def test_a_hook_that_may_come_before_shows_nothing_of_the_workloads(
    written: tuple[Any, ...], there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scene(monkeypatch, "command not found", written=written, there=there, fails=20.0)
    assert seen.ended_at == 20.0 and seen.asked == 0
    assert [fault.reason for fault in seen.hooks.found.faults] == ["JobFailed"]


def test_a_hook_that_comes_after_one_that_comes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scene(monkeypatch, "command not found", written=(PRE, POST)).ended_at is not None


@pytest.mark.parametrize("events", [ROLLBACK, TEST])
def test_rollbacks_and_tests_are_as_they_were(events: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    mine = hook("web-post", events[-1])
    seen = scene(monkeypatch, "command not found", written=(mine,), events=events)
    assert seen.ended_at is None and seen.asked == 0 and seen.hooks.own == NOTHING


def test_what_an_earlier_revision_has_left_is_not_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the follower that hooks really have."""
    found = {"Job": [job("web-post", "2025-12-31T23:59:59Z"), job("other", SINCE)], "Pod": [job("look", SINCE)]}
    watch = SimpleNamespace(objects=lambda: {kind: list(every) for kind, every in found.items()})
    workloads = (("Job", "web-post"), ("Pod", "look"), ("Pod", "gone"))
    run = Run("helm-deploy", Deadline(9.0), out=Path())
    follower = Follower(run, cast(Any, None), "ns", workloads, a_lease(), cast(Any, watch), since=SINCE)
    assert follower.there == {("Pod", "look")}
    found["Job"].append(job("web-post", SINCE))
    assert follower.there == {("Pod", "look"), ("Job", "web-post")}


def job(name: str, created: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}}


@pytest.mark.parametrize("problem", [NotAllowed("forbidden"), UsageProblem("no revision 2"), ValueError("a defect")])
def test_without_the_manifest_hooks_are_judged_as_before(problem: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "command not found", fails=9.0, manifest=[problem])
    assert seen.ended_at == 9.0 and seen.asked == 1
    assert [fault.reason for fault in seen.hooks.found.faults] == ["JobFailed"]
    assert seen.warned == [f"the workloads cannot be followed while a hook runs: {problem}"]


def test_a_manifest_that_cannot_be_had_just_now_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "command not found", manifest=[Unavailable("not just now")])
    assert seen.ended_at is not None and seen.asked == 2 and seen.warned == []


@pytest.mark.parametrize("reason", [OUTAGE, "Passing", "Conflict"])
def test_what_may_pass_stays_what_helm_is_called_again_over(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = scene(monkeypatch, "crash at once")
    assert seen.hooks.own.faults
    (fault,) = seen.hooks.blame(Fault("", "", reason, "Helm failed: a webhook did not answer")).faults
    assert fault.reason == reason


@contextmanager
def shown(monkeypatch: pytest.MonkeyPatch, *states: State | None) -> Iterator[Meanwhile]:
    """Workloads that are seen in these states, one a look."""
    left = list(states)
    monkeypatch.setattr(meanwhile, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(
        meanwhile, "following", lambda *_, **__: nullcontext(SimpleNamespace(state_now=lambda: left.pop(0)))
    )
    release = SimpleNamespace(run=None, api=None, environment=SimpleNamespace(namespace="ns"),
                              helm=SimpleNamespace(manifest=lambda *_: []))  # fmt: skip
    with Meanwhile(cast(Release, release), a_lease(), 2, SINCE, [("Job", "web-post")]) as made:
        yield made


IN_THE_CLUSTER = cast(Follower, SimpleNamespace(there={("Job", "web-post")}))


def test_a_helm_that_was_ended_for_the_workloads_has_failed_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Fault("b", "", "ImagePull", "not found")
    hooks_run = SimpleNamespace(there={("Job", "web-post")}, state_now=lambda: State(False, "web-post still runs"))
    monkeypatch.setattr(hooks, "LOOK_AFTER", 0.01)
    monkeypatch.setattr(hooks, "following", lambda *_, **__: nullcontext(hooks_run))
    monkeypatch.setattr(meanwhile, "following", lambda *_, **__: nullcontext(
        SimpleNamespace(state_now=lambda: State(False, "web 0 of 1", (image,)))))  # fmt: skip
    helm = SimpleNamespace(hooks=lambda *_: [POST], manifest=lambda *_: [])
    release = SimpleNamespace(run=None, api=None, environment=SimpleNamespace(namespace="ns"), helm=helm,
                              history=lambda _: [HelmRevision(2, "pending-upgrade", "u2", SINCE)])  # fmt: skip

    def waits(stop: Stop) -> Finished:
        patience = Deadline(10.0, "the test")
        while not stop():
            time.sleep(min(0.005, patience.require("waiting to be stopped")))
        raise CdError("helm was stopped")

    ended = with_hooks(cast(Release, release), a_lease(), 2, DEPLOY, waits, lambda _: HELM)
    assert isinstance(ended, State) and ended.faults == (image,)


def test_what_no_hook_can_mend_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    missing, image = Fault("a", "", "MissingSecret", "gone"), Fault("b", "", "ImagePull", "not found")
    with shown(monkeypatch, State(False, "", (missing, image))) as workloads:
        assert workloads.look(IN_THE_CLUSTER, last=False).faults == (image, missing)


def test_only_where_the_hook_has_failed_they_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that has failed at once: nothing was listed yet, and nobody looks again."""
    seen = State(False, "web 0 of 1")
    with shown(monkeypatch, None, None, None, seen) as workloads:
        assert workloads.look(IN_THE_CLUSTER, last=False) == NOTHING
        assert workloads.look(IN_THE_CLUSTER, last=True) == seen
    with shown(monkeypatch, *[None] * 9) as workloads:
        assert workloads.look(IN_THE_CLUSTER, last=True) == NOTHING, "not without end"


def test_hooks_that_come_after() -> None:
    events = ("pre-upgrade", "post-upgrade")
    assert comes_after([PRE, POST, hook("x", "post-upgrade,test")], events) == [POST, hook("x", "post-upgrade,test")]
    assert comes_after([hook("a", "post-upgrade", "Pod"), hook("a", "pre-upgrade")], events) == [
        hook("a", "post-upgrade", "Pod")
    ]


def test_without_workloads_a_hooks_state_is_as_it_was() -> None:
    state = State(False, "it still runs", (FAILED,), waiting=("pod x: is being created",))
    assert with_own(state, NOTHING) == state
