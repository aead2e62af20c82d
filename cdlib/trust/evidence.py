"""Whether what attestations say of an image is enough: how it was built, and how its tests went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cdlib.errors import Refused
from cdlib.trust.encoding import Unsound, read_time, require_fields, text_of
from cdlib.trust.keys import Keyring
from cdlib.trust.predicates import BUILD_TYPE, MOST_FAILURES, TESTS
from cdlib.trust.statement import PROVENANCE, TEST_RESULT, Statement, read_statement

if TYPE_CHECKING:
    from cdlib.service import Service
    from cdlib.source import Source

CLOCKS = timedelta(seconds=60)  # how far two machines' clocks may differ
NAMES = {PROVENANCE: "provenance", TEST_RESULT: "test result"}


@dataclass(frozen=True)
class Wanted:
    """What has to be proved: that `digest` is `variant` of `service`, built from `tree` and tested.

    `commit` and `change` say in messages what it is for.
    """

    digest: str
    service: str
    variant: str
    tree: str
    commit: str = ""
    change: str = ""

    @classmethod
    def of(cls, source: Source, service: Service, digest: str, *, variant: str = "", change: str = "") -> Wanted:
        """That `digest` is what a work tree holds: `variant` of its service, or else the variant that is deployed."""
        return cls(digest, service.name, variant or service.deploy.variant, source.tree, source.commit, change)

    @property
    def about(self) -> str:
        """For messages: the digest, the commit and the change."""
        change = f", change {self.change}" if self.change else ""
        return f"{self.digest[:19]} (commit {self.commit[:12] or 'unknown'}{change})"


@dataclass(frozen=True)
class Evidence:
    """The statements that proved it."""

    provenance: Statement
    test_result: Statement


def prove(envelopes: Iterable[bytes], wanted: Wanted, ring: Keyring, now: datetime | None = None) -> Evidence:
    """What proves `wanted` among the envelopes beside an image. Raises Refused, which says what is missing.

    What does not verify is passed over, for anybody who may push can put it there; of several test results the
    latest counts.
    """
    moment, passed_over = now or datetime.now(UTC), list[str]()
    found: dict[str, list[tuple[datetime, Statement]]] = {PROVENANCE: [], TEST_RESULT: []}
    for number, raw in enumerate(envelopes, 1):
        try:
            statement = read_statement(raw, ring)
            if statement.predicate_type in found:
                found[statement.predicate_type].append((_judge(statement, wanted, moment), statement))
        except Unsound as problem:
            passed_over.append(f"attestation {number}: {problem}")
    for kind, name in NAMES.items():
        if not found[kind]:
            raise _unproved(wanted, name, passed_over)
    latest = max(found[TEST_RESULT], key=lambda each: (each[0], each[1].predicate["result"] != "PASSED"))[1]
    _require_passed(latest, wanted)
    return Evidence(max(found[PROVENANCE], key=lambda each: each[0])[1], latest)


def is_attested(
    envelopes: Iterable[bytes], wanted: Wanted, ring: Keyring, kind: str, now: datetime | None = None
) -> bool:
    """Whether one of the envelopes is a sound statement of `kind` about `wanted`, good or bad."""
    moment = now or datetime.now(UTC)
    for raw in envelopes:
        try:
            statement = read_statement(raw, ring)
            if statement.predicate_type == kind:
                _judge(statement, wanted, moment)
                return True
        except Unsound:
            continue
    return False


def _judge(statement: Statement, wanted: Wanted, now: datetime) -> datetime:
    """When what is said was done. Raises Unsound where it is said of something else."""
    if wanted.digest not in statement.digests:
        raise Unsound(f"it is about {', '.join(statement.digests)[:200]}")
    if statement.predicate_type == PROVENANCE:
        return _judge_provenance(statement.predicate, wanted, now)
    return _judge_result(statement.predicate, wanted, now)


def _judge_provenance(predicate: dict[str, Any], wanted: Wanted, now: datetime) -> datetime:
    definition = require_fields(predicate.get("buildDefinition"), ("buildType", "externalParameters"), _DEFINITION)
    details = require_fields(predicate.get("runDetails"), ("builder", "metadata"), ("byproducts",))
    if definition["buildType"] != BUILD_TYPE:
        raise Unsound(f"it is of another type of build, {definition['buildType']!r:.80}")
    said = require_fields(definition["externalParameters"], ("service", "variant"))
    trees = _git_trees(definition.get("resolvedDependencies"))
    _same("service", said["service"], wanted.service)
    _same("variant", said["variant"], wanted.variant)
    _same("tree", " and ".join(trees) or None, wanted.tree)
    text_of(require_fields(details["builder"], ("id",), ("version", "builderDependencies")), "id")
    return _finished(details["metadata"], now)


def _judge_result(predicate: dict[str, Any], wanted: Wanted, now: datetime) -> datetime:
    if predicate.get("result") not in ("PASSED", "WARNED", "FAILED") or not isinstance(
        predicate.get("configuration"), list
    ):
        raise Unsound("it is no test result")
    more = predicate.get(TESTS)
    if not isinstance(more, dict):
        raise Unsound(f"it does not say which tree was tested (no {TESTS})")
    _same("service", more.get("service"), wanted.service)
    _same("tree", more.get("tree"), wanted.tree)
    return _finished(more, now)


def _require_passed(result: Statement, wanted: Wanted) -> None:
    said, more = result.predicate, result.predicate[TESTS]
    passed, failed = more.get("passed"), more.get("failed")
    if (
        said["result"] == "PASSED"
        and not said.get("failedTests")
        and failed == 0
        and isinstance(passed, int)
        and passed
    ):
        return
    raise Refused(
        f"the tests of {wanted.about} did not pass: the latest result is {said['result']}, {passed} passed, "
        f"{failed} failed",
        hint="mend the tests, or run the gate again where they are flaky (regate): the latest result counts",
    )


def _unproved(wanted: Wanted, name: str, passed_over: list[str]) -> Refused:
    purpose = name.replace(" ", "-")
    return Refused(
        f"no {name} proves {wanted.about}, tree {wanted.tree[:12]}",
        details=passed_over[:MOST_FAILURES],
        hint=f"let the gate build and test this commit again, with a key that targets.yaml lists under keys.{purpose}",
    )


def _same(what: str, said: object, wanted: str) -> None:
    if said != wanted:
        raise Unsound(f"its {what} is {said!r:.80}, and not {wanted!r}")


def _git_trees(dependencies: object) -> list[str]:
    """The git trees that were built from. Two of them would leave open which one it was."""
    every = dependencies if isinstance(dependencies, list) else []
    digests = [each.get("digest") for each in every if isinstance(each, dict)]
    return [str(digest["gitTree"]) for digest in digests if isinstance(digest, dict) and "gitTree" in digest]


def _finished(said: object, now: datetime) -> datetime:
    if not isinstance(said, dict):
        raise Unsound("it has no times")
    finished = read_time(said.get("finishedOn"))
    if finished > now + CLOCKS:
        raise Unsound(f"it was made at {said['finishedOn']}, which is in the future: set the clocks by NTP")
    return finished


_DEFINITION = ("internalParameters", "resolvedDependencies")
