"""Hooks: followed while Helm waits for them, blamed where they are what failed, and ended before a rollback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from helms import a_lease

from cdlib.deadline import Deadline
from cdlib.errors import CdError, Held, NotAllowed, OutOfTime, Unavailable
from cdlib.process import Finished
from cdlib.rollout import hooks
from cdlib.rollout.api import Conflict
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.hooks import DEPLOY, ROLLBACK, TEST, Hooks, end_hooks, hooks_of, with_hooks
from cdlib.rollout.lease import Lease
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import Fault, State
from cdlib.run import Run
from cdlib.streams import Stop
from cdlib.target import Environment

SINCE = "2026-01-02T03:04:05Z"
BAD = Fault("web-pre-x", "hook", "StartError", "cannot be started")
HELM = Fault("", "", "Helm", "Helm failed: timed out waiting for the condition")
POD = {"metadata": {"name": "web-pre-x"}, "status": {"phase": "Running"}}
WAITING = State(False, "web-pre still runs", (), (POD,), ("pod web-pre-x, container hook: is being created",))
FAILED = State(False, "web-pre still runs", (BAD,), (POD,))
ENDED_WELL = State(True, "web-pre has ended well")


def hook(kind: str, name: str, events: str, created: str = SINCE, **status: Any) -> dict[str, Any]:
    meta = {"name": name, "uid": created, "annotations": {"helm.sh/hook": events}, "creationTimestamp": created}
    return {"kind": kind, "metadata": meta, "status": status}


class Helm:
    """A Helm whose record has these hooks; `log` is who was asked for what."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self.found, self.asked = list(found), list[int]()

    def hooks(self, revision: int, _deadline: Deadline) -> list[dict[str, Any]]:
        self.asked.append(revision)
        return self.found


class Api:
    """A namespace with these objects; what is deleted is gone after some more looks."""

    def __init__(self, *found: dict[str, Any], lingers: int = 2) -> None:
        self.there = {f"{o['kind'].lower()}s/{o['metadata']['name']}": o for o in found}
        self.deleted, self._lingers = list[tuple[str, dict[str, str]]](), lingers

    def get(self, where: str, _deadline: Deadline) -> dict[str, Any] | None:
        key = where.split("/namespaces/ns/")[1]
        if any(key in path for path, _ in self.deleted):
            self._lingers -= 1
            return self.there[key] if self._lingers >= 0 else None
        return self.there.get(key)

    def delete(self, where: str, _deadline: Deadline, **params: str) -> None:
        self.deleted.append((where, params))


class TheRelease:
    """As much of a release as hooks need."""

    def __init__(self, helm: Helm, api: Api | None = None) -> None:
        self.run, self.helm, self.api = Run("helm-deploy", Deadline(60.0), out=Path()), helm, api or Api()
        self.environment = Environment(**dict.fromkeys(Environment.__dataclass_fields__, None) | {"namespace": "ns"})  # type: ignore[arg-type]
        self.written, self.newest = True, 2
        self.warned: list[str] = []
        self.run.events.listen(lambda e: self.warned.append(e["text"]) if e["event"] == "warning" else None)

    def history(self, _deadline: Deadline) -> list[HelmRevision]:
        newest = HelmRevision(self.newest, "pending-upgrade", "u2", SINCE)
        return [HelmRevision(1, "deployed", "u1", "2026-01-01T00:00:00Z"), *([newest] if self.written else [])]


class Follower:
    """Sees these states, one a look; the last one stays."""

    def __init__(self, states: list[State | None]) -> None:
        self.states, self.seen_last = states, threading.Event()

    def state_now(self) -> State | None:
        if len(self.states) == 1:
            self.seen_last.set()
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Follower]:
    """Makes whatever is followed show these states; `about` is what was followed, and since when."""
    monkeypatch.setattr(hooks, "LOOK_AFTER", 0.01)
    monkeypatch.setattr(hooks, "LOOK_EVERY", 0.01)

    def show(*states: State | None) -> Follower:
        follower = Follower(list(states))

        @contextmanager
        def following(
            _run: Run, _api: Api, _namespace: str, found: Any, _lease: Lease, since: str
        ) -> Iterator[Follower]:
            follower.about = (found, since)  # type: ignore[attr-defined]
            yield follower

        monkeypatch.setattr(hooks, "following", following)
        return follower

    return show


def at_work(release: TheRelease, events: tuple[str, ...] = DEPLOY) -> Any:
    return hooks_of(cast(Release, release), cast(Lease, None), 2, events)


def helm_waits(stop: Stop) -> Finished:
    """A Helm that waits until it is stopped."""
    patience = Deadline(10.0, "the test")
    while not stop():
        patience.require("waiting to be stopped")
        threading.Event().wait(0.005)
    raise CdError("helm was stopped")


PRE = hook("Job", "web-pre", "pre-install,pre-upgrade")


def test_the_logs_of_hooks_that_helm_has_deleted_are_kept(followed: Callable[..., Follower]) -> None:
    follower = followed(State(True, "nothing to wait for", kept=(POD,)))
    with at_work(TheRelease(Helm(PRE))) as found:
        assert follower.seen_last.wait(9.0)
        assert found.blame(HELM) == State(False, "", (HELM,), kept=(POD,))


def test_helm_is_ended_once_a_hook_has_failed(followed: Callable[..., Follower]) -> None:
    follower = followed(None, WAITING, FAILED)
    others = (hook("ConfigMap", "settings", "pre-upgrade"), hook("Job", "web-test", "test"))
    with at_work(TheRelease(Helm(PRE, *others))) as found:
        assert found.run(helm_waits) is None
        assert follower.about == ((("Job", "web-pre"),), SINCE)  # type: ignore[attr-defined]
        (fault,) = found.state.faults
    assert str(fault) == "pod web-pre-x, container hook: a hook failed: cannot be started"
    assert found.state.pods == (POD,)


def test_tests_are_hooks_too(followed: Callable[..., Follower]) -> None:
    follower = followed(FAILED)
    with at_work(TheRelease(Helm(PRE, hook("Pod", "web-test", "test"))), TEST) as found:
        assert found.run(helm_waits) is None
    assert follower.about == ((("Pod", "web-test"),), SINCE)  # type: ignore[attr-defined]
    assert "helm test failed: cannot be started" in str(found.state.faults[0])


def test_what_helm_raises_without_a_failed_hook_is_raised(followed: Callable[..., Follower]) -> None:
    followed(WAITING)

    def lost(_stop: Stop) -> Finished:
        raise CdError("helm was stopped")

    with at_work(TheRelease(Helm(PRE))) as found, pytest.raises(CdError, match="was stopped"):
        found.run(lost)


def test_out_of_time_is_raised_even_where_a_hook_has_failed(followed: Callable[..., Follower]) -> None:
    followed(FAILED)

    def late(stop: Stop) -> Finished:
        with pytest.raises(CdError):
            helm_waits(stop)
        raise OutOfTime("helm did not end")

    with at_work(TheRelease(Helm(PRE))) as found, pytest.raises(OutOfTime):
        found.run(late)


def test_a_helm_that_is_quick_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "LOOK_AFTER", 60.0)
    release = TheRelease(Helm(PRE))
    done = Finished(("helm",), 0, "", (), 0.1)
    with at_work(release) as found:
        assert found.run(lambda _stop: done) is done
    assert release.helm.asked == []


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        (FAILED, "StartError", "a hook failed: cannot be started"),
        (WAITING, "Helm", "timed out waiting for the condition: web-pre still runs; pod web-pre-x, container hook"),
        (ENDED_WELL, "Helm", "timed out waiting for the condition"),
        (None, "Helm", "timed out waiting for the condition"),
    ],
    ids=["it has failed", "it has not ended", "it is not to blame", "nothing is seen"],
)
def test_why_helm_has_failed(
    state: State | None, reason: str, said: str, followed: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    followed(state)
    monkeypatch.setattr(hooks, "LOOK_AFTER", 60.0)  # Helm has failed at once, and nobody has looked yet
    with at_work(TheRelease(Helm(PRE))) as found:
        blamed = found.blame(HELM)
    assert blamed.faults[0].reason == reason
    assert said in blamed.faults[0].message
    assert blamed.faults[0].pod == ("web-pre-x" if state in (FAILED, WAITING) else "")


def ended(helm: Callable[[Stop], Finished], events: tuple[str, ...] = DEPLOY) -> Finished | State:
    release, lease = cast(Release, TheRelease(Helm(PRE))), cast(Lease, None)
    return with_hooks(release, lease, 2, events, helm, lambda done: Fault("", "", "Helm", done.stderr[-1]))


def test_how_helm_ended_among_its_hooks(followed: Callable[..., Follower]) -> None:
    followed(ENDED_WELL)
    good, bad = Finished(("helm",), 0, "", (), 0.1), Finished(("helm",), 1, "", ("no",), 0.1)
    assert ended(lambda _stop: good) is good
    failed = ended(lambda _stop: bad)
    assert isinstance(failed, State) and failed.faults == (Fault("", "", "Helm", "no"),)
    followed(FAILED)
    stopped = ended(helm_waits)
    assert isinstance(stopped, State) and stopped.faults[0].reason == "StartError"


@pytest.mark.parametrize(
    ("events", "said"), [(DEPLOY, "Helm did not end: late"), (ROLLBACK, "Helm did not end: late"), (TEST, "late")]
)
def test_a_helm_that_is_late(events: tuple[str, ...], said: str, followed: Callable[..., Follower]) -> None:
    followed(ENDED_WELL)

    def late(_stop: Stop) -> Finished:
        raise OutOfTime("late")

    found = ended(late, events)
    assert isinstance(found, State) and found.faults == (Fault("", "", "OutOfTime", said),)


def test_a_helm_that_was_cut_off_is_told_of(followed: Callable[..., Follower]) -> None:
    followed(WAITING)

    def away(_stop: Stop) -> Finished:
        raise Unavailable("the cluster is away")

    with pytest.raises(Unavailable, match="is away"):
        ended(away)


def test_a_helm_that_has_tried_twice_has_taken_another_number(followed: Callable[..., Follower]) -> None:
    followed(FAILED)
    release = TheRelease(Helm(PRE))
    release.newest = 3
    with at_work(release) as found:
        assert found.run(helm_waits) is None
    assert release.helm.asked == [3]


def test_a_chart_without_hooks_is_not_followed(followed: Callable[..., Follower]) -> None:
    follower = followed(FAILED)
    with at_work(TheRelease(Helm())) as found:
        assert found.blame(HELM).faults == (HELM,)
    assert not hasattr(follower, "about")


def test_helms_record_is_waited_for(followed: Callable[..., Follower]) -> None:
    followed(FAILED)
    release = TheRelease(Helm(PRE))
    release.written = False
    asked = threading.Event()
    history = release.history

    def later(deadline: Deadline) -> list[HelmRevision]:
        found = history(deadline)
        release.written = True
        if not asked.is_set():
            asked.set()
            raise Unavailable("not just now")
        return found

    release.history = later  # type: ignore[method-assign]
    with at_work(release) as found:
        assert found.run(helm_waits) is None
    assert asked.is_set() and release.helm.asked == [2]


def test_a_defect_in_following_leaves_helm_its_own_verdict(followed: Callable[..., Follower]) -> None:
    followed()  # and so looks at nothing: an IndexError
    release = TheRelease(Helm(PRE))
    with at_work(release) as found:
        assert found.blame(HELM).faults == (HELM,)
    assert release.warned and "hooks cannot be followed" in release.warned[0]


def end(release: TheRelease, lease: Lease | None = None) -> list[str]:
    return end_hooks(cast(Release, release), lease or a_lease(), 2, Deadline(30.0, "a test"))


def test_hooks_that_still_run_are_ended_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "LOOK_EVERY", 0.01)
    running = PRE, hook("Pod", "look", "post-upgrade", phase="Running")
    over = (
        hook("Job", "old", "pre-upgrade", "2026-01-01T00:00:00Z"),
        hook("Job", "well", "pre-upgrade", conditions=[{"type": "Complete", "status": "True"}]),
        hook("Job", "ill", "pre-upgrade", conditions=[{"type": "Failed", "status": "True"}]),
        hook("Pod", "done", "post-upgrade", phase="Succeeded"),
    )
    api = Api(*running, *over)
    release = TheRelease(Helm(*running, *over, hook("Job", "gone", "pre-upgrade")), api)
    assert end(release) == ["Job web-pre", "Pod look"]
    where = ["/apis/batch/v1/namespaces/ns/jobs/web-pre", "/api/v1/namespaces/ns/pods/look"]
    options = {"propagationPolicy": "Foreground", "preconditions": {"uid": SINCE}}
    assert api.deleted == [(each, options) for each in where]
    assert api._lingers < 0, "it is seen to be gone"
    assert any("Job web-pre of revision 2 still runs" in text for text in release.warned)


def test_a_hook_of_that_name_that_another_has_made_since_is_left_alone() -> None:
    api = Api(PRE)

    def changed(_where: str, _deadline: Deadline, **options: Any) -> None:
        api.there["jobs/web-pre"] = hook("Job", "web-pre", "pre-upgrade", "2026-01-02T04:00:00Z")
        assert options["preconditions"] == {"uid": SINCE}
        raise Conflict("the UID in the precondition does not match")

    api.delete = changed  # type: ignore[method-assign]
    began = time.monotonic()
    assert end(TheRelease(Helm(PRE), api)) == ["Job web-pre"]
    assert time.monotonic() - began < hooks.ENDING / 2, "nobody waits for the other one"


def test_who_has_lost_the_lease_ends_no_hook() -> None:
    def gone() -> bool:
        raise Held("the lease cd-web is not ours any more")

    lease, api = a_lease(), Api(PRE)
    lease.require = gone  # type: ignore[method-assign]
    with pytest.raises(Held):
        end(TheRelease(Helm(PRE), api), lease)
    assert api.deleted == []


def test_what_cannot_be_ended_keeps_no_rollback_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(hooks, "ENDING", 0.05)
    stuck = TheRelease(Helm(PRE), Api(PRE, lingers=10**6))
    assert end(stuck) == ["Job web-pre"]
    assert "may still run: out of time while ending hooks" in stuck.warned[-1]

    def no(*_: Any, **__: str) -> None:
        raise NotAllowed("the Kubernetes API does not allow it")

    forbidden = TheRelease(Helm(PRE), Api(PRE))
    forbidden.api.delete = no  # type: ignore[method-assign]
    assert end(forbidden) == []
    assert "may still run: the Kubernetes API does not allow it" in forbidden.warned[-1]


def test_nothing_is_ended_where_there_is_nothing() -> None:
    unwritten = TheRelease(Helm(PRE), Api(PRE))
    unwritten.written = False
    assert end(unwritten) == []
    assert end(TheRelease(Helm())) == []


def test_a_hook_that_is_followed_ends_with_helm(followed: Callable[..., Follower]) -> None:
    follower = followed(WAITING)
    with at_work(TheRelease(Helm(PRE))) as found:
        assert follower.seen_last.wait(10.0)
    assert isinstance(found, Hooks)
    found._thread.join(10.0)
    assert not found._thread.is_alive()
