"""Who we are to Gerrit: a user name and an HTTP password, from the environment or a file, never from argv."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdlib.errors import UsageProblem
from cdlib.given import given_text

USER = "CD_GERRIT_USER"
PASSWORD = "CD_GERRIT_PASSWORD"
PASSWORD_FILE = "CD_GERRIT_PASSWORD_FILE"
_HINT = "Gerrit makes an account's HTTP password under Settings, HTTP Credentials"


@dataclass(frozen=True)
class Credentials:
    """A Gerrit account's name and HTTP password."""

    user: str
    password: str

    @property
    def basic(self) -> str:
        """What goes into the Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        return (self.password, self.basic.removeprefix("Basic "))


def read_credentials(
    environment: Mapping[str, str] | None = None, *, whose: str = "the account that comments"
) -> Credentials:
    """The credentials of CD_GERRIT_USER and CD_GERRIT_PASSWORD, or CD_GERRIT_PASSWORD_FILE; `whose` they have to be.

    Raises UsageProblem that names the variable which is missing.
    """
    env = os.environ if environment is None else environment
    user, password = env.get(USER, ""), env.get(PASSWORD, "")
    if not user or ":" in user:  # what Basic authentication cannot say (RFC 7617)
        raise UsageProblem(f"{USER} is not set to a user name", hint=f"set it to {whose}")
    if not password and env.get(PASSWORD_FILE):
        password = _read(Path(env[PASSWORD_FILE]))
    if not password:
        raise UsageProblem(f"neither {PASSWORD} nor {PASSWORD_FILE} is set", hint=_HINT)
    return Credentials(user, password)


def _read(file: Path) -> str:
    password = given_text(file, PASSWORD_FILE, hint=_HINT).rstrip("\n")
    if not password:
        raise UsageProblem(f"{PASSWORD_FILE} {file} is empty", hint=_HINT)
    return password
