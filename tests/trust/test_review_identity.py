"""Who is who, and what targets.yaml says of reviews."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cdlib.errors import UsageProblem
from cdlib.review_policy import DEFAULT_MIRRORS, ReviewPolicy
from cdlib.target import read_target
from cdlib.trust.identity import read_people

BOB = {"_account_id": 3, "name": "Bob", "username": "bob", "email": "Bob@example.com", "secondary_emails": ["b@home.example"],
       "registered_on": "2026-01-01", "tags": []}  # fmt: skip
TARGETS = """
version: 1
gerrit:
  url: ssh://cd@gerrit.example.org:29418/
  server_id: 6a1c5b9e-0000-4000-8000-7f1d2c3b4a59
  mail: gerrit@example.com
  accounts: [accounts.json, former.json]
  same_person: [[bob, bob-admin]]
environments: {production: {}}
services:
  hello:
    image: r.test/hello
    review: {branch: main, merged_from: [dev/x], approvers: [bob], verifiers: [zuul], since: %s, accept: [%s]}
    environments: {production: {namespace: p, release: hello}}
  other:
    image: r.test/other
    environments: {production: {namespace: p, release: other}}
"""


def table(folder: Path, *entries: object, name: str = "accounts.json", magic: str = "") -> Path:
    (folder / name).write_text(magic + json.dumps(entries))
    return folder / name


def test_accounts_as_gerrit_lists_them(tmp_path: Path) -> None:
    dave = {"_account_id": 5, "username": "dave", "inactive": True}
    people = read_people([table(tmp_path, BOB, dave, {"_account_id": 6}, magic=")]}'\n")], [["bob", "bob-admin"]])
    assert [people.name(n) for n in (3, 5, 6, 7)] == ["bob", "dave", "account 6", "the unknown account 7"]
    assert people.owners("bob@EXAMPLE.com") == people.owners("b@home.example") == {"bob"}
    assert people.owners("nobody@example.com") == people.owners("") == frozenset()
    assert [people.active(n) for n in (3, 5, 6, 7)] == [True, False, True, False]


def test_a_mail_stays_with_everybody_who_ever_had_it(tmp_path: Path) -> None:
    carol = {"_account_id": 4, "username": "carol", "email": "b@home.example"}
    moved = {**BOB, "secondary_emails": []}
    former = table(tmp_path, BOB, name="former.json")
    people = read_people([table(tmp_path, moved, carol), former])
    assert people.owners("b@home.example") == {"bob", "carol"}


def test_somebody_without_an_account_made_known_by_hand(tmp_path: Path) -> None:
    outside = {"_account_id": 0, "username": "outside", "email": "someone@example.net"}
    people = read_people([table(tmp_path, BOB), table(tmp_path, outside, name="outside.json")])
    assert people.owners("someone@example.net") == {"outside"}


def test_two_accounts_of_one_person(tmp_path: Path) -> None:
    admin = {"_account_id": 9, "username": "bob-admin", "email": "admin@example.com"}
    people = read_people([table(tmp_path, BOB, admin)], [["bob", "bob-admin"]])
    assert people.person(3) == people.person(9) and people.owners("admin@example.com") == people.owners(
        "bob@example.com"
    )


def test_a_great_many_accounts_take_no_longer_each(tmp_path: Path) -> None:
    """Anybody may register where that is open: a table of 100,000 accounts is read and asked in some seconds."""
    mails = [f"user{n}@example.com" for n in range(100_000)]
    accounts = [{"_account_id": n, "username": f"user{n}", "email": mail} for n, mail in enumerate(mails)]
    file, began = table(tmp_path, *accounts), time.process_time()
    people = read_people([file])
    assert [people.owners(mail) for mail in mails[:5000]] == [{f"user{n}"} for n in range(5000)]
    assert people.named("user7") == people.accounts[7] and people.named("") is people.named("nobody") is None
    assert time.process_time() - began < 10, "as many comparisons as accounts take minutes"


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "is no JSON"), ("[" * 3000 + "]" * 3000, "is no JSON"), ("{}", "is no list"), ("[1]", "is no list"), ('[{"_account_id": "3"}]', "has no number"),
     ('[{"_account_id": true}]', "has no number"), ('[{"_account_id": 3, "_more_accounts": true}]', "is cut short"),
     ('[{"_account_id": 1, "username": "x"}, {"_account_id": 2, "username": "x"}]', "two accounts")],
)  # fmt: skip
def test_tables_that_are_none(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "accounts.json").write_text(content)
    with pytest.raises(UsageProblem, match=words):
        read_people([tmp_path / "accounts.json"])
    with pytest.raises(UsageProblem, match="No such file"):
        read_people([tmp_path / "none.json"])


def targets(folder: Path, text: str = TARGETS % ("a" * 40, "b" * 40)) -> Path:
    (folder / "targets.yaml").write_text(text)
    return folder / "targets.yaml"


def test_what_targets_yaml_says_of_reviews(tmp_path: Path) -> None:
    target = read_target(targets(tmp_path), "hello")
    gerrit, policy = target.gerrit, target.review
    assert gerrit and policy
    assert gerrit.url == "ssh://cd@gerrit.example.org:29418" and str(gerrit.mirrors) == DEFAULT_MIRRORS
    assert gerrit.accounts == (tmp_path / "accounts.json", tmp_path / "former.json")
    assert gerrit.same_person == (("bob", "bob-admin"),)
    assert policy == ReviewPolicy(branch="main", merged_from=("dev/x",), approvers=frozenset(["bob"]),
                                  verifiers=frozenset(["zuul"]), since="a" * 40, accept=frozenset(["b" * 40]))  # fmt: skip
    assert policy.votes == {"Code-Review": 2, "Verified": 2} and policy.voters("Code-Review") == {"bob"}
    assert read_target(targets(tmp_path), "other").review is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("branch: main", "branch: refs/heads/main"), ("branch: main", "branch: --all"), ("branch: main", "branch: a..b"),
     ("approvers: [bob]", "approvers: []"), ("approvers: [bob], ", ""), ("since: a", "since: x"),
     ("ssh://cd@gerrit.example.org:29418/", "ext::sh -c x"),
     ("approvers: [bob]", "approvers: [bob], approvals: {}"),
     ("approvers: [bob]", "approvers: [bob], approvals: {Code-Review: 0}")],
)  # fmt: skip
def test_what_reviews_may_not_be(tmp_path: Path, old: str, new: str) -> None:
    text = TARGETS % ("a" * 40, "b" * 40)
    assert old in text
    with pytest.raises(UsageProblem) as caught:
        read_target(targets(tmp_path, text.replace(old, new, 1)), "hello")
    assert "1 mistake" in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["ssh://cd:secret@gerrit.example.org", "https://cd:secret@gerrit.example.org/x"])
def test_a_password_does_not_belong_there_and_is_not_repeated(tmp_path: Path, url: str) -> None:
    text = (TARGETS % ("a" * 40, "b" * 40)).replace("ssh://cd@gerrit.example.org:29418/", url)
    with pytest.raises(UsageProblem, match="has a password") as caught:
        read_target(targets(tmp_path, text), "hello")
    assert "secret" not in repr((caught.value.message, caught.value.hint, caught.value.details))
