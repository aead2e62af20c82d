"""What a registry's answers mean: bodies read whole or not at all, failures told as our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdlib.answers import Answer, arriving, retry_after, words
from cdlib.deadline import Deadline
from cdlib.errors import DISK_FULL, CdError, NotAllowed, RegistryRefused, Unavailable, Unsettled, disk_full

if TYPE_CHECKING:
    import urllib3

# While two runs upload or mount the same blob, docker-registry 2.8 for a moment does not know it, or takes its digest
# for none, and refuses a manifest that names it (seen with three runs that publish the same image).
_UNSETTLED = ("MANIFEST_BLOB_UNKNOWN", "DIGEST_INVALID")
LARGEST = 4 * 2**20  # bytes of an answer that is kept in memory; the specification's limit for a manifest
NO_ADDRESS = "look at the registry, and at proxies before it: what they answer is not as the specification has it"


def read_answer(
    response: urllib3.BaseHTTPResponse, host: str, doing: str, deadline: Deadline, largest: int = 0
) -> Answer:
    """The answer with its whole body, of `largest` bytes at most (0, and for what is not found or fails: LARGEST).

    A connection that is cut half way is an error, never a short body.
    """
    whole, largest = bytearray(), largest if largest and response.status == 200 else LARGEST
    with response, connection_errors(host, doing):
        for piece in arriving(response, deadline, doing):
            whole += piece
            if len(whole) > largest:
                raise RegistryRefused(f"an answer of more than {largest} bytes came while {doing}",
                                      hint="is this a registry?")  # fmt: skip
    return Answer(response.status, response.headers, bytes(whole))


@contextmanager
def connection_errors(host: str, doing: str) -> Iterator[None]:
    """Turn what urllib3 raises into our errors."""
    from urllib3 import exceptions

    try:
        yield
    except exceptions.SSLError as problem:
        raise Unavailable(
            f"no trusted TLS connection to {host} while {doing}: {_root(problem)}",
            hint="give its authority by REQUESTS_CA_BUNDLE; for a registry that speaks plain http set "
            f"registries.{host}.plain_http in targets.yaml",
            retryable=False,
        ) from problem
    except exceptions.LocationValueError as problem:
        raise RegistryRefused(f"{host} sent an address that is none: {problem}", hint=NO_ADDRESS) from problem
    except (exceptions.HTTPError, OSError) as problem:
        # Of being refused urllib3 says that it is a time-out, too.
        late = isinstance(problem, exceptions.TimeoutError) and not isinstance(problem, exceptions.NewConnectionError)
        if late:
            raise Unavailable(f"{host} did not answer in time while {doing}", hint="run this again later") from problem
        raise Unavailable(
            f"the connection to {host} failed while {doing}: {_root(problem)}",
            hint="check the name and that the registry runs",
        ) from problem


def problem_of(answer: Answer, host: str, doing: str) -> CdError:
    """The error for an answer that is none of the wanted ones."""
    said = _said(answer.body)
    because = f": {said}" if said else ""
    if answer.status in (401, 403):
        return NotAllowed(
            f"{host} does not let us go on ({answer.status}) while {doing}{because}",
            hint=f"docker login {host}, with an account that may do this",
        )
    if answer.status == 507 or DISK_FULL in said.lower() or '"Err":28' in answer.body.decode("utf-8", "replace"):
        return disk_full(f"that of the registry {host}")
    if answer.status == 429 or answer.status >= 500:
        return Unavailable(
            f"{host} answers {answer.status} while {doing}{because}",
            hint="the registry is in trouble or overloaded: run this again later",
            retry_after=retry_after(answer.headers),
        )
    kind = Unsettled if any(code in said for code in _UNSETTLED) else RegistryRefused
    return kind(
        f"{host} refused ({answer.status}) while {doing}{because}",
        hint="check the repository's name in cd.yaml or targets.yaml, and that it exists",
    )


def _root(problem: BaseException) -> str:
    """The innermost reason, in words: urllib3 wraps the socket's own."""
    seen: BaseException = problem
    while True:
        inner = getattr(seen, "reason", None) or next((a for a in seen.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    said = str(getattr(seen, "strerror", None) or seen.args[-1] if seen.args else type(seen).__name__)
    return said.rpartition(": ")[2]


def _said(body: bytes) -> str:
    """The registry's own words, from its JSON errors or plain text."""
    text = body[:4000].decode("utf-8", "replace")
    try:
        errors = json.loads(body)["errors"]
        parts = [": ".join(filter(None, (str(e.get("code", "")), str(e.get("message", ""))))) for e in errors]
        text = "; ".join(parts) + (" (no space left on device)" if DISK_FULL in text.lower() else "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = words(body)
    return text[:300]
