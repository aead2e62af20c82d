"""SIGKILL at every API and Helm call of a deploy and of a rollback, one after the other: the next run heals it.

Requests go through a relay that ends the run before it passes on the n-th. As the server has then seen everything
before the n-th and nothing after, that stands for a kill at any moment between the two. In place of waiting for the
expiry of each lease, its duration is shortened once its holder is dead; one test waits for the real one.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from deployments import CRASH, Deployment, kill_hard
from killing import (
    HEALED,
    WAYS,
    HelmCalls,
    Kills,
    Way,
    copy_of,
    count_calls,
    holder,
    kill_at_helm,
    kill_at_request,
)

from cdlib.rollout.holders import DURATION
from lab.relay import Relay, relaying

pytestmark = pytest.mark.timeout(1800)
WORKERS = 3  # runs wait more than they work
FEWER = 0.9  # of the requests that were counted are made in any case: watches come and go by time


@pytest.fixture
def workers(web: Deployment, lab: Any, tmp_path: Path) -> Iterator[list[tuple[Deployment, Relay]]]:
    """Services with a history of two verified revisions, each with a relay of its own."""
    with ExitStack() as stack:
        made = []
        for number in range(WORKERS):
            service = copy_of(web, lab.kubectl, number)
            stack.callback(lab.kubectl, "delete", "namespace", service.namespace, "--wait=false")
            made.append((service, stack.enter_context(relaying(lab.kubeconfig, service.folder.parent))))
        yield made


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_run_that_is_killed_at_any_call_is_healed_by_the_next(
    way: Way, workers: list[tuple[Deployment, Relay]], lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = Kills()
    helms = [HelmCalls(service.folder.parent, str(lab.helm4)) for service, _ in workers]
    requests, calls = count_calls(way, *workers[0], helms[0])
    assert requests > 10 and calls > 1, "what the run asks goes through the relay and the counting Helm"
    jobs: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for job in [*(("Helm", n + 1) for n in range(calls)), *(("request", n + 1) for n in range(requests))]:
        jobs.put(job)

    def work(number: int) -> None:
        service, relay = workers[number]
        while True:
            try:
                kind, n = jobs.get_nowait()
            except queue.Empty:
                return
            if kind == "Helm":
                kill_at_helm(way, service, helms[number], n, kills)
            else:
                kill_at_request(way, service, relay, n, kills)

    with ThreadPoolExecutor(WORKERS) as pool:
        working = [pool.submit(work, number) for number in range(WORKERS)]
        wait(working, return_when=FIRST_EXCEPTION)
        while not jobs.empty():
            jobs.get()  # one has failed: the others need not go on
        for each in working:
            each.result()
    with capsys.disabled():
        print(f"\n{way.name}: {requests} requests and {calls} Helm calls; {kills}")
    assert len(kills.at) >= FEWER * requests + calls
    assert max(kills.seconds) <= HEALED, sorted(zip(kills.seconds, kills.at, strict=True))[-5:]


def test_an_automatic_rollback_that_is_killed_is_finished_once_its_lease_has_run_out(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    process = web.deploy_until("evidence")
    kill_hard(process)
    assert web.serving()["revision"] == good and holder(web)
    commit = web.commit(text="mended")
    began = time.monotonic()
    done = web.deploy()
    assert done.code == 0, done.err
    assert time.monotonic() - began <= DURATION + HEALED
    assert web.serving()["revision"] == commit
