"""What a rollout costs does not grow with its pods where it need not: the same calls for 10 as for 1,000, and a memory
that any agent has. The pods are real objects that kwok plays; it is measured as `python -m bench.pods` does it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.pods import COUNTS, Cost, kwok, measure, on_kwok
from bench.service import Ground
from cdlib.rollout.lease import RENEW_EVERY
from cdlib.rollout.watch import WINDOW
from lab.testing import RunningLab

KINDS = 4  # that a Deployment is judged by, a watch each: it, its ReplicaSets, Pods and Events
RENEWAL = 2  # requests of one renewal of the lease
AROUND = 4  # further requests for the lease: taking it and giving it back, and one renewal more or less
GROWTH = 1.25  # times as many calls as for the fewest pods, at most: a list made anew, and never a call a pod
LARGEST = 150.0  # MB


def calls(cost: Cost) -> int:
    """The requests that do not go with time, as renewals of the lease and watches begun anew do."""
    return cost.requests - cost.renewals - cost.watches


def check(costs: Sequence[Cost]) -> None:
    """See that what was measured, the fewest pods first, is flat, and small."""
    for cost in costs:
        assert calls(cost) <= GROWTH * calls(costs[0]), costs
        assert cost.helm_requests <= GROWTH * costs[0].helm_requests, costs
        assert cost.watches <= KINDS * (1 + math.ceil(cost.seconds / WINDOW)), costs
        assert cost.renewals <= RENEWAL * cost.seconds / RENEW_EVERY + AROUND, costs
        assert cost.memory < LARGEST, costs


@pytest.mark.timeout(900)
def test_calls_are_flat_and_memory_is_small_however_many_pods(
    lab: RunningLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ground, costs = Ground.of_lab(), list[Cost]()
    with kwok(ground, tmp_path) as relay:
        for pods in COUNTS:
            with on_kwok(ground, tmp_path, f"soak-{pods}") as service:
                costs.append(measure(service, pods, relay))
    with capsys.disabled():
        print(*["", *costs], sep="\n")
    assert [cost.pods for cost in costs] == [10, 100, 1000]
    check(costs)
