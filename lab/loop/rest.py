"""Gerrit's REST interface, as one account."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import requests

from cdlib.errors import CdError, Unavailable
from lab.loop import identity
from lab.loop.places import GERRIT_URL, Places

_PATIENCE = 30.0  # seconds for one answer
_MAGIC = ")]}'"  # what Gerrit puts before JSON, so that no browser runs it


class Rest:
    """Speaks to Gerrit as `user`."""

    def __init__(self, user: str, password: str) -> None:
        self._session = requests.Session()
        self._session.auth = (user, password)
        self._session.trust_env = False  # neither a proxy nor ~/.netrc is for here

    def get(self, path: str, **params: Any) -> Any:
        """What is at `path`; None where there is nothing."""
        answer = self._ask("GET", path, params=params)
        return None if answer.status_code == 404 else self._read(answer)

    def put(self, path: str, body: object = None) -> Any:
        """Create or replace."""
        return self._read(self._ask("PUT", path, json=body))

    def post(self, path: str, body: object = None) -> Any:
        """Do something."""
        return self._read(self._ask("POST", path, json=body))

    def add_ssh_key(self, key: str) -> None:
        """Add a public key to this account; nothing where it is there."""
        headers = {"Content-Type": "text/plain"}
        self._read(self._ask("POST", "accounts/self/sshkeys", data=key, headers=headers))

    def accepted(self) -> bool:
        """Whether the password is this account's."""
        return self._ask("GET", "accounts/self").ok

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{GERRIT_URL}/a/{path}", timeout=_PATIENCE, **options)
        except requests.RequestException as problem:
            raise Unavailable("Gerrit does not answer", details=[str(problem)[:300]]) from problem

    @staticmethod
    def _read(answer: requests.Response) -> Any:
        if not answer.ok:
            said = f"{answer.status_code} {answer.text[:300]}"
            raise CdError(f"Gerrit refused {answer.request.method} {answer.request.url}", details=[said])
        text = answer.text.removeprefix(_MAGIC)
        return json.loads(text) if text.strip() else None


def rest(places: Places, user: str) -> Rest:
    """Gerrit as one of the lab's accounts."""
    return Rest(user, identity.password(places, user))


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
