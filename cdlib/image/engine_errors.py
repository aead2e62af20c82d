"""What Docker Engine and docker-py say of failures, as our errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cdlib.errors import DISK_FULL, CdError, NotAllowed, RegistryRefused, Unavailable, UsageProblem, disk_full

_DENIED = ("unauthorized", "denied", "authentication required", "no basic auth credentials", "forbidden")
_UNKNOWN = ("name unknown", "manifest unknown", "not found", "404")
_AWAY = (
    "connection refused", "connection reset", "i/o timeout", "no such host", "eof", "tls handshake", "toomanyrequests",
    "unexpected http status", "unexpected status", "429", "503", "server gave http response",
)  # fmt: skip


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn docker-py's errors into ours."""
    import docker.errors
    import requests
    import urllib3

    try:
        yield
    except docker.errors.APIError as problem:
        raise _api_problem(problem, doing) from problem
    except (
        docker.errors.DockerException,
        requests.exceptions.RequestException,
        urllib3.exceptions.HTTPError,
    ) as problem:
        said = str(problem)
        if "Permission denied" in said:
            raise NotAllowed(
                f"this user may not speak to Docker while {doing}",
                hint="join the group docker, or set DOCKER_HOST to an Engine that you may use",
            ) from problem
        if DISK_FULL in said.lower():
            raise disk_full("that of the Docker Engine") from problem
        if "redential" in said:
            raise UsageProblem(
                f"credentials cannot be read while {doing}: {said}", hint="mend docker's config.json or its helper"
            ) from problem
        raise Unavailable(
            f"no Docker Engine answers at {os.environ.get('DOCKER_HOST') or 'its usual socket'} while {doing}",
            details=[said.splitlines()[0][:300]] if said else [],
            hint="start Docker, or set DOCKER_HOST; `docker version` shows whether it answers",
        ) from problem


def _api_problem(problem: Any, doing: str) -> CdError:
    said = str(problem.explanation or problem)
    if DISK_FULL in said.lower():
        return disk_full("that of the Docker Engine")
    if problem.status_code in (401, 403):
        return NotAllowed(f"Docker does not allow {doing}: {said}", hint="ask whoever runs this Docker Engine")
    if problem.status_code is not None and problem.status_code >= 500:
        return Unavailable(f"Docker failed while {doing}: {said}", hint="see the Docker Engine's own log")
    return UsageProblem(f"Docker refused {doing}: {said}", hint="mend what it names")


def transfer_problem(said: str, doing: str, host: str) -> CdError:
    """The error for what the Engine says of a push or a pull that failed: it has words only, no codes."""
    lower = said.lower()
    if DISK_FULL in lower or '"err":28' in lower:
        return disk_full("that of the Docker Engine or the registry")
    if any(word in lower for word in _DENIED):
        return NotAllowed(f"not allowed while {doing}: {said}", hint=f"docker login {host}, with an account that may")
    if any(word in lower for word in _UNKNOWN):
        return RegistryRefused(f"refused while {doing}: {said}", hint=f"check the name, and that {host} has it")
    if any(word in lower for word in _AWAY):
        return Unavailable(f"the registry failed while {doing}: {said}", hint="check that it runs, and run this again")
    return Unavailable(f"failed while {doing}: {said}", hint="see the Docker Engine's log", retryable=False)
