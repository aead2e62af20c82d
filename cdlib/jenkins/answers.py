"""What Jenkins' answers mean, and what the lack of one means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from cdlib.answers import Answer
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem


def problem_of(answer: Answer, host: str, user: str, doing: str) -> CdError:
    """The error for an answer that is none of the wanted ones."""
    who = user or "nobody"
    if answer.status == 401:
        return NotAllowed(
            f"{host} does not accept the name and token of {who} (401) while {doing}",
            hint="check JENKINS_USER and JENKINS_TOKEN; a token ends when it is revoked",
        )
    if answer.status == 403:
        missing = answer.headers.get("X-Required-Permission", "")
        right = f": {missing.rpartition('.model.')[2]} is missing" if missing else ""
        return NotAllowed(
            f"{host} does not let {who} go on (403) while {doing}{right}",
            hint="ask the Jenkins operators for that right on the job",
        )
    said = said_by(answer)
    if answer.status == 503:
        return Unavailable(
            f"{host} is starting, or overloaded (503) while {doing}", hint="run this again when it is up"
        )
    if answer.status == 429 or answer.status >= 500:
        return Unavailable(
            f"{host} answers {answer.status} while {doing}{said}",
            hint="look at the log of Jenkins, or run this again later",
        )
    target = answer.headers.get("Location", "")
    to = f", and sends us to {target.split('?')[0]}" if target else ""
    return UsageProblem(f"{host} answers {answer.status} while {doing}{to}{said}", hint="check JENKINS_URL")


def said_by(answer: Answer) -> str:
    """What a page of HTML or text says, in short, with a colon before it."""
    plain = re.sub(r"<[^>]*>", " ", answer.body[:4000].decode("utf-8", "replace"))
    words = " ".join(plain.split())
    return f": {words[:300]}" if words else ""


@contextmanager
def connection_errors(host: str, doing: str) -> Iterator[None]:
    """Turn what requests raises into our errors."""
    import requests

    try:
        yield
    except requests.exceptions.SSLError as problem:
        raise Unavailable(
            f"no trusted TLS connection to {host} while {doing}",
            hint="give its authority by REQUESTS_CA_BUNDLE",
            retryable=False,
        ) from problem
    except requests.exceptions.RequestException as problem:
        slow = isinstance(problem, requests.exceptions.Timeout)
        what = "did not answer in time" if slow else "cannot be reached"
        raise Unavailable(f"{host} {what} while {doing}", hint="check JENKINS_URL and that Jenkins runs") from problem


def never_sent(problem: Unavailable) -> bool:
    """Whether the request of this error cannot have had any effect: nobody listened, or it was still starting."""
    import requests

    cause = problem.__cause__
    refused = isinstance(cause, requests.exceptions.ConnectionError) and "NewConnectionError" in repr(cause)
    return refused or isinstance(cause, requests.exceptions.ConnectTimeout) or "(503)" in problem.message
