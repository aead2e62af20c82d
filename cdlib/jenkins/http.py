"""HTTP to one Jenkins server: who we are, and how long we wait for it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

from cdlib.answers import Answer, pieces, staying_session
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable, UsageProblem
from cdlib.jenkins.answers import connection_errors, problem_of
from cdlib.retry import patiently

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
CONNECT = 5.0  # seconds
READ = 30.0  # seconds without a byte
PATIENCE = (
    180.0  # seconds that a server may be gone; a restart with plugins took 25 s, and takes minutes on a large one
)
_NEARLY_OVER = 0.05  # seconds
_LARGEST = 16 * 2**20  # bytes of a document
_HOPS = 5  # redirects that an artifact may take
_REDIRECTS = (301, 302, 303, 307, 308)
_SESSION = "X-Jenkins-Session"


class Server:
    """One Jenkins server. Every call ends by its deadline; one that may be repeated waits `patience` seconds."""

    def __init__(
        self,
        url: str,
        user: str,
        token: str,
        *,
        patience: float = PATIENCE,
        on_trouble: Callable[[str], None] = lambda _: None,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageProblem(
                f"{parts.hostname or url!r} is no usable address of a Jenkins server",
                hint="give --url or JENKINS_URL as https://HOST/, without user and password",
            )
        self.url = url.rstrip("/") + "/"
        self.host = parts.netloc
        self.user = user
        self.patience = patience
        self.start = ""  # names the server's life since its last start; another after each restart
        self._on_trouble = on_trouble
        self._crumb: dict[str, str] = {}
        self._session = _session(user, token)

    def read(self, path: str, doing: str, deadline: Deadline, **query: str) -> dict[str, Any] | None:
        """The JSON document at `path`, or None where there is none (404), which may also mean no right to see it."""
        answer = self.patiently(lambda: self.send("GET", path, doing, deadline, ok=(200, 404), query=query), deadline)
        if answer.status == 404:
            return None
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise UsageProblem(
                f"{self.host} answers with no JSON while {doing}", hint="does JENKINS_URL lead to Jenkins?"
            )
        return document

    def act(self, path: str, doing: str, deadline: Deadline, *, ok: tuple[int, ...]) -> Answer:
        """POST without a body, to something that may be asked for twice."""
        return self.patiently(lambda: self.send("POST", path, doing, deadline, ok=ok, form={}), deadline)

    def patiently(self, call: Callable[[], T], deadline: Deadline) -> T:
        """What `call` returns, tried again while the server is gone, for `patience` seconds at most."""

        def tell(problem: Unavailable) -> None:
            self._on_trouble(f"{problem.message}; waiting for up to {self.patience:g} s")

        return patiently(call, deadline.part(self.patience, f"waiting for {self.host}"), tell)

    def send(
        self,
        method: str,
        path: str,
        doing: str,
        deadline: Deadline,
        *,
        ok: tuple[int, ...],
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One exchange; where it wants a crumb, a second that brings one. Raises for each status not in `ok`."""
        for again in (False, True):
            with self._open(method, path, doing, deadline, query, form) as response:
                answer = Answer(response.status_code, response.headers, self._body(response, doing, deadline))
            if answer.status == 403 and method == "POST" and b"No valid crumb" in answer.body and not again:
                self._crumb = self._new_crumb(deadline)
                continue
            break
        if answer.status not in ok:
            raise problem_of(answer, self.host, self.user, doing)
        return answer

    def download(
        self, path: str, doing: str, deadline: Deadline, into: IO[bytes], limit: int, *, away: bool = False
    ) -> Answer:
        """Write the body at `path` to `into`, whole or not at all; 404 is returned like 200.

        With `away`, a redirect is followed: Jenkins may keep artifacts at another server, such as S3.
        """

        def once() -> Answer:
            into.seek(0)
            into.truncate()
            with self._arrived(path, doing, deadline, away) as (response, host):
                if response.status_code not in (200, 404):
                    answer = Answer(response.status_code, response.headers, self._body(response, doing, deadline))
                    raise problem_of(answer, host, self.user, doing)
                for piece in pieces(response, deadline, doing) if response.status_code == 200 else ():
                    into.write(piece)
                    if into.tell() > limit:
                        raise CdError(
                            f"{self.host} sends more than {limit} bytes while {doing}",
                            hint="have the build archive less",
                        )
                return Answer(response.status_code, response.headers, b"")

        return self.patiently(once, deadline)

    @contextmanager
    def _arrived(
        self, path: str, doing: str, deadline: Deadline, away: bool
    ) -> Iterator[tuple[requests.Response, str]]:
        """The answer at `path`, or with `away` the one that redirects lead to, and the host that gives it."""
        with ExitStack() as opened:
            response = opened.enter_context(self._open("GET", path, doing, deadline, None, None))
            host, address = self.host, self.url + path
            for _ in range(_HOPS if away else 0):
                if response.status_code not in _REDIRECTS or not _may_follow(address, response):
                    break
                address = urllib.parse.urljoin(address, response.headers["Location"])
                host = urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
                opened.close()
                response = opened.enter_context(_foreign(address, host, doing, deadline))
            yield response, host

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        doing: str,
        deadline: Deadline,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
    ) -> Iterator[requests.Response]:
        left = deadline.require(doing)
        headers = {"User-Agent": "cdlib", **(self._crumb if method == "POST" else {})}
        timeout = (min(CONNECT, left), min(READ, left))
        with (
            _by(deadline, doing),
            connection_errors(self.host, doing),
            self._session.request(
                method,
                self.url + path,
                params=query,
                data=form,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # else our token would travel to wherever a proxy sends us
                stream=True,
            ) as response,
        ):
            self.start = response.headers.get(_SESSION, self.start)
            yield response

    def _body(self, response: requests.Response, doing: str, deadline: Deadline) -> bytes:
        whole = bytearray()
        for piece in pieces(response, deadline, doing):
            whole += piece
            if len(whole) > _LARGEST:
                raise CdError(
                    f"{self.host} sends more than {_LARGEST} bytes while {doing}",
                    hint="check JENKINS_URL: is that Jenkins?",
                )
        return bytes(whole)

    def _new_crumb(self, deadline: Deadline) -> dict[str, str]:
        """A crumb, which a password needs and an API token does not; the cookie of its session stays with ours."""
        answer = self.send("GET", "crumbIssuer/api/json", "asking for a crumb", deadline, ok=(200,))
        try:
            document = json.loads(answer.body)
            return {str(document["crumbRequestField"]): str(document["crumb"])}
        except (ValueError, LookupError, TypeError, RecursionError) as problem:
            raise UsageProblem(
                f"{self.host} answers with no crumb", hint="does JENKINS_URL lead to Jenkins?"
            ) from problem


def _session(user: str = "", token: str = "") -> requests.Session:
    """A session that follows no redirect by itself, and is `user`, or nobody."""
    session = staying_session()
    # ~/.netrc does not decide who we are; a function is left alone where a pair would be looked up.
    session.auth = (user, token) if user else lambda request: request
    return session


def _may_follow(address: str, response: requests.Response) -> bool:
    """Whether a redirect from `address` leads to http or https, and not out of TLS."""
    try:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(address, response.headers.get("Location", "")))
    except ValueError:
        return False
    allowed = ("https",) if address.startswith("https:") else ("http", "https")
    return "Location" in response.headers and parts.scheme in allowed and bool(parts.hostname)


@contextmanager
def _foreign(address: str, host: str, doing: str, deadline: Deadline) -> Iterator[requests.Response]:
    """The answer of whoever Jenkins sends us to. A session of its own: neither our token nor our cookies go there."""
    left = deadline.require(doing)
    with (
        _by(deadline, doing),
        connection_errors(host, doing),
        _session() as session,
        session.get(
            address,
            headers={"User-Agent": "cdlib"},
            timeout=(min(CONNECT, left), min(READ, left)),
            allow_redirects=False,
            stream=True,
        ) as response,
    ):
        yield response


@contextmanager
def _by(deadline: Deadline, doing: str) -> Iterator[None]:
    """Raise OutOfTime in place of Unavailable where it was our own limit that ended an exchange."""
    try:
        yield
    except Unavailable:
        if deadline.left < _NEARLY_OVER:  # what waited for as long as was left may end a moment early
            time.sleep(deadline.left)
        deadline.require(doing)
        raise
