"""What attestations say of an image: SLSA provenance v1, and in-toto's test-result v0.1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdlib.units import timestamp

BUILD_TYPE = "https://cdlib.org/build-image/v1"
TESTS = "https://cdlib.org/tests/v1"  # our own field in a test result
MOST_FAILURES = 20  # named in a test result


@dataclass(frozen=True)
class Work:
    """Who did something, for whom and when. `invocation` is the run's page or name; times are in UTC."""

    builder: str
    job: str
    invocation: str
    started: datetime
    finished: datetime


@dataclass(frozen=True)
class Provenance:
    """How an image came about. `key` and `configuration` are 64 hex digits; `bases` pairs of reference and digest.

    `tree` is git's name of the service's folder; `reused` where the image lay in the builder's Engine already.
    """

    service: str
    variant: str
    tree: str
    source: str
    key: str
    configuration: str
    bases: tuple[tuple[str, str], ...]
    reused: bool
    work: Work

    def predicate(self) -> dict[str, Any]:
        """SLSA provenance v1."""
        bases = [{"uri": f"oci://{name}", "digest": _digest_set(digest)} for name, digest in self.bases]
        source = {"uri": f"git+{self.source}"} if self.source else {}
        outside = {"service": self.service, "variant": self.variant}
        inside = {"key": self.key, "configuration": self.configuration, "reused": self.reused, "job": self.work.job}
        return {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": outside,
                "internalParameters": inside,
                "resolvedDependencies": [{"name": "tree", **source, "digest": {"gitTree": self.tree}}, *bases],
            },
            "runDetails": {"builder": {"id": self.work.builder}, "metadata": _metadata(self.work)},
        }


@dataclass(frozen=True)
class TestResult:
    """What tests of a tree came to. `image` is the id of the test image; `failures` are lines, the first few."""

    __test__ = False
    service: str
    tree: str
    image: str
    key: str
    passed: int
    failed: int
    skipped: int
    good: bool
    failures: tuple[str, ...]
    work: Work

    def predicate(self) -> dict[str, Any]:
        """in-toto test-result v0.1; what it has no field for stands under a name of our own."""
        tested = {"name": "image", "digest": _digest_set(self.image), "annotations": {"key": self.key}}
        counts = {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}
        more = {"service": self.service, "tree": self.tree, "job": self.work.job, "builder": self.work.builder}
        return {
            "result": "PASSED" if self.good else "FAILED",
            "configuration": [{"name": "tree", "digest": {"gitTree": self.tree}}, tested],
            "failedTests": list(self.failures[:MOST_FAILURES]),
            TESTS: {**more, **counts, **_metadata(self.work)},
        }


def _metadata(work: Work) -> dict[str, str]:
    return {
        "invocationId": work.invocation,
        "startedOn": timestamp(work.started),
        "finishedOn": timestamp(work.finished),
    }


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.rpartition(":")
    return {algorithm or "sha256": value}
