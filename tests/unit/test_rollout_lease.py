"""One writer: taking the lease, queueing for it, and what becomes of a holder that cannot renew it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from clusters import OneObject

from cdlib.deadline import Deadline
from cdlib.errors import Held, Unavailable
from cdlib.rollout import holders
from cdlib.rollout import lease as module
from cdlib.rollout.api import Conflict
from cdlib.rollout.lease import Lease

WAIT = 10.0  # seconds; what is waited for here takes a fraction of one


class Cluster(OneObject):
    """The API of one Lease; away, it answers as a server that cannot be reached, silent, not at all."""

    server = "https://cluster"

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.silent = threading.Event()
        self.answering = threading.Event()
        self.answering.set()
        self.renewals = threading.Semaphore(0)
        self.written = 0.0  # when the last write was kept
        self.late = 0.0  # seconds by which the answer to the next write comes late
        self.answers: list[Exception] = []  # what the next writes are answered with, although they are kept

    def _keep(self, body: dict[str, Any]) -> Any:
        kept = super()._keep(body)
        self.written, seconds, self.late = time.monotonic(), self.late, 0.0
        answer = self.answers.pop() if self.answers else None
        time.sleep(seconds)
        if answer:
            raise answer
        return kept

    def get(self, where: str, deadline: Deadline) -> Any:
        if not self.answering.wait(deadline.left) or self.away:
            raise Unavailable("away")
        return super().get(where, deadline)

    def create(self, where: str, body: dict[str, Any], deadline: Deadline) -> Any:
        return self._keep(body)

    def replace(self, where: str, body: dict[str, Any], deadline: Deadline) -> Any:
        kept = super().replace(where, body, deadline)
        self.renewals.release()
        return kept

    @property
    def holder(self) -> str:
        return str(self.stored["cd-web"]["spec"]["holderIdentity"])

    def set(self, **spec: Any) -> None:
        found = self.stored["cd-web"]
        self._keep({**found, "spec": {**found["spec"], **spec}})


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules at a thirtieth of the time."""
    for name, seconds in (
        ("RENEW_EVERY", 0.1),
        ("GIVE_UP", 0.35),
        ("ONE_TRY", 0.15),
        ("_AGAIN", 0.02),
        ("_LOOK_EVERY", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)


def lease(cluster: Cluster, holder: str = "me", seconds: float = WAIT, **more: Any) -> Lease:
    return Lease(cluster, "ns", "web", holder, Deadline(seconds), **more)  # type: ignore[arg-type]


def until(true: Any) -> None:
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.005)


def test_it_is_taken_renewed_and_given_back(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GIVE_UP", WAIT)
    with lease(cluster) as mine:
        assert cluster.holder == "me"
        assert cluster.renewals.acquire(timeout=WAIT)
        assert not mine.require(), "nothing had to be waited for"
    assert cluster.holder == ""


def test_a_live_holder_is_not_robbed_and_named(cluster: Cluster) -> None:
    with lease(cluster, "first"), pytest.raises(Held, match="first"), lease(cluster, "second"):
        pass


def test_a_dead_holder_is_replaced_after_its_duration_and_not_before(cluster: Cluster) -> None:
    with lease(cluster, "dead"):
        pass
    cluster.set(holderIdentity="dead", leaseDurationSeconds=0.3)
    began = time.monotonic()
    with lease(cluster, "heir") as mine:
        assert time.monotonic() - began >= 0.3
        assert not mine.waited, "nobody alive was waited for"


@pytest.mark.parametrize("free", [False, True], ids=["there is none yet", "it was given back"])
def test_an_answer_that_came_late_counts_from_when_it_was_asked_for(cluster: Cluster, free: bool) -> None:
    """Others count from what the server has written: who has waited for the answer has less than the whole time."""
    if free:
        with lease(cluster, "before"):
            pass
    cluster.late = 2 * module.GIVE_UP
    with lease(cluster) as mine:
        assert time.monotonic() - cluster.written < module.ONE_TRY, "it was renewed before anything begins"
        assert not mine.lost.is_set()


def test_where_the_answer_was_lost_it_is_renewed_before_anything_begins(cluster: Cluster) -> None:
    """The try after it finds the Lease there, and ours, but not for how long."""
    cluster.late, cluster.answers = 2 * module.GIVE_UP, [Conflict("exists")]
    with lease(cluster):
        assert time.monotonic() - cluster.written < module.ONE_TRY
        assert cluster.holder == "me"


def test_who_came_too_late_to_renew_it_does_not_begin(cluster: Cluster) -> None:
    cluster.late, cluster.answers = 2 * module.GIVE_UP, [Conflict("exists")]
    threading.Timer(module.GIVE_UP, lambda: cluster.set(holderIdentity="heir")).start()
    with pytest.raises(Held, match="heir"), lease(cluster, seconds=1):
        pass
    assert cluster.holder == "heir"


def test_a_server_too_slow_for_renewals_is_told_before_anything_begins(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(body: dict[str, Any]) -> Any:
        time.sleep(2 * module.ONE_TRY)
        return OneObject._keep(cluster, body)

    monkeypatch.setattr(cluster, "_keep", slow)
    with pytest.raises(Unavailable, match="https://cluster takes longer than"), lease(cluster, seconds=1):
        pass


def test_who_queues_gets_it_as_soon_as_it_is_free(cluster: Cluster) -> None:
    told: list[str] = []
    got = threading.Event()

    def queue() -> None:
        with lease(cluster, "second", queue=told.append) as mine:
            assert mine.waited
            got.set()

    with lease(cluster, "first"):
        waiting = threading.Thread(target=queue)
        waiting.start()
        until(lambda: told)
        assert not got.is_set()
    assert got.wait(WAIT)
    waiting.join()
    assert told == ["first"]


def test_who_queues_gives_up_with_its_own_time(cluster: Cluster) -> None:
    queue = lease(cluster, "second", 0.3, queue=lambda _: None)
    with lease(cluster, "first"), pytest.raises(Held, match="first"), queue:
        pass


def test_who_queues_outlasts_an_api_server_that_is_away(cluster: Cluster) -> None:
    cluster.away = True
    threading.Timer(0.1, lambda: setattr(cluster, "away", False)).start()
    with lease(cluster, queue=lambda _: None):
        assert cluster.holder == "me"


def test_it_counts_as_lost_before_others_may_have_it_also_when_the_server_is_silent(cluster: Cluster) -> None:
    with lease(cluster) as mine:
        assert cluster.renewals.acquire(timeout=WAIT)
        cluster.answering.clear()
        began = time.monotonic()
        assert mine.lost.wait(WAIT)
        assert time.monotonic() - began < holders.DURATION  # which is as long as ever
        cluster.answering.set()


def test_after_an_outage_it_is_had_again_where_nobody_has_taken_it(cluster: Cluster) -> None:
    with lease(cluster) as mine:
        cluster.away = True
        assert mine.lost.wait(WAIT)
        threading.Timer(0.05, lambda: setattr(cluster, "away", False)).start()
        assert mine.require()
        assert not mine.lost.is_set()
        assert cluster.holder == "me"
    assert cluster.holder == ""


def test_after_an_outage_what_another_has_taken_is_left_to_it(cluster: Cluster) -> None:
    with lease(cluster) as mine:
        cluster.away = True
        assert mine.lost.wait(WAIT)
        cluster.set(holderIdentity="another")
        cluster.away = False
        with pytest.raises(Held, match="not ours any more"):
            mine.require()
    assert cluster.holder == "another"


def test_what_was_removed_by_hand_is_lost(cluster: Cluster) -> None:
    with lease(cluster) as mine:
        del cluster.stored["cd-web"]
        assert mine.lost.wait(WAIT)
        with pytest.raises(Held):
            mine.require()


def test_an_outage_without_end_is_told_when_the_time_is_up(cluster: Cluster) -> None:
    with lease(cluster, seconds=0.6) as mine:
        cluster.away = True
        assert mine.lost.wait(WAIT)
        with pytest.raises(Unavailable, match="https://cluster does not answer"):
            mine.require()


def test_whatever_the_server_answers_the_holder_is_stopped_in_time(cluster: Cluster) -> None:
    with lease(cluster) as mine:
        spec, cluster.stored["cd-web"]["spec"] = cluster.stored["cd-web"]["spec"], "nonsense"
        assert mine.lost.wait(WAIT)
        cluster.stored["cd-web"]["spec"] = spec


# A run that holds the lease until it reads a line.
HOLDS = """\
import signal, sys
sys.path[:0] = sys.argv[1:]
import test_rollout_lease as t
t.module.RENEW_EVERY = 0.1
with t.lease(t.Cluster(), warn=lambda text: print(text, flush=True)):
    print("held", flush=True)
    sys.stdin.readline()
print(signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL, flush=True)
"""


@pytest.mark.timeout(30)
def test_who_holds_it_is_not_stopped_from_a_terminal_and_says_so_once() -> None:
    """Helm, in a session of its own, would go on writing, and nobody renew."""
    unit = Path(__file__).parent
    argv = [sys.executable, "-c", HOLDS, str(unit), str(unit.parent / "support")]
    # In a group of its own: who types Ctrl-Z in a shell stops one; a group without a shell is never stopped.
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    ) as run:
        assert run.stdin and run.stdout and run.stdout.readline() == "held\n"
        run.send_signal(signal.SIGTSTP)
        try:
            assert os.waitid(os.P_PID, run.pid, os.WSTOPPED | os.WNOHANG) is None
            assert "Ctrl-Z is ignored" in run.stdout.readline()
            run.send_signal(signal.SIGTSTP)
            assert run.communicate("\n", timeout=20)[0] == "True\n", "told once, and heeded again afterwards"
        finally:
            run.send_signal(signal.SIGCONT)
