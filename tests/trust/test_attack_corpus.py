"""How many attacks are refused and how many legitimate histories are accepted, by the tests that do so.

Cases are counted where pytest takes them from: a case that no test runs is none here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import test_approvals
import test_permit_requests
import test_review_votes
import test_trust_attached
import test_trust_envelopes
import test_trust_evidence
import test_trust_permit

ACCEPTED = test_review_votes.test_a_legitimate_history_is_accepted
HISTORY = test_review_votes.test_an_attack_is_refused_with_its_reason
PERMIT = test_trust_permit.test_attacks
ENVELOPE = test_trust_envelopes.test_unsound_envelopes
STATEMENT = test_trust_envelopes.test_unsound_statements_although_the_right_key_signed_them
PROVENANCE = test_trust_evidence.test_wrong_provenance
RESULT = test_trust_evidence.test_wrong_results
SIGNATURE = test_approvals.test_a_signature_that_does_not_count
OWN = test_approvals.test_nobody_signs_what_they_had_to_do_with
AUTHORIZER = test_permit_requests.test_what_the_authorizer_refuses
DEPLOY = test_permit_requests.test_what_a_deploy_does_not_take
FLOOD = test_trust_attached.test_a_flood_is_not_in_the_way_of_what_is_good
REFUSED = (HISTORY, PERMIT, ENVELOPE, STATEMENT, PROVENANCE, RESULT, SIGNATURE, OWN, AUTHORIZER, DEPLOY)

# What has to be among them, and the case that it is.
NAMED: Mapping[str, tuple[Callable[..., None], str]] = {
    "a vote by the author": (HISTORY, "the_author_votes_on_what_another_uploads"),
    "a vote by the uploader": (HISTORY, "alice_votes_for_herself"),
    "a vote by the committer": (HISTORY, "the_committer_votes"),
    "a vote on an old patchset": (HISTORY, "only_on_an_old_patchset"),
    "a vote removed later": (HISTORY, "deleted_by_an_administrator"),
    "a vote by someone no longer on the list": (HISTORY, "somebody_who_is_no_longer_on_the_list"),
    "a forced submit": (HISTORY, "forced"),
    "an evil merge": (HISTORY, "an_evil_merge"),
    "a direct push hidden below the tip": (HISTORY, "a_direct_push_hidden_below_the_tip"),
    "truncated meta": (HISTORY, "the_records_are_cut_short"),
    "rewritten meta": (HISTORY, "a_vote_added_under_a_merged_change"),
    "a wrong tree": (AUTHORIZER, "another_tree"),
    "a tag moved after the check": (DEPLOY, "tag_moved_after_the_check"),
    "a digest swapped": (DEPLOY, "digest_swapped"),
    "the chart changed after the permit": (DEPLOY, "chart_changed"),
    "values changed after the permit": (DEPLOY, "operators_values_changed"),
    "an expired permit": (PERMIT, "expired"),
    "a replayed permit": (DEPLOY, "replayed"),
    "a permit replayed to another release": (PERMIT, "another release"),
    "a downgrade": (AUTHORIZER, "older"),
    "one person with two accounts": (HISTORY, "one_person_with_two_accounts"),
    "one person with two keys": (OWN, "bob-2"),
    "the policy edited in the same change": (AUTHORIZER, "policy_edited_in_the_same_change"),
    "duplicate JSON keys": (ENVELOPE, "two payloads"),
    "payload type confusion": (ENVELOPE, "another payload type"),
    "a signature by the wrong key": (PERMIT, "by a stranger's key"),
    "a signature for another purpose": (PERMIT, "by the builder's key"),
    "unknown fields": (STATEMENT, "an unknown field"),
}


def cases(test: Callable[..., None]) -> list[str]:
    """The names of a test's cases, as its parametrization has them."""
    (mark,) = [mark for mark in test.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    return [_name(values) for values in mark.args[1]]


def _name(values: Any) -> str:
    first = values[0] if isinstance(values, tuple) else values
    return str(getattr(first, "__name__", first))


def _all(tests: tuple[Callable[..., None], ...]) -> Iterator[tuple[str, str]]:
    return ((test.__name__, f"{number} {name}") for test in tests for number, name in enumerate(cases(test)))


def test_at_least_60_attacks_are_refused_and_25_histories_accepted() -> None:
    assert len(set(_all(REFUSED))) >= 60 and len(set(cases(HISTORY))) >= 60
    assert len(set(cases(ACCEPTED))) >= 25
    assert not set(cases(HISTORY)) & set(cases(ACCEPTED))


@pytest.mark.parametrize("what", NAMED)
def test_every_attack_that_was_named_is_among_them(what: str) -> None:
    test, name = NAMED[what]
    assert name in cases(test), f"{what}: {test.__name__} has no case {name}"
