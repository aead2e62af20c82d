"""HTTP to one registry: who we are, what is worth another try, and what each answer means.

Credentials go to the registry and to the token server that it names, over TLS, and nowhere else.
"""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable
from cdlib.image.answers import Answer, connection_errors, problem_of, read_body
from cdlib.image.auth import Challenge, Credentials, find_credentials, parse_challenges
from cdlib.retry import retrying

if TYPE_CHECKING:
    import requests

CONNECT = 5.0  # seconds
READ = 30.0  # seconds without a byte
_HUB = {"docker.io": "registry-1.docker.io"}
Scopes = tuple[str, ...]
Body = bytes | Iterable[bytes] | None


def is_loopback(host: str) -> bool:
    """Whether `host`, perhaps with a port, is this machine: registries there speak plain http, as Docker has it."""
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class Transport:
    """Requests to the registry `host`, by `deadline`. `hide` is told of every secret before it travels."""

    def __init__(
        self,
        host: str,
        deadline: Deadline,
        *,
        plain_http: bool = False,
        hide: Callable[[Iterable[str]], None] = lambda _: None,
        credentials: Callable[[str], Credentials | None] = find_credentials,
        attempts: int = 5,
    ) -> None:
        import requests

        self.host = host
        self.deadline = deadline
        self.attempts = attempts
        self.scheme = "http" if plain_http or is_loopback(host) else "https"
        self.base = f"{self.scheme}://{_HUB.get(host, host)}"
        self._hide = hide
        self._look_up = credentials
        self._found: list[Credentials | None] = []
        self._headers: dict[Scopes, str] = {}
        self._session = requests.Session()
        # Neither ~/.netrc nor a variable decides who we are; proxies and authorities are taken on purpose below.
        self._session.trust_env = False
        self._session.verify = _authorities(host)

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
    ) -> Answer:
        """The answer to one request, which is tried again where that may help.

        `doing` completes "may not …" and "while …" in messages. Every status but those in `ok` raises; `check`
        may raise too, Unavailable where the answer came damaged. A body that is an iterator is sent once.
        """

        def once() -> Answer:
            with self._open(method, url, doing, scopes, headers, data) as response:
                answer = Answer(response.status_code, response.headers, read_body(response, doing))
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
        with self._open("GET", url, doing, scopes, None, None) as response:
            if response.status_code != 200:
                raise problem_of(
                    Answer(response.status_code, response.headers, read_body(response, doing)), self.host, doing
                )
            yield self._pieces(response, doing)

    def _pieces(self, response: requests.Response, doing: str) -> Iterator[bytes]:
        with connection_errors(self.host, doing):
            for piece in response.iter_content(256 * 1024):
                self.deadline.require(doing)
                yield piece

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        doing: str,
        scopes: Scopes,
        headers: Mapping[str, str] | None,
        data: Body,
    ) -> Iterator[requests.Response]:
        """One exchange; where it asks who we are, a second that says so."""
        absolute = self._absolute(url)
        for again in (False, True):
            with connection_errors(self.host, doing):
                response = self._request(method, absolute, self._signed(absolute, scopes, headers), data, doing)
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
            if response.status_code != 401 or again or not challenges or not self._is_ours(response.url):
                break
            response.close()
            self._authorize(challenges, scopes)
            if data is not None and not isinstance(data, bytes):
                raise Unavailable(f"{self.host} asked who we are in the middle of an upload")  # a retry begins anew
        with response:
            yield response

    def _request(self, method: str, url: str, headers: Mapping[str, str], data: Body, doing: str) -> requests.Response:
        left = self.deadline.require(doing)
        return self._session.request(
            method,
            url,
            headers=dict(headers),
            data=data,
            stream=True,
            timeout=(min(CONNECT, left), min(READ, left)),
            # Only reads follow: blobs live on other hosts, to which requests does not carry Authorization.
            allow_redirects=method in ("GET", "HEAD"),
            proxies=_proxies(url),
        )

    def _absolute(self, url: str) -> str:
        """`url` made absolute; a registry behind a TLS proxy may call itself http, and must not be followed there."""
        absolute = urllib.parse.urljoin(self.base, url)
        if self.scheme == "https" and absolute.startswith("http://") and self._is_ours(absolute):
            return "https" + absolute.removeprefix("http")
        return absolute

    def _is_ours(self, url: str) -> bool:
        return urllib.parse.urlsplit(url).netloc == urllib.parse.urlsplit(self.base).netloc

    def _signed(self, url: str, scopes: Scopes, headers: Mapping[str, str] | None) -> dict[str, str]:
        # Without Accept-Encoding, requests would unpack what has to be stored and compared byte for byte.
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
        with connection_errors(realm.netloc, doing):
            answer = self._ask_token(challenge.realm, wanted, who, doing)
        if answer.status != 200:
            raise problem_of(answer, self.host, doing)
        try:
            document = json.loads(answer.body)
            token = str(document.get("token") or document["access_token"])
        except (ValueError, KeyError, AttributeError) as problem:
            raise Unavailable(f"{realm.netloc} answered without a token") from problem
        self._hide([token])
        return token

    def _ask_token(self, realm: str, wanted: list[tuple[str, str]], who: Credentials | None, doing: str) -> Answer:
        left = self.deadline.require(doing)
        common: dict[str, Any] = {"timeout": (min(CONNECT, left), min(READ, left)), "stream": True,
                                  "allow_redirects": False, "proxies": _proxies(realm)}  # fmt: skip
        if who and who.identity_token:
            scopes = " ".join(value for name, value in wanted if name == "scope")
            form = [*(w for w in wanted if w[0] != "scope"), ("scope", scopes), ("client_id", "cdlib"),
                    ("grant_type", "refresh_token"), ("refresh_token", who.identity_token)]  # fmt: skip
            response = self._session.post(realm, data=form, **common)
        else:
            headers = {"Authorization": who.basic} if who and who.username else {}
            response = self._session.get(realm, params=wanted, headers=headers, **common)
        with response:
            return Answer(response.status_code, response.headers, read_body(response, doing))


def _authorities(host: str) -> str | bool:
    """Whom to believe in TLS: a variable's file, the one Docker keeps for `host`, the system's, certifi's."""
    variables = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    candidates = (*variables, f"/etc/docker/certs.d/{host}/ca.crt", ssl.get_default_verify_paths().cafile)
    return next((path for path in candidates if path and os.path.exists(path)), True)


def _proxies(url: str) -> dict[str, str]:
    """The proxies that the environment names for `url`; this machine's own servers need none."""
    import requests

    if is_loopback(urllib.parse.urlsplit(url).netloc):
        return {}
    return dict(requests.utils.get_environ_proxies(url))
