"""For how long a rollout that is complete has to be watched, as the probes' own numbers say."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from cdlib.rollout.api import Object
from cdlib.rollout.progress import containers_of

MARGIN = 5.0  # seconds for the kubelet to say what it has done
SHARE = 0.5  # of the time for rolling out, at most; planning refuses longer ones, too
# What Kubernetes takes where nothing is said (its API reference, Probe and PodSpec).
_PERIOD, _THRESHOLD, _GRACE = 10.0, 3.0, 30.0


def probe_soak(workload: Object) -> float:
    """Seconds until the first kill by a liveness probe that fails from the start would have been seen.

    0 where there is no such probe, and for what does not stay up. minReadySeconds counts towards it: a rollout is
    not complete before that has passed.
    """
    with suppress(TypeError, ValueError, AttributeError):  # what no API server would take names no time
        spec = workload.get("spec") or {}
        if workload.get("kind") in ("Job", "CronJob", "Pod"):
            return 0.0
        pod = (spec.get("template") or {}).get("spec") or {}
        probes = [c["livenessProbe"] for c in containers_of(pod) if c.get("livenessProbe") is not None]
        longest = max((_until_killed(probe, pod) for probe in probes), default=0.0)
        return max(0.0, longest - float(spec.get("minReadySeconds") or 0))
    return 0.0


def longest_probe_soak(workloads: Iterable[Object]) -> float:
    """The longest `probe_soak` of a release's workloads, in seconds."""
    return max(map(probe_soak, workloads), default=0.0)


def longest_soak(time_to_roll_out: float) -> float:
    """The longest soak that leaves time for the rollout itself; all in seconds."""
    return SHARE * time_to_roll_out


def _until_killed(probe: dict[str, Any], pod: Object) -> float:
    default = float(pod.get("terminationGracePeriodSeconds", _GRACE))
    grace = float(probe.get("terminationGracePeriodSeconds", default))
    period, threshold = float(probe.get("periodSeconds", _PERIOD)), float(probe.get("failureThreshold", _THRESHOLD))
    return float(probe.get("initialDelaySeconds", 0)) + threshold * period + grace + MARGIN
