"""Tests here run against real Gerrit and Zuul as well as Docker, a registry and Kubernetes: the lab with its loop."""

from collections.abc import Iterator

import pytest
from browser import browser
from planted import GARDEN, plant_private_files

from lab.loop.actors import Loop
from lab.loop.testing import loop

__all__ = ["browser", "loop"]
_MOST = 100_000  # files of logs and artifacts


@pytest.fixture(scope="session", autouse=True)
def _no_secret_in_any_log(loop: Loop) -> Iterator[None]:
    """After all tests: the logs of Zuul's jobs and of all servers, Jenkins' builds, artifacts and workspaces, and
    what was said on changes have none of the lab's secrets. No server keeps any in these places."""
    yield
    places = loop.places
    plant_private_files(places.accounts)  # the agents' tokens are renewed meanwhile
    assert GARDEN.values, "nothing is planted, so nothing would be found"
    found = GARDEN.search(places.job_logs, places.jenkins, places.layout.logs, most=_MOST, strict=True)
    asked = {"q": "is:open OR is:closed", "n": 500, "o": "MESSAGES"}
    for change in loop.gerrit("admin").get("changes/", **asked):
        found += [f"change {change['_number']} has {name}" for name in GARDEN.names_in(str(change).encode())]
    assert not found, "; ".join(found)
