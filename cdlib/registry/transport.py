"""HTTP to one registry: who we are, what is worth another try, and what each answer means.

Credentials go to the registry and to the token server that it names, over TLS, and nowhere else.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from cdlib.answers import Answer, arriving
from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, RegistryRefused, Unavailable
from cdlib.network import is_loopback
from cdlib.registry.answers import NO_ADDRESS, connection_errors, problem_of, read_answer
from cdlib.registry.auth import Challenge, Credentials, find_credentials, parse_challenges
from cdlib.registry.connection import Body, Connections, authority, discard
from cdlib.retry import retrying

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_HUB = {"docker.io": "registry-1.docker.io"}
_REDIRECTS = 10
Scopes = tuple[str, ...]


class Transport:
    """Requests to the registry `host`, by `deadline`. `hide` is told of every secret before it travels."""

    def __init__(
        self,
        host: str,
        deadline: Deadline,
        *,
        plain_http: bool = False,
        hide: Callable[[Iterable[str]], None] = lambda _: None,
        credentials: Callable[[str], Credentials | None] | None = None,
        attempts: int = 5,
    ) -> None:
        self.host = host
        self.deadline = deadline
        self.attempts = attempts
        self.scheme = "http" if plain_http or is_loopback(host) else "https"
        self.base = f"{self.scheme}://{_HUB.get(host, host)}"
        self._hide = hide
        self._look_up = credentials or partial(find_credentials, deadline=deadline)
        self._found: list[Credentials | None] = []
        self._headers: dict[Scopes, str] = {}
        # Neither ~/.netrc nor a variable decides who we are; proxies and authorities are taken on purpose.
        self._connections = Connections(authority(host))

    def send(
        self,
        method: str,
        url: str,
        doing: str,
        *,
        scopes: Scopes,
        ok: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        data: Body = None,
        check: Callable[[Answer], None] | None = None,
        attempts: int = 0,
        largest: int = 0,
    ) -> Answer:
        """The answer to one request, which is tried again where that may help.

        `doing` completes "may not …" and "while …" in messages. Every status but those in `ok` raises; `check`
        may raise too, Unavailable where the answer came damaged. A body that is an iterator is sent once. `largest`
        is how many bytes of an answer are taken, 0 the usual number.
        """

        def once() -> Answer:
            response = self._open(method, url, doing, scopes, headers, data)
            answer = read_answer(response, self.host, doing, self.deadline, largest)
            if answer.status not in ok:
                raise problem_of(answer, self.host, doing)
            if check:
                check(answer)
            return answer

        whole = data is None or isinstance(data, bytes)
        return retrying(once, self.deadline, attempts=(attempts or self.attempts) if whole else 1)

    @contextmanager
    def stream(self, url: str, doing: str, *, scopes: Scopes) -> Iterator[Iterator[bytes]]:
        """The body of a large answer, piece by piece. The caller tries again and checks digests."""
        response = self._open("GET", url, doing, scopes, None, None)
        with response:
            if response.status != 200:
                raise problem_of(read_answer(response, self.host, doing, self.deadline), self.host, doing)
            yield self._pieces(response, doing)

    def _pieces(self, response: BaseHTTPResponse, doing: str) -> Iterator[bytes]:
        with connection_errors(self.host, doing):
            yield from arriving(response, self.deadline, doing)

    def _open(
        self, method: str, url: str, doing: str, scopes: Scopes, headers: Mapping[str, str] | None, data: Body
    ) -> BaseHTTPResponse:
        """One exchange; where it asks who we are, a second that says so."""
        for again in (False, True):
            response, where = self._follow(method, self._absolute(url), doing, scopes, headers, data)
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
            if response.status != 401 or again or not challenges or not self._is_ours(where):
                break
            discard(response)
            self._authorize(challenges, scopes)
            if data is not None and not isinstance(data, bytes):
                # A retry begins anew.
                raise Unavailable(f"{self.host} asked who we are in the middle of an upload", hint="run this again")
        return response

    def _follow(
        self, method: str, url: str, doing: str, scopes: Scopes, headers: Mapping[str, str] | None, data: Body
    ) -> tuple[BaseHTTPResponse, str]:
        """The answer and the address that gave it. Only reads follow: blobs live on other hosts, which are told nothing
        of who we are."""
        for _ in range(_REDIRECTS):
            with connection_errors(self.host, doing):
                signed = self._signed(url, scopes, headers)
                response = self._connections.open(method, url, signed, data, self.deadline, doing)
                onward = response.get_redirect_location() if method in ("GET", "HEAD") else None
                if not onward:
                    return response, url
                discard(response)
                url = self._absolute(_joined(url, onward))
        raise Unavailable(f"{self.host} sends us from one address to the next while {doing}",
                          hint="tell the registry's operators", retryable=False)  # fmt: skip

    def _absolute(self, url: str) -> str:
        """`url` made absolute; a registry behind a TLS proxy may call itself http, and must not be followed there."""
        absolute = _joined(self.base, url)
        if self.scheme == "https" and absolute.startswith("http://") and self._is_ours(absolute):
            return "https" + absolute.removeprefix("http")
        return absolute

    def _is_ours(self, url: str) -> bool:
        """Whether it is the registry's own address: the same host and port, however they are written."""
        usual = 443 if self.scheme == "https" else 80
        try:
            there, here = urllib.parse.urlsplit(url), urllib.parse.urlsplit(self.base)
            same_port = (there.port or usual) == (here.port or usual)
        except ValueError:  # no port
            return False
        return there.hostname == here.hostname and same_port and "@" not in there.netloc

    def _signed(self, url: str, scopes: Scopes, headers: Mapping[str, str] | None) -> dict[str, str]:
        # What has to be stored and compared byte for byte must not come packed.
        signed = {"Accept-Encoding": "identity", "User-Agent": "cdlib", **(headers or {})}
        known = self._headers.get(scopes) if self._is_ours(url) else None
        return {**signed, "Authorization": known} if known else signed

    def _authorize(self, challenges: list[Challenge], scopes: Scopes) -> None:
        """Learn the Authorization header for `scopes`, as the first challenge that we can meet wants it."""
        if not self._found:
            found = self._look_up(self.host)
            self._hide(found.secrets if found else ())
            self._found.append(found)
        who = self._found[0]
        bearer = next((c for c in challenges if c.scheme == "bearer" and c.realm), None)
        if bearer:
            self._headers[scopes] = "Bearer " + self._token(bearer, scopes, who)
        elif who and who.username and any(challenge.scheme == "basic" for challenge in challenges):
            self._headers[scopes] = who.basic

    def _token(self, challenge: Challenge, scopes: Scopes, who: Credentials | None) -> str:
        """A token from the server that the registry names, by the Distribution project's token protocol."""
        realm = urllib.parse.urlsplit(challenge.realm)
        trusted = realm.scheme == "https" or (
            self.scheme == "http"
            and realm.scheme == "http"
            and (is_loopback(realm.netloc) or self._is_ours(challenge.realm))
        )
        if not trusted:
            raise NotAllowed(
                f"{self.host} sends us to {challenge.realm} for a token, which is no https address",
                hint="a registry that speaks TLS must name a token server that does; tell its operators",
            )
        doing = f"asking {realm.netloc} for a token"
        wanted = [("service", challenge.service)] if challenge.service else []
        wanted += [("scope", s) for s in dict.fromkeys([*challenge.scope.split(), *scopes])]
        answer = self._ask_token(challenge.realm, wanted, who, doing)
        if answer.status != 200:
            raise problem_of(answer, self.host, doing)
        try:
            document = json.loads(answer.body)
            token = str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, AttributeError, RecursionError) as problem:
            raise Unavailable(
                f"{realm.netloc} answered without a token",
                hint="look at that token server; it is the one that the registry names",
            ) from problem
        self._hide([token])
        return token

    def _ask_token(self, realm: str, wanted: list[tuple[str, str]], who: Credentials | None, doing: str) -> Answer:
        headers, method, body = {"User-Agent": "cdlib"}, "GET", None
        if who and who.identity_token:
            scopes = " ".join(value for name, value in wanted if name == "scope")
            form = [*(w for w in wanted if w[0] != "scope"), ("scope", scopes), ("client_id", "cdlib"),
                    ("grant_type", "refresh_token"), ("refresh_token", who.identity_token)]  # fmt: skip
            method, body = "POST", urllib.parse.urlencode(form).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            realm += ("&" if urllib.parse.urlsplit(realm).query else "?") + urllib.parse.urlencode(wanted)
            headers |= {"Authorization": who.basic} if who and who.username else {}
        host = urllib.parse.urlsplit(realm).netloc
        with connection_errors(host, doing):
            response = self._connections.open(method, realm, headers, body, self.deadline, doing)
        return read_answer(response, host, doing, self.deadline)


def _joined(base: str, url: str) -> str:
    """`url` as seen from `base`. Raises RegistryRefused where a registry sent what is no address."""
    try:
        return urllib.parse.urljoin(base, url)
    except ValueError as problem:
        raise RegistryRefused(
            f"{urllib.parse.urlsplit(base).netloc} sent an address that is none: {url}", hint=NO_ADDRESS
        ) from problem
