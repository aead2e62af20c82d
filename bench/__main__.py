"""`python -m bench`: our commands beside what a user would run instead, on the same work, in turn.

A B A B …, each a whole process timed from outside; medians, and the ratio of the medians. What a machine is
doing meanwhile strikes both alike. Needs the lab (`make bench` brings it up).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.service import BIN, CHECKOUT, WHO
from bench.table import show, telling
from cdlib import process
from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab import settings
from lab.layout import layout
from lab.plan import read

NAMESPACE = "cd-bench"
RUNS = int(os.environ.get("BENCH_RUNS", "10"))
LIMIT = 120.0  # seconds for one command

# Work that takes a builder some ten seconds, like an ordinary build: it parses the standard library.
DOCKERFILE = """\
FROM {base} AS production
COPY VERSION /srv/VERSION
RUN python3 -c "import ast, pathlib; \\
  [ast.unparse(ast.parse(p.read_bytes())) for p in pathlib.Path('/usr/lib/python3.11').rglob('*.py')]"
COPY payload /srv/payload
CMD ["python3", "-m", "http.server", "8080", "--directory", "/srv"]
"""
TARGETS = """\
version: 1
environments: {{bench: {{policy: none}}}}
services:
  bench:
    candidates: {registry}/bench/candidates
    image: {registry}/bench/image
    environments: {{bench: {{namespace: {namespace}, release: ours}}}}
"""
CD = """\
service: bench
image: {variants: {production: production}}
deploy: {chart: chart}
"""


@dataclass(frozen=True)
class Pair:
    """Two ways of doing one thing. `before` prepares one run of either; it is not timed."""

    name: str
    ours: Callable[[], Sequence[str]]
    theirs: Callable[[], Sequence[str]]
    before: Callable[[], None]
    aim: str
    # The kubelet looks at its containers once a second. A run that starts when another ends would always start at
    # the same moment of that second, and 0.3 s earlier or later would count as nothing or as all of it.
    pause: float = 0.0  # seconds at most, by chance, before each run


@dataclass
class Bench:
    """The service that is built and deployed, and the environment that everything runs in."""

    folder: Path
    environment: Mapping[str, str]
    registry: str
    count: int = 0

    def run(self, argv: Sequence[str]) -> float:
        """Seconds that a command takes; any failure ends the benchmark."""
        done = process.run(argv, Deadline(LIMIT, "one command"), cwd=self.folder, env=self.environment)
        if not done.ok:
            raise CdError(f"{' '.join(argv[:3])} failed", details=done.stderr[-10:], hint="see that the lab is up")
        return done.seconds

    def change(self) -> None:
        """A commit that nothing has been built from: its source and 8 MB of payload are new."""
        (self.folder / "VERSION").write_text(f"{time.time_ns()}\n")
        (self.folder / "payload").write_bytes(os.urandom(8 * 2**20))
        self.commit()

    def commit(self) -> None:
        """Commit everything, and something even where nothing has changed."""
        self.count += 1
        self.run(["git", "add", "--all"])
        self.run(["git", "commit", "--quiet", "--allow-empty", "--message", "change"])

    def ours(self, name: str, *argv: str) -> list[str]:
        """One of our commands, quiet as its counterpart is."""
        return [str(BIN / name), "-q", *argv]


def pairs(bench: Bench) -> Iterator[Pair]:
    """What is compared."""
    image, digest = f"{bench.registry}/bench/theirs", _published(bench)
    build = ["docker", "build", "--quiet", "--tag", image, "."]
    push = ["docker", "push", "--quiet", image]

    def built() -> None:
        bench.change()
        bench.run(bench.ours("build-image"))
        bench.run(build)

    def nothing() -> None:
        pass

    def upgrade(program: str) -> list[str]:
        sets = f"image.repository={bench.registry}/bench/image,image.digest={digest},cd.revision=r{bench.count}"
        return [program, "upgrade", "theirs", "chart", "--install", "--wait", "--namespace", NAMESPACE, "--set", sets]

    def deploy() -> list[str]:
        return bench.ours("helm-deploy", "--digest", digest)

    helms = {"Helm 4": str(layout().bin / "helm"), "Helm 3": str(layout().bin / "helm3")}
    yield Pair("build-image, cold, beside docker build", lambda: bench.ours("build-image", "--no-cache"),
               lambda: build, bench.change, "at most 1.05")  # fmt: skip
    yield Pair("build-image, same commit, beside docker build, cached", lambda: bench.ours("build-image"),
               lambda: build, nothing, "at most 0.5 s more, within 1 s")  # fmt: skip
    yield Pair("publish-tag, new image, beside docker push", lambda: bench.ours("publish-tag"), lambda: push,
               built, "at most 1.05, or 0.5 s more")  # fmt: skip
    yield Pair("publish-tag, same image, beside docker push", lambda: bench.ours("publish-tag"), lambda: push,
               nothing, "at most 0.5 s more")  # fmt: skip
    for name, program in helms.items():
        bench.environment = {**bench.environment, "CD_HELM": program}
        yield Pair(f"helm-deploy, new commit, beside {name} upgrade --install --wait", deploy,
                   partial(upgrade, program), bench.commit, "not slower", pause=1.0)  # fmt: skip
        yield Pair(f"helm-deploy, same commit, beside {name} upgrade --install --wait", deploy,
                   partial(upgrade, program), nothing, "at most 0.5 s more, within 1 s")  # fmt: skip
    imports = [str(BIN / "python"), "-c", "import click, requests, yaml"]
    for name in ("build-image", "run-tests", "publish-tag", "helm-deploy", "helm-rollback"):
        yield Pair(f"{name} --help, beside importing click, requests and yaml", partial(bench.ours, name, "--help"),
                   lambda: imports, nothing, "at most 1.5")  # fmt: skip


def compare(bench: Bench, pair: Pair, runs: int) -> tuple[str, ...]:
    """The pair's row: medians in seconds, their ratio and difference, the range of ours, and the aim."""
    for _ in range(2):  # not counted: it fills caches that both have
        pair.before()
        bench.run(pair.ours())
        bench.run(pair.theirs())
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(runs):
        pair.before()
        # Each goes first in every other round: the first meets a colder machine.
        for mine in (True, False) if number % 2 else (False, True):
            time.sleep(random.uniform(0, pair.pause))
            (ours if mine else theirs).append(bench.run(pair.ours() if mine else pair.theirs()))
    a, b = statistics.median(ours), statistics.median(theirs)
    spread = f"{min(ours):.2f}-{max(ours):.2f}"
    return pair.name, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}", f"{a - b:+.2f}", spread, pair.aim


@contextmanager
def prepared() -> Iterator[Bench]:
    """A service of its own in a temporary folder, and a namespace that is gone afterwards."""
    place = layout()
    environment = {**settings.settings(place, read(place.plan).given), **WHO, "DOCKER_CONFIG": str(place.docker_config),
                   "PYTHONDONTWRITEBYTECODE": ""}  # fmt: skip
    registry = environment["LAB_REGISTRY"]
    with tempfile.TemporaryDirectory(prefix="cd-bench-") as temporary:
        folder = Path(temporary) / "service"
        shutil.copytree(CHECKOUT / "tests" / "support" / "web", folder / "chart")
        (folder / "Dockerfile").write_text(DOCKERFILE.format(base=f"{registry}/lab/python:3.11-slim"))
        (folder / "cd.yaml").write_text(CD)
        targets = Path(temporary) / "targets.yaml"
        targets.write_text(TARGETS.format(registry=registry, namespace=NAMESPACE))
        bench = Bench(folder, {**environment, "CD_TARGETS": str(targets)}, registry)
        bench.run(["git", "init", "--quiet", "--initial-branch=master"])
        bench.run(["kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found"])
        bench.run(["kubectl", "create", "namespace", NAMESPACE])
        try:
            yield bench
        finally:
            bench.run(["kubectl", "delete", "namespace", NAMESPACE, "--wait=false"])


def _published(bench: Bench) -> str:
    """The digest of an image that is published and pulled already, so that a deploy is a deploy only."""
    bench.change()
    bench.run(bench.ours("build-image"))
    words = [*bench.ours("publish-tag"), "--json"]
    done = process.run(words, Deadline(LIMIT, "publishing"), cwd=bench.folder, env=bench.environment)
    return str(json.loads(done.stdout)["digest"])


def main() -> int:
    """Compare, and print the table; exit status 1 only where something failed to run."""
    console = Console(sys.stdout)
    heads = ("", "ours (s)", "theirs (s)", "ratio", "difference", "range", "aim")
    rows: list[tuple[str, ...]] = []
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    with telling(console), prepared() as bench:
        for pair in pairs(bench):
            if only in pair.name:
                console.line("dim", "", f"{pair.name} …")
                rows.append(compare(bench, pair, RUNS))
    show(console, heads, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
