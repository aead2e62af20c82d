"""What proves an image: provenance of its tree and tests that passed, each by the key that may say so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from signing import Signers, new_signers

from cdlib.errors import Refused
from cdlib.trust.evidence import Wanted, is_attested, prove
from cdlib.trust.predicates import TESTS, Provenance, TestResult, Work
from cdlib.trust.statement import PROVENANCE, TEST_RESULT, make_statement

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WORK = Work(
    "https://jenkins.test", "hello-gate", "https://jenkins.test/job/hello-gate/7/", NOW - timedelta(minutes=2), NOW
)
WANTED = Wanted("sha256:" + "ab" * 32, "hello", "production", "1" * 40, "c" * 40, "123,4")
BUILT = Provenance("hello", "production", "1" * 40, "https://git.test/hello", "2" * 64, "3" * 64,
                   (("r.test/base:1", "sha256:" + "4" * 64),), False, WORK)  # fmt: skip
TESTED = TestResult("hello", "1" * 40, "sha256:" + "5" * 64, "6" * 64, 3, 0, 1, True, (), WORK)
Document = dict[str, Any]


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return new_signers(tmp_path_factory.mktemp("keys"))


def provenance_of(
    signers: Signers, said: Provenance | Document = BUILT, digest: str = WANTED.digest, key: str = "provenance"
) -> bytes:
    predicate = said.predicate() if isinstance(said, Provenance) else said
    return make_statement("r.test/hello", digest, PROVENANCE, predicate, signers.key(key))


def result_of(
    signers: Signers, said: TestResult | Document = TESTED, digest: str = WANTED.digest, key: str = "test-result"
) -> bytes:
    predicate = said.predicate() if isinstance(said, TestResult) else said
    return make_statement("r.test/hello", digest, TEST_RESULT, predicate, signers.key(key))


def refused(signers: Signers, *envelopes: bytes, wanted: Wanted = WANTED, now: datetime = NOW) -> Refused:
    with pytest.raises(Refused) as caught:
        prove(envelopes, wanted, signers.ring, now)
    assert caught.value.hint and wanted.commit[:12] in caught.value.message and wanted.change in caught.value.message
    return caught.value


def test_what_was_built_and_tested_is_proved(signers: Signers) -> None:
    found = prove([provenance_of(signers), result_of(signers)], WANTED, signers.ring, NOW)
    definition = found.provenance.predicate["buildDefinition"]
    assert definition["externalParameters"] == {"service": "hello", "variant": "production"}
    assert definition["resolvedDependencies"] == [
        {"name": "tree", "uri": "git+https://git.test/hello", "digest": {"gitTree": "1" * 40}},
        {"uri": "oci://r.test/base:1", "digest": {"sha256": "4" * 64}},
    ]
    assert found.provenance.predicate["runDetails"] == {
        "builder": {"id": "https://jenkins.test"},
        "metadata": {"invocationId": WORK.invocation, "startedOn": "2026-11-23T11:58:00.000Z",
                     "finishedOn": "2026-11-23T12:00:00.000Z"},
    }  # fmt: skip
    assert found.test_result.predicate["result"] == "PASSED"


def test_what_anybody_may_have_put_there_changes_nothing(signers: Signers) -> None:
    noise = [
        b"",
        b"garbage",
        provenance_of(signers, key="stranger"),
        result_of(signers, key="stranger"),
        provenance_of(signers, digest="sha256:" + "0" * 64),
    ]
    orders = (
        [*noise, provenance_of(signers), result_of(signers)],
        [result_of(signers), provenance_of(signers), *noise],
    )
    for envelopes in orders:
        prove(envelopes, WANTED, signers.ring, NOW)


def test_a_commit_with_the_same_tree_finds_its_proof(signers: Signers) -> None:
    prove(
        [provenance_of(signers), result_of(signers)], replace(WANTED, commit="d" * 40, change="9,9"), signers.ring, NOW
    )


def test_the_latest_result_counts(signers: Signers) -> None:
    def at(minutes: int, good: bool) -> bytes:
        when = replace(WORK, finished=NOW + timedelta(minutes=minutes))
        return result_of(signers, replace(TESTED, good=good, failed=0 if good else 1, work=when))

    prove([at(-1, True), provenance_of(signers), at(-2, False)], WANTED, signers.ring, NOW)
    for earlier, later in ((at(-2, True), at(-1, False)), (at(-1, True), at(-1, False))):
        for envelopes in ([earlier, later, provenance_of(signers)], [later, earlier, provenance_of(signers)]):
            assert "FAILED" in refused(signers, *envelopes).message


def test_clocks_may_differ_by_a_minute(signers: Signers) -> None:
    envelopes = [provenance_of(signers), result_of(signers)]
    prove(envelopes, WANTED, signers.ring, NOW - timedelta(seconds=60))
    assert "in the future" in refused(signers, *envelopes, now=NOW - timedelta(seconds=61)).details[0]


def test_nothing_and_half_of_it(signers: Signers) -> None:
    assert refused(signers).message.startswith(
        "no provenance proves sha256:abababababab (commit cccccccccccc, change 123,4)"
    )
    assert "keys.provenance" in refused(signers, result_of(signers)).hint
    missing = refused(signers, provenance_of(signers))
    assert missing.message.startswith("no test result") and "keys.test-result" in missing.hint


WRONG_PROVENANCE: dict[str, Callable[[Signers], bytes]] = {
    "of another digest": lambda s: provenance_of(s, digest="sha256:" + "0" * 64),
    "of another service": lambda s: provenance_of(s, replace(BUILT, service="other")),
    "of another variant": lambda s: provenance_of(s, replace(BUILT, variant="test")),
    "of another tree": lambda s: provenance_of(s, replace(BUILT, tree="9" * 40)),
    "by the tester's key": lambda s: provenance_of(s, key="test-result"),
    "by the authorizer's key": lambda s: provenance_of(s, key="permit"),
    "by the break-glass key": lambda s: provenance_of(s, key="break-glass"),
    "by a stranger": lambda s: provenance_of(s, key="stranger"),
    "of another type of build": lambda s: provenance_of(s, changed(BUILT.predicate(), "buildDefinition", "buildType", "https://x")),
    "with parameters that nobody knows": lambda s: provenance_of(
        s, changed(BUILT.predicate(), "buildDefinition", "externalParameters", {"service": "hello", "variant": "production", "x": 1})
    ),
    "of no tree": lambda s: provenance_of(s, changed(BUILT.predicate(), "buildDefinition", "resolvedDependencies", [])),
    "of two trees": lambda s: provenance_of(
        s, changed(BUILT.predicate(), "buildDefinition", "resolvedDependencies",
                   [{"digest": {"gitTree": "1" * 40}}, {"digest": {"gitTree": "9" * 40}}])
    ),
    "without a builder": lambda s: provenance_of(s, changed(BUILT.predicate(), "runDetails", "builder", {})),
    "without times": lambda s: provenance_of(s, changed(BUILT.predicate(), "runDetails", "metadata", {})),
    "without anything": lambda s: provenance_of(s, {}),
    "as a test result": lambda s: result_of(s, BUILT.predicate()),
    "in an older version": lambda s: make_statement("x", WANTED.digest, "https://slsa.dev/provenance/v0.2", BUILT.predicate(), s.key("provenance")),
}  # fmt: skip


def changed(predicate: Document, section: str, name: str, value: Any) -> Document:
    made = copy.deepcopy(predicate)
    made[section][name] = value
    return made


@pytest.mark.parametrize("how", WRONG_PROVENANCE)
def test_wrong_provenance(signers: Signers, how: str) -> None:
    problem = refused(signers, WRONG_PROVENANCE[how](signers), result_of(signers))
    assert "no provenance" in problem.message and problem.details


def more(**fields: Any) -> Document:
    said = TESTED.predicate()
    return {**said, TESTS: {**said[TESTS], **fields}}


WRONG_RESULTS: dict[str, Callable[[Signers], bytes]] = {
    "failed": lambda s: result_of(s, replace(TESTED, good=False, failed=1)),
    "failed without a failing test": lambda s: result_of(s, replace(TESTED, good=False)),
    "passed, with failures listed": lambda s: result_of(s, {**TESTED.predicate(), "failedTests": ["x"]}),
    "passed, with failures counted": lambda s: result_of(s, more(failed=1)),
    "passed without a test": lambda s: result_of(s, replace(TESTED, passed=0)),
    "warned": lambda s: result_of(s, {**TESTED.predicate(), "result": "WARNED"}),
    "in other words": lambda s: result_of(s, {**TESTED.predicate(), "result": "passed"}),
    "without a result": lambda s: result_of(s, {"configuration": []}),
    "without a configuration": lambda s: result_of(s, {"result": "PASSED"}),
    "of no tree": lambda s: result_of(s, {"result": "PASSED", "configuration": []}),
    "of another tree": lambda s: result_of(s, replace(TESTED, tree="9" * 40)),
    "of another service": lambda s: result_of(s, replace(TESTED, service="other")),
    "of another digest": lambda s: result_of(s, digest="sha256:" + "0" * 64),
    "by the builder's key": lambda s: result_of(s, key="provenance"),
    "by the authorizer's key": lambda s: result_of(s, key="permit"),
    "without a time": lambda s: result_of(s, more(finishedOn=None)),
    "counted in words": lambda s: result_of(s, more(passed="3")),
}


@pytest.mark.parametrize("how", WRONG_RESULTS)
def test_wrong_results(signers: Signers, how: str) -> None:
    refused(signers, provenance_of(signers), WRONG_RESULTS[how](signers))


def test_whether_something_is_attested_at_all(signers: Signers) -> None:
    bad = result_of(signers, replace(TESTED, good=False))
    assert is_attested([b"x", bad], WANTED, signers.ring, TEST_RESULT, NOW)
    assert not is_attested([bad], WANTED, signers.ring, PROVENANCE, NOW)
    assert not is_attested([provenance_of(signers, key="stranger")], WANTED, signers.ring, PROVENANCE, NOW)


def test_failures_are_named_within_bounds() -> None:
    many = replace(TESTED, good=False, failures=tuple(f"t{n}: no" for n in range(500)))
    assert len(many.predicate()["failedTests"]) == 20
