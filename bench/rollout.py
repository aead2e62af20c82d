"""`python -m bench.rollout`: rollouts, good and broken, by helm-deploy and by what one would use instead.

Seconds from the start of the command: to the verdict (a failure noticed), and to the old version whole again, seen from
outside. Good rollouts go in turn; of broken ones helm-deploy goes alone, and then those that wait out their time limit
go side by side, because they sleep.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from bench.contenders import ALL, HELM_DEFAULT, Contender, Helm3, Helm4, Ours
from bench.service import Ground, service
from bench.table import show, telling
from bench.watching import Watching
from cdlib.console import Console
from cdlib.errors import CdError

REPLICAS = 2
LIMIT = 60  # seconds that the others are given, unless --full
PAUSE = 1.0  # seconds at most before each run, by chance: the kubelet looks at its containers once a second
GOOD, UNCHANGED = "good", "unchanged"
CRASH = "raise SystemExit('no database')"
SLEEP = "import time; time.sleep(3600)"
MISSING = "localhost:5000/lab/nothing:1"
BROKEN: dict[str, dict[str, Any]] = {
    "missing image": {"sidecar": MISSING},
    "crash loop": {"program": CRASH},
    "failing readiness": {"program": SLEEP, "progressDeadline": 30},
    "failing readiness, no deadline": {"program": SLEEP},  # progressDeadlineSeconds is 600, as by default
}


@dataclass(frozen=True)
class Run:
    """One rollout, in seconds: to the verdict, to the old version whole again, and to the end of the command."""

    verdict: float | None
    whole: float | None
    end: float


Results = dict[str, dict[str, list[Run]]]  # by kind of rollout, then by contender


def measure(contender: Contender, kind: str, number: int) -> Run:
    """Roll out once. Raises CdError where it does not end as it should."""
    here = contender.service
    old = here.head
    if kind != UNCHANGED:
        here.commit(text=f"n{number}", **BROKEN.get(kind, {}))
    time.sleep(random.uniform(0, PAUSE))
    with Watching(here, REPLICAS) as watching:
        began = time.time()
        good = contender.roll_out()
        end = time.time() - began
        if good != (kind not in BROKEN):
            raise CdError(f"{contender.name}: {kind} ended {'well' if good else 'badly'}", hint="see the namespace")
        if good:
            return Run(None, None, end)
        whole, noticed = watching.whole(old, began), contender.noticed(began, watching.seen)
    here.run("git", "reset", "--quiet", "--hard", old)
    return Run(noticed and noticed - began, whole and whole - began, end)


def good_rollouts(contenders: Sequence[Contender], kind: str, runs: int) -> dict[str, list[Run]]:
    """A B C, C B A, …: whoever goes first meets a colder machine."""
    found: dict[str, list[Run]] = {each.key: [] for each in contenders}
    for number in range(runs):
        for each in contenders if number % 2 else reversed(contenders):
            found[each.key].append(measure(each, kind, number))
    return found


def broken_rollouts(contenders: Sequence[Contender], kind: str, runs: int) -> dict[str, list[Run]]:
    """Ours alone, then the others at once."""
    found: dict[str, list[Run]] = {each.key: [] for each in contenders}
    for number in range(runs):
        for group in (contenders[:1], contenders[1:]):
            with ThreadPoolExecutor(len(group) or 1) as pool:
                for each, run in zip(group, pool.map(lambda c: measure(c, kind, number), group), strict=True):  # noqa: B023
                    found[each.key].append(run)
    return found


@contextmanager
def prepared(limit: int) -> Iterator[list[Contender]]:
    """Each contender with a service of its own that is live in two revisions."""
    with tempfile.TemporaryDirectory(prefix="cd-bench-") as folder, ExitStack() as stack:
        ground = Ground.of_lab()
        made: list[Contender] = []
        # Left to itself, kubectl waits for progressDeadlineSeconds: 600 by default.
        for kind in ALL if limit else ALL[:-1]:
            values = {"replicas": REPLICAS, "progressDeadline": 600}
            contender = kind(stack.enter_context(service(ground, Path(folder), kind.key, **values)), limit)
            for number in range(2):
                contender.service.commit(text=f"before {number}")
                if not contender.roll_out():
                    raise CdError(f"{contender.name} cannot deploy", hint="see that the lab is up")
            made.append(contender)
        yield made


def rows(kind: str, found: dict[str, list[Run]], limit: int) -> list[list[str]]:
    """A line a contender: medians, how many times as long it takes as helm-deploy, and so at Helm's default limit."""
    lines = []
    what = "whole" if kind in BROKEN else "end"
    ours = middle(found[Ours.key], what)
    for contender in ALL:
        runs = found.get(contender.key)
        if not runs:
            continue
        mine = middle(runs, what)
        ratio = f"{mine / ours:.2f}" if mine and ours else ""
        waits = kind in BROKEN and issubclass(contender, (Helm3, Helm4)) and limit and ours
        default = f"{HELM_DEFAULT / ours:.1f}" if waits and ours else ""
        cells = [_text(middle(runs, each)) for each in ("verdict", "whole", "end")]
        ends = [run.end for run in runs]
        lines.append([kind, contender.name, *cells, ratio, default, f"{min(ends):.2f}-{max(ends):.2f}"])
    return lines


def middle(runs: Sequence[Run], what: str) -> float | None:
    """The median of one measure; None where a run has none."""
    found = [getattr(run, what) for run in runs]
    return None if not found or None in found else statistics.median(found)


def write(file: Path | None, limit: int, results: Results) -> None:
    """Write every run so far as JSON."""
    if file is not None:
        seconds = {kind: {key: [asdict(run) for run in runs] for key, runs in found.items()}
                   for kind, found in results.items()}  # fmt: skip
        file.write_text(json.dumps({"limit": limit or None, "seconds": seconds}, indent=1) + "\n", encoding="utf-8")


def _text(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"


@click.command()
@click.argument("kinds", nargs=-1)
@click.option("--runs", default=10, show_default=True, help="How often each good rollout is measured.")
@click.option("--broken-runs", default=3, show_default=True, help="How often each broken one is.")
@click.option("--full", is_flag=True, help="Leave Helm its own time limit of 300 s.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write every run into this file, too.")
def main(kinds: Sequence[str], runs: int, broken_runs: int, full: bool, file: Path | None) -> None:
    """Measure rollouts of these KINDS (all by default), and print medians in seconds."""
    console, limit = Console(sys.stdout), 0 if full else LIMIT
    chosen = [kind for kind in (GOOD, UNCHANGED, *BROKEN) if kind in kinds or not kinds]
    results: Results = {}
    with telling(console), prepared(limit) as contenders:
        for kind in chosen:
            console.line("dim", "", f"{kind} …")
            measured, times = (broken_rollouts, broken_runs) if kind in BROKEN else (good_rollouts, runs)
            results[kind] = measured(contenders, kind, times)
            write(file, limit, results)
    heads = ["", "by", "verdict", "whole again", "end", "times ours", "300 s / ours", "range of end"]
    show(console, heads, [line for kind in chosen for line in rows(kind, results[kind], limit)])


if __name__ == "__main__":
    main()
