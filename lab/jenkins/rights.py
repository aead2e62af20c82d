"""Who asks, and what they may: users with a password or an API token, crumbs, and Jenkins' answers to the rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets as random
from collections.abc import Mapping

from lab.jenkins.settings import ADMINISTER, Settings, User

_NAMES = {"Overall": "hudson.model.Hudson", "Job": "hudson.model.Item", "Run": "hudson.model.Run"}
_COOKIE = re.compile(r"\bJSESSIONID\.[0-9a-f]+=([0-9a-f]+)")
CRUMB = "Jenkins-Crumb"


class Denied(Exception):
    """An answer that refuses: its status, headers and text."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})


class Caller:
    """Somebody who asks. `session` is the cookie's, where there is one."""

    def __init__(self, user: User | None, *, by_token: bool, session: str) -> None:
        self.user, self.by_token, self.session = user, by_token, session

    @property
    def name(self) -> str:
        """The user's name, as Jenkins calls them."""
        return self.user.name if self.user else "anonymous"

    def may(self, permission: str) -> bool:
        """Whether the caller has a permission such as Job/Build. Administrators have all."""
        return self.user is not None and bool({permission, ADMINISTER} & self.user.may)

    def require(self, permission: str) -> None:
        """Raise Denied, with the permission's name, where the caller lacks it."""
        if not self.may(permission):
            group, _, name = permission.partition("/")
            raise Denied(
                403,
                f"{self.name} is missing the {permission} permission",
                {"X-You-Are-Authenticated-As": self.name, "X-Required-Permission": f"{_NAMES[group]}.{name}"},
            )


class Gate:
    """Tells callers apart. Sessions and crumbs are this start's own."""

    def __init__(self, settings: Settings, session: str) -> None:
        self._users = {user.name: user for user in settings.users}
        self._key = random.token_bytes(16)
        self._cookie = f"JSESSIONID.{session}"

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who asks. Raises Denied (401) where they say a name and do not prove it."""
        found = _COOKIE.search(headers.get("Cookie", ""))
        session = found[1] if found and found[0].startswith(self._cookie + "=") else ""
        kind, _, value = headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return Caller(None, by_token=False, session=session)
        try:
            name, _, proof = base64.b64decode(value).decode().partition(":")
        except ValueError:
            name, proof = "", ""
        user = self._users.get(name)
        for secret, by_token in ((user.token, True), (user.password, False)) if user else ():
            if secret and hmac.compare_digest(secret.encode(), proof.encode()):
                return Caller(user, by_token=by_token, session=session)
        raise Denied(401, "Invalid password/token for user: " + name, {"WWW-Authenticate": 'Basic realm="Jenkins"'})

    def require_crumb(self, caller: Caller, headers: Mapping[str, str]) -> None:
        """Raise Denied where a POST needs a crumb: all do but those by API token."""
        given = headers.get(CRUMB, "")
        right = caller.session and hmac.compare_digest(given, self._crumb(caller.session))
        if not caller.by_token and not right:
            raise Denied(403, "No valid crumb was included in the request")

    def crumb(self, caller: Caller) -> tuple[dict[str, str], dict[str, str]]:
        """The crumb issuer's document, and the headers that carry the session which the crumb is for."""
        session = caller.session or random.token_hex(16)
        document = {"_class": "hudson.security.csrf.DefaultCrumbIssuer", "crumb": self._crumb(session),
                    "crumbRequestField": CRUMB}  # fmt: skip
        return document, {} if caller.session else {"Set-Cookie": f"{self._cookie}={session}; Path=/; HttpOnly"}

    def _crumb(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()
