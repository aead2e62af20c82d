"""The services' namespaces: whoever runs a cluster makes them, and here that is the lab."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab import settings
from lab.loop.places import Places

_LIMIT = 60.0  # seconds


def ensure_namespaces(places: Places, given: Mapping[str, str], services: Iterable[str]) -> None:
    """Make a namespace for each of the services, unless it is there. Raises CdError."""
    listed = _kubectl(places, given, "get", "namespaces", "--output=name").split()
    there = {name.removeprefix("namespace/") for name in listed}
    for service in services:
        if service not in there:
            _kubectl(places, given, "create", "namespace", service)


def forget_namespace(places: Places, given: Mapping[str, str], service: str) -> None:
    """Delete a service's namespace, without waiting for its end."""
    _kubectl(places, given, "delete", "namespace", service, "--wait=false", "--ignore-not-found")


def _kubectl(places: Places, given: Mapping[str, str], *words: str) -> str:
    env = settings.settings(places.layout, given)
    done = process.run(["kubectl", *words], Deadline(_LIMIT, "kubectl"), env=env)
    if not done.ok:
        raise CdError(f"kubectl {words[0]} failed", details=done.stderr[-4:])
    return done.stdout
