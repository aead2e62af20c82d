"""Permits: each for one deploy or rollback, once, now, there. An attack corpus, none of which is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from signing import Signers, new_signers

from cdlib.errors import Refused
from cdlib.target import read_target
from cdlib.trust.keys import read_keyring
from cdlib.trust.lookup import find
from cdlib.trust.permit import (
    Asked,
    Spent,
    check,
    issue,
    permit_for,
    told,
)
from cdlib.trust.policy import policy_digest
from cdlib.trust.statement import PROVENANCE, SUMMARY, TEST_RESULT, make_statement
from cdlib.trust.summary import PERMIT, Permit, Place, write_permit

NOW = datetime.now(UTC).replace(microsecond=0)
HERE = Place("production", "kube-system/8f1d", "hello", "hello")
LIVE, OLD, BAD = (f"sha256:{letter * 64}" for letter in "abc")
DEPLOY = Asked("deploy", HERE, "c" * 40, "123,4", "r.test/hello", LIVE, "sha256:" + "1" * 64, "sha256:" + "2" * 64,
               "sha256:" + "3" * 64)  # fmt: skip
BACK = replace(
    DEPLOY, action="rollback", digest=OLD, commit="d" * 40, verified=frozenset({OLD, BAD}), quarantined=frozenset({BAD})
)
SPENT = Spent(41, "0" * 32)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return new_signers(tmp_path_factory.mktemp("keys"))


def permit(asked: Asked = DEPLOY, **fields: Any) -> Permit:
    return replace(
        permit_for(asked, SPENT, by="https://jenkins.test/authorize"),
        issued=NOW,
        expires=NOW + timedelta(minutes=15),
        **fields,
    )


def signed(signers: Signers, made: Permit | None = None, key: str = "permit") -> bytes:
    return issue(made or permit(), signers.key(key))


def forged(
    signers: Signers, change: Callable[[dict[str, Any]], None], key: str = "permit", digest: str = LIVE
) -> bytes:
    """A permit as its key's holder could sign it, past what issue() refuses."""
    predicate = json.loads(json.dumps(write_permit(permit())))
    change(predicate)
    return make_statement("r.test/hello", digest, SUMMARY, predicate, signers.key(key))


def bound(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda predicate: predicate[PERMIT].update(fields)


def summary(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda predicate: predicate.update(fields)


def refused(signers: Signers, raw: bytes, asked: Asked = DEPLOY, spent: Spent = SPENT, now: datetime = NOW) -> Refused:
    with pytest.raises(Refused) as caught:
        check(raw, asked, spent, signers.ring, now)
    assert caught.value.hint and asked.commit[:12] in caught.value.message and asked.change in caught.value.message
    return caught.value


ATTACKS: dict[str, Callable[[Signers], tuple[bytes, Asked, Spent, datetime]]] = {
    # what is done is not what was allowed
    "another digest": lambda s: (signed(s), replace(DEPLOY, digest=OLD), SPENT, NOW),
    "another repository": lambda s: (signed(s), replace(DEPLOY, image="r.test/evil"), SPENT, NOW),
    "a chart changed after the permit": lambda s: (signed(s), replace(DEPLOY, chart="sha256:" + "9" * 64), SPENT, NOW),
    "values changed after the permit": lambda s: (signed(s), replace(DEPLOY, values="sha256:" + "9" * 64), SPENT, NOW),
    "a policy changed after the permit": lambda s: (signed(s), replace(DEPLOY, policy="sha256:" + "9" * 64), SPENT, NOW),
    "another commit": lambda s: (signed(s), replace(DEPLOY, commit="e" * 40), SPENT, NOW),
    "another cluster": lambda s: (signed(s), at(cluster="kube-system/other"), SPENT, NOW),
    "another namespace": lambda s: (signed(s), at(namespace="payments"), SPENT, NOW),
    "another release": lambda s: (signed(s), at(release="hello2"), SPENT, NOW),
    "another environment": lambda s: (signed(s), at(environment="staging"), SPENT, NOW),
    "a rollback by a deploy's permit": lambda s: (signed(s), replace(DEPLOY, action="rollback", verified=frozenset({LIVE})), SPENT, NOW),
    "a deploy by a rollback's permit": lambda s: (signed(s, permit(BACK)), replace(BACK, action="deploy"), SPENT, NOW),
    # used again, or out of turn
    "replayed": lambda s: replayed(s, unfinished=False),
    "replayed under a nonce of its own": lambda s: (signed(s), DEPLOY, Spent(42, "f" * 32, unfinished=True), NOW),
    "replayed after the next": lambda s: (signed(s), DEPLOY, Spent(43, "f" * 32), NOW),
    "an old one for a downgrade": lambda s: (signed(s, permit(sequence=7)), DEPLOY, SPENT, NOW),
    "issued for a later state": lambda s: (signed(s, permit(sequence=43)), DEPLOY, SPENT, NOW),
    # out of its time
    "expired": lambda s: (signed(s), DEPLOY, SPENT, NOW + timedelta(minutes=16, seconds=1)),
    "from the future": lambda s: (signed(s), DEPLOY, SPENT, NOW - timedelta(seconds=61)),
    "longer than 15 minutes": lambda s: (forged(s, bound(expires=later(16))), DEPLOY, SPENT, NOW),
    "for ever": lambda s: (forged(s, bound(expires="9999-12-31T23:59:59.999Z")), DEPLOY, SPENT, NOW),
    "expired before it was issued": lambda s: (forged(s, bound(expires=later(-1))), DEPLOY, SPENT, NOW),
    "without an end": lambda s: (forged(s, lambda p: p[PERMIT].pop("expires")), DEPLOY, SPENT, NOW),
    # signed by others
    "by the builder's key": lambda s: (signed(s, key="provenance"), DEPLOY, SPENT, NOW),
    "by the tester's key": lambda s: (signed(s, key="test-result"), DEPLOY, SPENT, NOW),
    "by a stranger's key": lambda s: (signed(s, key="stranger"), DEPLOY, SPENT, NOW),
    "not signed at all": lambda _: (b"{}", DEPLOY, SPENT, NOW),
    "nothing": lambda _: (b"", DEPLOY, SPENT, NOW),
    "a provenance": lambda s: (make_statement("x", LIVE, PROVENANCE, write_permit(permit()), s.key("provenance")), DEPLOY, SPENT, NOW),
    "a provenance by the authorizer": lambda s: (make_statement("x", LIVE, PROVENANCE, write_permit(permit()), s.key("permit")), DEPLOY, SPENT, NOW),
    "a test result": lambda s: (make_statement("x", LIVE, TEST_RESULT, write_permit(permit()), s.key("test-result")), DEPLOY, SPENT, NOW),
    "a permit inside a permit's envelope edited": lambda s: (signed(s).replace(b'"keyid"', b'"keyId"'), DEPLOY, SPENT, NOW),
    "payload type confused": lambda s: (signed(s).replace(b"vnd.in-toto", b"vnd.in_toto"), DEPLOY, SPENT, NOW),
    "a duplicate key": lambda s: (signed(s).replace(b'{"payload":', b'{"payload":"e30=","payload":', 1), DEPLOY, SPENT, NOW),
    # what it says is not sound
    "one that says FAILED": lambda s: (forged(s, summary(verificationResult="FAILED")), DEPLOY, SPENT, NOW),
    "an unknown field": lambda s: (forged(s, summary(more=1)), DEPLOY, SPENT, NOW),
    "an unknown field of ours": lambda s: (forged(s, bound(force=True)), DEPLOY, SPENT, NOW),
    "no permit in the summary": lambda s: (forged(s, lambda p: p.pop(PERMIT)), DEPLOY, SPENT, NOW),
    "another resource": lambda s: (forged(s, summary(resourceUri="oci://r.test/evil@" + LIVE)), DEPLOY, SPENT, NOW),
    "a subject that is not its resource": lambda s: (forged(s, summary(), digest=OLD), DEPLOY, SPENT, NOW),
    "no policy digest": lambda s: (forged(s, summary(policy={"uri": "x", "digest": {}})), DEPLOY, SPENT, NOW),
    "a sequence that is text": lambda s: (forged(s, bound(sequence="42")), DEPLOY, SPENT, NOW),
    "a sequence that is true": lambda s: (forged(s, bound(sequence=True)), DEPLOY, Spent(0), NOW),
    "a negative sequence": lambda s: (forged(s, bound(sequence=-1)), DEPLOY, Spent(-2), NOW),
    "no nonce": lambda s: (forged(s, bound(nonce="")), DEPLOY, SPENT, NOW),
    "empty names that match empty names": lambda s: (signed(s, permit(at(cluster=""))), at(cluster=""), SPENT, NOW),
    "empty digests that match empty digests": lambda s: (signed(s, permit(replace(DEPLOY, chart=""))), replace(DEPLOY, chart=""), SPENT, NOW),
    "an action that there is not": lambda s: (signed(s, permit(replace(DEPLOY, action="anything"))), replace(DEPLOY, action="anything"), SPENT, NOW),
    "levels of another action": lambda s: (forged(s, summary(verifiedLevels=["CD_ROLLBACK"])), DEPLOY, SPENT, NOW),
    # rollbacks
    "a rollback to what was never verified": lambda s: rollback(s, replace(BACK, verified=frozenset())),
    "a rollback to what is quarantined": lambda s: rollback(s, replace(BACK, digest=BAD)),
    "a rollback to another digest": lambda s: (signed(s, permit(BACK)), replace(BACK, digest=BAD, quarantined=frozenset()), SPENT, NOW),
    # break-glass
    "break-glass without a reason": lambda s: (signed(s, key="break-glass"), DEPLOY, SPENT, NOW),
    "break-glass with blanks for a reason": lambda s: (signed(s, permit(reason=" \n"), key="break-glass"), DEPLOY, SPENT, NOW),
    "break-glass for another digest": lambda s: (signed(s, permit(reason="fire"), key="break-glass"), replace(DEPLOY, digest=OLD), SPENT, NOW),
    "break-glass, replayed": lambda s: (signed(s, permit(reason="fire"), key="break-glass"), DEPLOY, Spent(42, "f" * 32), NOW),
    "break-glass, expired": lambda s: (signed(s, permit(reason="fire"), key="break-glass"), DEPLOY, SPENT, NOW + timedelta(hours=1)),
}  # fmt: skip


def at(**fields: str) -> Asked:
    return replace(DEPLOY, place=replace(HERE, **fields))


def later(minutes: int) -> str:
    return (NOW + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def replayed(signers: Signers, *, unfinished: bool) -> tuple[bytes, Asked, Spent, datetime]:
    made = permit()
    return signed(signers, made), DEPLOY, Spent(made.sequence, made.nonce, unfinished), NOW


def rollback(signers: Signers, asked: Asked) -> tuple[bytes, Asked, Spent, datetime]:
    return signed(signers, permit(asked)), asked, SPENT, NOW


@pytest.mark.parametrize("how", ATTACKS)
def test_attacks(signers: Signers, how: str) -> None:
    refused(signers, *ATTACKS[how](signers))


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(ATTACKS) >= 50


def test_a_permit_allows_what_it_says_once(signers: Signers) -> None:
    made = permit()
    granted = check(signed(signers, made), DEPLOY, SPENT, signers.ring, NOW)
    assert granted.permit == made and not granted.loud and not granted.again
    refused(signers, signed(signers, made), spent=Spent(made.sequence, made.nonce))


@pytest.mark.parametrize("seconds", [-60, 0, 899, 960])
def test_it_holds_for_its_time_by_clocks_a_minute_apart(signers: Signers, seconds: int) -> None:
    check(signed(signers), DEPLOY, SPENT, signers.ring, NOW + timedelta(seconds=seconds))


def test_the_first_permit_of_a_release(signers: Signers) -> None:
    made = replace(permit_for(DEPLOY, Spent(), by="x"), issued=NOW, expires=NOW + timedelta(minutes=1))
    assert made.sequence == 1 and check(signed(signers, made), DEPLOY, Spent(), signers.ring, NOW)


def test_a_killed_run_is_gone_on_with_by_the_permit_that_it_spent(signers: Signers) -> None:
    assert check(*replayed(signers, unfinished=True)[:3], signers.ring, NOW).again


def test_a_commit_without_a_change(signers: Signers) -> None:
    asked = replace(DEPLOY, change="")
    assert check(signed(signers, permit(asked)), asked, SPENT, signers.ring, NOW)


def test_a_rollback_to_what_was_verified(signers: Signers) -> None:
    assert check(*rollback(signers, BACK)[:3], signers.ring, NOW).permit.action == "rollback"


@pytest.mark.parametrize("asked", [DEPLOY, BACK, replace(BACK, digest=BAD), replace(BACK, verified=frozenset())])
def test_break_glass_works_and_is_loud(signers: Signers, asked: Asked) -> None:
    raw = signed(signers, permit(asked, reason="Gerrit is on fire"), key="break-glass")
    granted = check(raw, asked, SPENT, signers.ring, NOW)
    assert granted.loud and told(granted)["kind"] == "break-glass" and told(granted)["reason"] == "Gerrit is on fire"


def test_a_second_authorizer_during_a_rotation(signers: Signers, tmp_path: Path) -> None:
    other = new_signers(tmp_path / "more")
    files = {**signers.files, "permit": (*signers.files["permit"], *other.files["permit"])}
    for each in (signers, other):
        assert check(signed(each), DEPLOY, SPENT, read_keyring(files), NOW)
    with pytest.raises(Refused, match="no key that targets"):
        check(signed(signers), DEPLOY, SPENT, read_keyring({**files, "permit": other.files["permit"]}), NOW)


def test_nothing_is_issued_that_no_check_would_take(signers: Signers) -> None:
    for expires in (NOW + timedelta(minutes=15, seconds=1), NOW):
        with pytest.raises(ValueError, match="lasts"):
            issue(replace(permit(), expires=expires), signers.key("permit"))


def test_nonces_differ() -> None:
    assert len({permit_for(DEPLOY, SPENT, by="x").nonce for _ in range(50)}) == 50


def test_a_refusal_names_every_difference(signers: Signers) -> None:
    problem = refused(signers, signed(signers), replace(at(namespace="other"), chart="sha256:" + "9" * 64))
    assert "another namespace, chart" in problem.message and len(problem.details) == 2
    assert problem.details[0] == "namespace: the permit says hello, and this is other"


@pytest.mark.parametrize(("name", "told"), [("policy", True), ("values", True), ("chart", False)])
def test_where_two_agents_files_differ_it_says_so(signers: Signers, name: str, told: bool) -> None:
    """A new permit from the same agent would be refused as well."""
    problem = refused(signers, signed(signers), replace(DEPLOY, **{name: "sha256:" + "9" * 64}))
    assert ("targets.yaml and the values files beside it must be the same" in problem.hint) is told


@pytest.mark.parametrize("now", [NOW - timedelta(hours=1), NOW, NOW + timedelta(hours=1)])
def test_what_a_rollback_needs_is_said_for_that_rollback(signers: Signers, now: datetime) -> None:
    """The authorize job run again would issue a deploy's permit."""
    asked, by_hand = replace(BACK, revision=7), "authorize-deploy --rollback --to 7"
    for made in (permit(), permit(BACK, sequence=3), permit(replace(BACK, chart="sha256:" + "9" * 64)), None):
        raw = signed(signers, made) if made else b"{}"
        assert by_hand in refused(signers, raw, asked, now=now).hint
        assert "--rollback" not in refused(signers, raw, replace(DEPLOY, commit="e" * 40), now=now).hint
    with pytest.raises(Refused) as caught:
        find([], asked, SPENT, signers.ring)
    assert by_hand in caught.value.hint and "CD_ROLLBACK and CD_TO=7" in caught.value.hint


TARGETS = """
version: 1
keys: {provenance: [provenance.pub], permit: [permit.pub]}
environments:
  production: {policy: signed, budget: 2m}
  staging: {policy: reviewed}
services:
  hello: {image: r.test/hello, environments: {production: {namespace: hello, release: hello}, staging: {namespace: s, release: hello}}}
  other: {image: r.test/other, environments: {production: {namespace: other, release: other}}}
"""


def test_the_policys_digest_is_over_what_concerns_the_release(signers: Signers) -> None:
    def digest(text: str = TARGETS, environment: str = "production") -> str:
        path = signers.folder / "targets.yaml"
        path.write_text(text)
        target = read_target(path, "hello")
        return policy_digest(target, environment, read_keyring(target.keys))

    usual = digest()
    elsewhere = (
        ("r.test/other", "r.test/others"),
        ("namespace: s,", "namespace: t,"),
        ("policy: reviewed", "policy: none"),
    )
    for old, new in elsewhere:
        assert digest(TARGETS.replace(old, new)) == usual
    here = (("policy: signed", "policy: none"), ("budget: 2m", "budget: 3m"), ("r.test/hello", "r.test/hell"),
            ("namespace: hello", "namespace: hallo"), ("permit: [permit.pub]", "permit: [stranger.pub]"),
            ("permit: [permit.pub]", "permit: [permit.pub, stranger.pub]"))  # fmt: skip
    found = [digest(TARGETS.replace(old, new)) for old, new in here]
    assert usual not in found and len(set(found)) == len(here) and digest(environment="staging") != usual
