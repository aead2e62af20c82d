"""How metrics get to Prometheus: a file for node_exporter's textfile collector, or a Pushgateway."""

from __future__ import annotations

import fcntl
import os
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.errors import Unavailable, UsageProblem
from cdlib.files import replace_file
from cdlib.report.metrics import ABOUT, COUNTER, FAMILIES, Samples, merged

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_LARGEST = 16 * 2**20  # bytes of a file that is there already
_JOB = "cd"  # the Pushgateway's group, beside what the run was about


def write(file: Path, now: Samples) -> None:
    """Bring the run's series into `file`, whole or not at all; many runs may share one, and wait for each other.

    What other runs have said stays, and counters go on. Raises UsageProblem where the file is somebody else's, OSError.
    """
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        replace_file(file, exposition(merged(_read(file), now)))


def push(url: str, now: Samples, seconds: float) -> None:
    """Give the run's gauges to the Pushgateway at `url`, within so many seconds without an answer.

    Counters are left out: a Pushgateway does not add. Raises UsageProblem, Unavailable.
    """
    import requests

    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise UsageProblem("that is no Pushgateway's address", hint="give http://HOST:PORT, without a password")
    gauges = {key: value for key, value in now.items() if FAMILIES[key[0]].kind != COUNTER}
    (labels,) = {labels[: len(ABOUT)] for _, labels in gauges}
    group = "".join(f"/{name}@base64/{_base64(value)}" for name, value in (("job", _JOB), *labels))
    try:
        # POST: what this run says nothing of stays, such as when the last good one was.
        answer = requests.post(f"{url.rstrip('/')}/metrics{group}", data=exposition(gauges), timeout=seconds,
                               headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
                               allow_redirects=False)  # fmt: skip
    except (requests.RequestException, ValueError) as problem:
        raise Unavailable(
            f"{parts.hostname} does not answer: {type(problem).__name__}", hint="see that the Pushgateway runs"
        ) from problem
    if not answer.ok:
        raise Unavailable(
            f"{parts.hostname} answers {answer.status_code}: {answer.text[:200]}", hint="see the Pushgateway's log"
        )


def exposition(found: Samples) -> bytes:
    """The series in Prometheus' text format."""
    from prometheus_client import generate_latest

    return generate_latest(_Given(list(_families(found))))


class _Given:
    """What prometheus_client asks for metrics; nothing is registered, since a run ends at once."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(found: Samples) -> Iterable[Metric]:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    for name, family in FAMILIES.items():
        make = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
        metric = make(name, family.help, labels=(*ABOUT, *family.labels))
        for (_, labels), value in sorted(item for item in found.items() if item[0][0] == name):
            metric.add_metric([value for _, value in labels], value)
        if metric.samples:
            yield metric


def _read(file: Path) -> Samples:
    """The series in the file; none where there is none. Raises UsageProblem where others are in it."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except FileNotFoundError:
        return {}
    found: Samples = {}
    try:
        if len(content) > _LARGEST:
            raise ValueError("too large")
        for metric in text_string_to_metric_families(content.decode()):
            for sample in metric.samples:
                names = (*ABOUT, *FAMILIES[sample.name].labels)
                found[sample.name, tuple((name, sample.labels[name]) for name in names)] = float(sample.value)
    except (ValueError, KeyError) as problem:
        raise UsageProblem(f"{file} holds what is not ours", hint="name a file of its own") from problem
    return found


def _base64(value: str) -> str:
    """A label's value in a path: it may be empty, or have slashes. Nothing at all is written as one `=`."""
    import base64

    return base64.urlsafe_b64encode(value.encode()).decode() or "="
