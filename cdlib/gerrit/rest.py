"""HTTP to one Gerrit: who we are, limits, and what each answer means.

Answers as Gerrit 3.10.2 was measured to give them; docs/gerrit.md lists them.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdlib.answers import pieces, retry_after, staying_session, words
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Refused, Unavailable, UsageProblem
from cdlib.gerrit.credentials import USER, Credentials
from cdlib.network import is_loopback, named_authority

if TYPE_CHECKING:
    import requests

_CONNECT = 5.0  # seconds
_READ = 30.0  # seconds without a byte
_LARGEST = 8 * 2**20  # bytes of one answer; a change of 5000 messages, Gerrit's own limit, stays below
_MAGIC = b")]}'"  # comes before JSON, so that no browser runs it
Parameters = Sequence[tuple[str, str]]


class Rest:
    """Gerrit's REST interface at `url`, as one account, by `deadline`. Nothing is tried twice here."""

    def __init__(self, url: str, who: Credentials, deadline: Deadline) -> None:
        self.url = _checked(url)
        self._deadline = deadline
        self._session = staying_session()
        # Neither ~/.netrc nor a variable decides who we are; proxies and authorities are taken on purpose below.
        self._session.trust_env = False
        self._session.verify = named_authority() or True
        self._session.headers.update({"Authorization": who.basic, "User-Agent": "cdlib", "Accept": "application/json"})

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, doing: str, parameters: Parameters = ()) -> Any:
        """What is at `path`, below the address. `doing` completes "while …" in messages."""
        return self._exchange("GET", path, doing, parameters, None)

    def post(self, path: str, doing: str, body: object) -> Any:
        """What comes back for `body`. An error says nothing on whether Gerrit has done it."""
        return self._exchange("POST", path, doing, (), body)

    def _exchange(self, method: str, path: str, doing: str, parameters: Parameters, body: object) -> Any:
        left = self._deadline.require(doing)
        address = f"{self.url}/a/{path}"
        with _connection_errors(self.url, doing):
            response = self._session.request(
                method,
                address,
                params=list(parameters),
                json=body,
                timeout=(min(_CONNECT, left), min(_READ, left)),
                # The password is for this server alone, and Gerrit's REST interface sends nobody elsewhere.
                allow_redirects=False,
                proxies=_proxies(address),
                stream=True,
            )
            with response:
                content = self._read(response, doing)
        if response.status_code not in (200, 201):
            raise self._problem(response, content, doing)
        return self._parsed(content, doing)

    def _read(self, response: requests.Response, doing: str) -> bytes:
        whole = bytearray()
        for piece in pieces(response, self._deadline, doing):
            whole += piece
            if len(whole) > _LARGEST:
                raise UsageProblem(f"{self.url} sent more than {_LARGEST} bytes while {doing}", hint="is it a Gerrit?")
        return bytes(whole)

    def _parsed(self, content: bytes, doing: str) -> Any:
        text = content.removeprefix(_MAGIC)
        if not content.startswith(_MAGIC):
            raise UsageProblem(f"{self.url} answers what no Gerrit does while {doing}", hint="mend its address")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as problem:
            raise Unavailable(f"{self.url} sent no whole JSON while {doing}", hint="run this again") from problem

    def _problem(self, response: requests.Response, content: bytes, doing: str) -> CdError:
        """The error for an answer that is no success; Gerrit gives its reason as plain text."""
        status, said = response.status_code, words(content)
        what = f"{self.url} answers {status} while {doing}" + (f": {said}" if said else "")
        if status == 401:
            return NotAllowed(what, hint=f"check {USER} and its HTTP password")
        if status == 403:
            return NotAllowed(what, hint="give the account that right on the project in Gerrit")
        if status == 429 or status >= 500:
            return Unavailable(
                what, hint="see that Gerrit runs, then run this again", retry_after=retry_after(response.headers)
            )
        if status == 409:
            return Refused(what, hint="see the change's state in Gerrit")
        if status == 404:
            return UsageProblem(what, hint="check the address, and that the account may see the change")
        if 300 <= status < 400:
            return UsageProblem(what, hint=f"it sends us to {response.headers.get('Location', '')[:200]}: "
                                "give the address that Gerrit itself has")  # fmt: skip
        return UsageProblem(what, hint="check the address and the options")


def _checked(url: str) -> str:
    """`url` without a slash at its end. Raises UsageProblem where it is no address, or has a password in it."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageProblem(f"{url[:200]!r} is no address of a Gerrit", hint="write it as https://review.example.org")
    if parts.username is not None or parts.password is not None:
        raise UsageProblem("Gerrit's address has a user in it", hint="give name and password by environment")
    return url.rstrip("/")


def in_the_clear(url: str) -> bool:
    """Whether a password would travel to another machine without TLS."""
    return url.startswith("http://") and not is_loopback(urllib.parse.urlsplit(url).netloc)


def _proxies(url: str) -> dict[str, str]:
    """The proxies that the environment names for `url`; this machine's own servers need none."""
    import requests

    return {} if is_loopback(urllib.parse.urlsplit(url).netloc) else dict(requests.utils.get_environ_proxies(url))


@contextmanager
def _connection_errors(url: str, doing: str) -> Iterator[None]:
    """Turn what requests raises into our errors."""
    import requests

    try:
        yield
    except requests.exceptions.SSLError as problem:
        raise Unavailable(f"no trusted TLS connection to {url} while {doing}: {_reason(problem)}", retryable=False,
                          hint="give its authority by REQUESTS_CA_BUNDLE") from problem  # fmt: skip
    except requests.exceptions.Timeout as problem:
        raise Unavailable(f"{url} did not answer in time while {doing}", hint="see that Gerrit runs") from problem
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as problem:
        raise UsageProblem(f"{url} is no address of a Gerrit", hint="mend it") from problem
    except requests.exceptions.RequestException as problem:
        raise Unavailable(
            f"{url} cannot be reached while {doing}: {_reason(problem)}", hint="see that Gerrit runs"
        ) from problem


def _reason(problem: BaseException) -> str:
    """The innermost reason, in words: requests wraps urllib3, which wraps the socket's own."""
    while inner := next((each for each in (getattr(problem, "reason", None), *problem.args)
                         if isinstance(each, BaseException)), None):  # fmt: skip
        problem = inner
    return (str(problem) or type(problem).__name__).rpartition(": ")[2][:200]
