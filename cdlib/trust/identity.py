"""Who is who in Gerrit: accounts, all of their mails, and which accounts are one person's.

Read from what the operators have exported by Gerrit's REST interface (docs/trust.md). Reading it from All-Users would
take the capability Access Database, which shows every password's hash and lets one forge the very records that are
to be proved.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cdlib.errors import UsageProblem

_MAGIC = ")]}'"  # what Gerrit puts before JSON
_HINT = "export it again, as docs/trust.md shows"


@dataclass(frozen=True)
class Account:
    """One account. A mail that was ever its own stays so: it must not vote on what it once wrote."""

    id: int
    username: str
    mails: frozenset[str]
    active: bool


@dataclass(frozen=True)
class People:
    """All accounts, by their numbers; `same` are usernames of one person each."""

    accounts: Mapping[int, Account]
    same: Sequence[Sequence[str]] = ()

    def name(self, account: int) -> str:
        """What to call an account."""
        known = self.accounts.get(account)
        return known.username or f"account {account}" if known else f"the unknown account {account}"

    def person(self, account: int) -> str:
        """The same word for all accounts of a person."""
        name = self.name(account)
        return next((min(names) for names in self.same if name in names), name)

    def named(self, username: str) -> Account | None:
        """The account of this name."""
        return self._by_name.get(username)

    def owners(self, mail: str) -> frozenset[str]:
        """Everybody whose mail this is or was; nobody where no account has it."""
        return frozenset(self.person(account) for account in self._by_mail.get(mail.casefold(), ()))

    def active(self, account: int) -> bool:
        """Whether the account is known and not disabled."""
        known = self.accounts.get(account)
        return known is not None and known.active

    # Anybody may register where that is open, and every commit asks: nobody looks through all accounts each time.
    @cached_property
    def _by_name(self) -> dict[str, Account]:
        return {account.username: account for account in self.accounts.values() if account.username}

    @cached_property
    def _by_mail(self) -> dict[str, list[int]]:
        found = defaultdict[str, list[int]](list)
        for account in self.accounts.values():
            for mail in account.mails:
                found[mail].append(account.id)
        return found


def read_people(paths: Iterable[Path], same: Sequence[Sequence[str]] = ()) -> People:
    """The accounts in these files, each a list as `GET /accounts/?o=DETAILS&o=ALL_EMAILS` answers.

    Where several files have an account, its mails are those of all, and the rest is the first one's. Raises
    UsageProblem.
    """
    accounts: dict[int, Account] = {}
    for path in paths:
        for entry in _read(path):
            found = _account(path, entry)
            before = accounts.get(found.id, found)
            accounts[found.id] = Account(found.id, before.username, before.mails | found.mails, before.active)
    names = Counter(account.username for account in accounts.values() if account.username)
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise UsageProblem(f"two accounts of the table have the name {twice[0]}", hint=_HINT)
    return People(accounts, same)


def _read(path: Path) -> list[Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8").removeprefix(_MAGIC))
    except OSError as problem:
        raise UsageProblem(
            f"table of accounts {path}: {problem.strerror}", hint="see gerrit.accounts in targets.yaml"
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise UsageProblem(f"table of accounts {path} is no JSON", hint=_HINT) from problem
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise UsageProblem(f"table of accounts {path} is no list of accounts", hint=_HINT)
    if any(entry.get("_more_accounts") for entry in document):
        raise UsageProblem(f"table of accounts {path} is cut short: Gerrit has more", hint="ask for them by n= and S=")
    return document


def _account(path: Path, entry: Mapping[str, Any]) -> Account:
    number, name = entry.get("_account_id"), entry.get("username", "")
    mails = [entry.get("email"), *entry.get("secondary_emails", [])]
    if type(number) is not int or not isinstance(name, str):
        raise UsageProblem(f"table of accounts {path}: an account has no number", hint=_HINT)
    known = frozenset(mail.casefold() for mail in mails if isinstance(mail, str) and mail)
    return Account(number, name, known, not entry.get("inactive", False))
