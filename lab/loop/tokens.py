"""The agents' tokens for the cluster, renewed as they end: `python -m lab.loop.tokens LAB_ROOT`.

As a timer on an operator's agents does it. Whoever connects to its socket sees that it is alive.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from cdlib.console import Console
from cdlib.errors import CdError, from_os_error
from lab.layout import Layout
from lab.loop import cluster
from lab.loop.places import Places
from lab.plan import Probe, Server, read

_EVERY = 900.0  # seconds: a quarter of a token's life
_AGAIN = 10.0  # seconds, where the cluster did not answer
_STEP = 30.0  # seconds between two looks at the clock


def servers(places: Places) -> list[Server]:
    """The one that renews; the first tokens are the setup's."""
    argv = (sys.executable, "-m", "lab.loop.tokens", str(places.layout.root))
    return [Server("tokens", argv, Probe(socket=str(_socket(places))), after=("loop-setup",))]


def main(places: Places) -> None:
    """Renew them until the end, at once to begin with: whoever was before may have been away for long."""
    _socket(places).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(_socket(places)))
        alive.listen()
        due = time.time()
        while True:
            # By the clock on the wall, in short steps: a machine that has slept wakes with tokens that have ended.
            alive.settimeout(max(0.001, min(due - time.time(), _STEP)))
            with suppress(TimeoutError):
                alive.accept()[0].close()
            if time.time() >= due:
                due = time.time() + renew(places)


def renew(places: Places) -> float:
    """Renew all, and say how many seconds later to do it again."""
    try:
        cluster.renew_tokens(places, read(places.layout.plan).given)
    except (CdError, OSError) as problem:
        problem = problem if isinstance(problem, CdError) else from_os_error(problem)
        Console().problem(problem.message, problem.hint, problem.details)
        return _AGAIN
    return _EVERY


def _socket(places: Places) -> Path:
    return places.layout.run / "tokens.socket"


if __name__ == "__main__":
    main(Places(Layout(Path(sys.argv[1]))))
