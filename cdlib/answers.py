"""What answers over HTTP have in common, whichever server gives them. What each means is its client's to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from cdlib.deadline import Deadline

if TYPE_CHECKING:
    import requests
    import urllib3

_PIECE = 64 * 1024  # bytes
_ROUNDING = timedelta(seconds=2)  # a Date has whole seconds, and has been on its way


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def staying_session() -> requests.Session:
    """A session of `requests` that looks at no redirect's target.

    Even where it is told not to follow, requests reads a redirect's body for as long as it drips, and raises
    ValueError where the target is no address.
    """
    import requests

    session = requests.Session()
    session.get_redirect_target = lambda resp: None  # type: ignore[method-assign]
    return session


def arriving(response: urllib3.BaseHTTPResponse, deadline: Deadline, doing: str) -> Iterator[bytes]:
    """The body, decoded, as it arrives. Raises OutOfTime where it drips, and what urllib3 raises.

    `stream` waits until a piece is full: one byte now and then keeps it for as long as the sender likes, since a
    socket's time limit counts from byte to byte.
    """
    while piece := response.read1(_PIECE, decode_content=True):
        yield piece
        deadline.require(doing)


def pieces(response: requests.Response, deadline: Deadline, doing: str) -> Iterator[bytes]:
    """What is `arriving`, of a response of `requests`. Raises OutOfTime, and what `iter_content` raises."""
    import requests
    from urllib3 import exceptions

    try:
        yield from arriving(response.raw, deadline, doing)
    except exceptions.SSLError as problem:
        raise requests.exceptions.SSLError(problem) from problem
    except exceptions.TimeoutError as problem:
        raise requests.exceptions.ReadTimeout(problem) from problem
    except (exceptions.HTTPError, OSError) as problem:
        raise requests.exceptions.ConnectionError(problem) from problem


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a Retry-After header asks for, given as a number or as a date (RFC 9110, 10.2.3); 0 without one."""
    value = headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # a year or a zone that no calendar has
        return 0.0


def ahead(headers: Mapping[str, str]) -> timedelta | None:
    """By how much the clock of who has just answered is ahead of ours, by its Date (RFC 9110, 6.6.1); None without one.

    Less than what that can tell is none.
    """
    try:
        found = parsedate_to_datetime(headers.get("Date", "")) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if abs(found) > _ROUNDING else timedelta()


def words(body: bytes) -> str:
    """The first words of a plain answer; nothing of a page that something in between has made."""
    text = body[:4000].decode("utf-8", "replace")
    return "" if "<html" in text.lower() else " ".join(text.split())[:300]
