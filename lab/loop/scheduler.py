"""Zuul's scheduler, asked and told: which projects it works for, and that its configuration has changed.

`python -m lab.loop.scheduler LAB_ROOT` waits until a scheduler that has just started hears of what happens in
Gerrit. It says that it is ready before it does: a change that is pushed in between is never checked, and after a
crash that is as long as ZooKeeper takes to give the old scheduler up.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import requests

from cdlib.errors import Unavailable
from lab import ports, processes
from lab.loop import jobs
from lab.loop.places import GERRIT_SSH_PORT, TENANT, ZUUL_URL, Places

_CONNECTED = 90.0  # seconds
_RECONFIGURED = 60.0  # seconds; two are usual
_PATIENCE = 10.0  # seconds for one answer


def tell(places: Places, command: str, *arguments: str) -> bool:
    """Give the scheduler a command, as its own program does. Returns False where it does not run."""
    line = f"{command} {json.dumps(arguments)}\n" if arguments else f"{command}\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(places.socket("scheduler")))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        client.sendall(line.encode())
    return True


def reconfigure(places: Places) -> None:
    """Let Zuul read its projects' configuration again, now or when it starts the next time. Raises Unavailable."""
    before = _ask("status").get("last_reconfigured")
    if before is None or not tell(places, "tenant-reconfigure", TENANT):
        _due(places).touch()
        return
    _due(places).unlink(missing_ok=True)
    if not processes.wait_until(lambda: _ask("status").get("last_reconfigured") not in (None, before), _RECONFIGURED):
        raise Unavailable("Zuul has not read its configuration again", hint="python -m lab logs zuul-scheduler")


def projects() -> set[str]:
    """The projects that Zuul works for, as its web server has them; none where that does not answer."""
    return {entry["name"] for entry in _ask("projects").get("list", [])}


def wait(places: Places) -> None:
    """Wait until Zuul is connected to Gerrit's events, and has a configuration that changed while it was down.

    Zuul speaks git over HTTP, so ssh means events. Raises Unavailable.
    """
    if not processes.wait_until(lambda: ports.connected(GERRIT_SSH_PORT), _CONNECTED):
        raise Unavailable("Zuul does not listen to Gerrit's events", hint="python -m lab logs zuul-scheduler")
    if _due(places).exists():
        processes.wait_until(lambda: "last_reconfigured" in _ask("status"), _RECONFIGURED)
        reconfigure(places)


def _due(places: Places) -> Path:
    """The mark that Zuul has to read its configuration again: it keeps what it has read from start to start."""
    return places.zuul / "reconfigure"


def _ask(what: str) -> dict[str, Any]:
    """What the web server says of the tenant, a list as the member `list`; empty where it does not answer."""
    session = requests.Session()
    session.trust_env = False
    try:
        found = session.get(f"{ZUUL_URL}/api/tenant/{TENANT}/{what}", timeout=_PATIENCE).json()
    except (requests.RequestException, ValueError):
        return {}
    return found if isinstance(found, dict) else {"list": found}


if __name__ == "__main__":
    jobs.main(wait)
