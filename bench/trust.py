"""`python -m bench.trust`: what the proof costs: checking a permit, and authorizing 100 signed commits.

Each is measured in a process of its own, from before the imports to the verdict, with every connection that the process
opens. The registry is a real one, on a port of its own; Gerrit's records are in a mirror on this machine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.service import CHECKOUT
from bench.table import show, telling
from cdlib import process
from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import CdError

RUNS = int(os.environ.get("BENCH_RUNS", "10"))
COMMITS = 100
LIMIT = 120.0  # seconds for one process
AIMS = {"permit": 0.3, "commits": 2.0}  # seconds
NAMES = {"permit": "checking a permit and its attestations", "commits": f"authorizing {COMMITS} signed commits"}


def check_permit(facts: dict[str, Any]) -> None:
    """What helm-deploy checks of a permit, once it knows what it is about to do."""
    from cdlib.reference import parse
    from cdlib.registry.repository import Registries
    from cdlib.run import Run
    from cdlib.trust.attached import fetch
    from cdlib.trust.evidence import Wanted, prove
    from cdlib.trust.keys import read_keyring
    from cdlib.trust.lookup import find
    from cdlib.trust.permit import Asked, Spent
    from cdlib.trust.summary import Place

    ring = read_keyring({purpose: [Path(file) for file in files] for purpose, files in facts["keys"].items()})
    image = parse(facts["image"])
    envelopes = fetch(Registries(Run("bench", Deadline(LIMIT))).repository(image), image.digest, ring)
    asked = Asked(**{**facts["asked"], "place": Place(*facts["place"])})
    find(envelopes, asked, Spent(), ring)
    prove(envelopes, Wanted(**facts["wanted"]), ring)


def authorize_commits(facts: dict[str, Any]) -> None:
    """What authorize-deploy judges of the commits that a deploy brings."""
    from cdlib.target import read_target
    from cdlib.trust.review import Request
    from cdlib.trust.reviewed import authorize_reviewed

    target = read_target(Path(facts["targets"]), "hello")
    found = authorize_reviewed(target, Request(facts["head"]), Deadline(LIMIT), "production")
    signed = [verdict for verdict in found if verdict.basis == "change" and "signed bob" in verdict.voters]
    if len(signed) != COMMITS:
        raise CdError(f"{len(signed)} of {COMMITS} commits were authorized by a signature")


def measure(kind: str, file: Path) -> dict[str, Any]:
    """Seconds of one check in a fresh process, and how often it connected where."""
    argv = [sys.executable, "-m", "bench.trust", kind, str(file)]
    done = process.run(argv, Deadline(LIMIT, kind), cwd=CHECKOUT)
    if not done.ok:
        raise CdError(f"{NAMES[kind]} failed", details=done.stderr[-10:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(kind: str, file: Path) -> int:
    """Do one check, and print what it took."""
    checks: dict[str, Callable[[dict[str, Any]], None]] = {"permit": check_permit, "commits": authorize_commits}
    connected = Counter[str]()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            connected[":".join(map(str, args[1][:2])) if isinstance(args[1], tuple) else str(args[1])] += 1

    sys.addaudithook(hook)
    facts = json.loads(file.read_text(encoding="utf-8"))
    began = time.perf_counter()
    checks[kind](facts)
    print(json.dumps({"seconds": time.perf_counter() - began, "connections": connected}))
    return 0


def row(kind: str, file: Path, allowed: set[str]) -> tuple[str, ...]:
    """The row of the table. Raises CdError where a connection went where none should."""
    measure(kind, file)  # not counted: it fills caches
    found = [measure(kind, file) for _ in range(RUNS)]
    places = Counter[str](place for each in found for place in each["connections"])
    if set(places) != allowed:
        raise CdError(f"{NAMES[kind]} has connected to {sorted(places)}, and not to {sorted(allowed)} alone")
    seconds = [each["seconds"] for each in found]
    most = max(sum(each["connections"].values()) for each in found)
    median, aim = statistics.median(seconds), AIMS[kind]
    return (NAMES[kind], f"{median:.3f}", f"{min(seconds):.3f}-{max(seconds):.3f}", str(most),
            f"at most {aim:g} s", "met" if median <= aim else "missed")  # fmt: skip


def main() -> int:
    """Measure both, and print the table; exit status 1 only where something failed to run."""
    if len(sys.argv) == 3:
        return child(sys.argv[1], Path(sys.argv[2]))
    from bench.proofs import permit_to_check, registry, signed_commits

    console = Console(sys.stdout)
    heads = ("", "median (s)", "range", "connections", "aim", "")
    with (
        telling(console),
        tempfile.TemporaryDirectory(prefix="cd-bench-") as temporary,
        registry(Path(temporary)) as host,
    ):
        permit = permit_to_check(Path(temporary) / "permit", host)
        commits = signed_commits(Path(temporary) / "commits", COMMITS)
        rows = [row("permit", permit, {host}), row("commits", commits, set())]
    show(console, heads, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
