"""Three ways to build an image: buildx, the BuildKit that older docker commands carry, the Engine's own builder."""

from __future__ import annotations

import hashlib
import shlex
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from cdlib import process
from cdlib.errors import DISK_FULL, BuildFailed, CdError, Unavailable, UsageProblem, disk_full
from cdlib.image.buildlog import BuildKitLog, EngineLog
from cdlib.image.dockerfile import Dockerfile
from cdlib.image.engine import Engine
from cdlib.image.lines import Shown
from cdlib.image.plan import Plan
from cdlib.reference import Reference
from cdlib.run import Run

# A Dockerfile's cache mounts are kept below this name; `docker build` has no other way to say it (Dockerfile reference,
# "BuildKit built-in build args").
CACHE_MOUNTS = "BUILDKIT_CACHE_MOUNT_NS"


@dataclass(frozen=True)
class Order:
    """One image to build: the tree's files, the recipe's file outside of them, and caches in a registry."""

    plan: Plan
    context: Path
    recipe: Path
    cache_from: Reference | None = None
    cache_to: Reference | None = None


class Builder(Protocol):
    """A way to build."""

    @property
    def name(self) -> str:
        """How results and messages call it."""

    @property
    def about(self) -> str:
        """What it is, for people."""

    def describe(self, order: Order) -> str:
        """What `build` would do."""

    def build(self, run: Run, order: Order) -> None:
        """Build and tag the image. Raises BuildFailed with the failing step and its last lines."""


@dataclass(frozen=True)
class Buildx:
    """buildx, by its plugin for the docker command, `program`."""

    program: Path
    driver: str
    name: str = "buildx"

    @property
    def about(self) -> str:
        return f"buildx, driver {self.driver}"

    def command(self, order: Order) -> list[str]:
        """The argument list. Attestations would differ from run to run, and belong to another step."""
        words = [str(self.program), "build", "--load", "--provenance=false", "--sbom=false"]
        if order.cache_from:
            words += ["--cache-from", f"type=registry,ref={order.cache_from}"]
        if order.cache_to and self.driver != "docker":
            words += ["--cache-to", f"type=registry,ref={order.cache_to},mode=max,ignore-error=true"]
        elif order.cache_to:
            words += ["--cache-to", "type=inline"]
        return words + _arguments(order)

    def describe(self, order: Order) -> str:
        return shlex.join(self.command(order))

    def build(self, run: Run, order: Order) -> None:
        _build_by_command(run, self.command(order), order)


@dataclass(frozen=True)
class BuildKit:
    """`docker build` of a docker command before 23, which speaks to the Engine's BuildKit by itself."""

    program: Path
    version: str
    name: str = "buildkit"

    @property
    def about(self) -> str:
        return f"BuildKit through docker {self.version}"

    def command(self, order: Order) -> list[str]:
        """The argument list. Of caches this BuildKit knows the inline kind only, kept in the image itself."""
        words = [str(self.program), "build"]
        if order.cache_from:
            words += ["--cache-from", str(order.cache_from)]
        if order.cache_to:
            words += ["--build-arg", "BUILDKIT_INLINE_CACHE=1"]
        return words + _arguments(order)

    def describe(self, order: Order) -> str:
        return f"DOCKER_BUILDKIT=1 {shlex.join(self.command(order))}"

    def build(self, run: Run, order: Order) -> None:
        _build_by_command(run, self.command(order), order)


@dataclass(frozen=True)
class EngineBuilder:
    """The Engine's own builder, through its API."""

    engine: Engine
    name: str = "engine"
    about: str = "the Engine's own builder, through its API"

    def describe(self, order: Order) -> str:
        plan = order.plan
        said = {
            **plan.args,
            "target": plan.stage,
            **plan.labels,
            **({"nocache": "1"} if plan.attested else {}),
            **({"platform": other} if (other := _other_platform(plan)) else {}),
        }
        query = " ".join(shlex.quote(f"{name}={value}") for name, value in said.items())
        return f"POST /build t={plan.local_name} dockerfile={plan.path} {query}"

    def build(self, run: Run, order: Order) -> None:
        if order.plan.frontend:
            raise UsageProblem(
                f"{order.plan.path} needs BuildKit, which no docker command here offers",
                hint="install the docker-buildx plugin, or set CD_BLUBBEROID_URL for a blubber.yaml",
            )
        log, plan, show = EngineLog(), order.plan, Shown(run.output)
        with _tar(order) as (context, recipe):
            stream = self.engine.build(
                plan.local_name,
                context,
                recipe,
                buildargs=dict(plan.args),
                target=plan.stage or None,
                nocache=plan.attested,
                platform=_other_platform(plan),
                cache_from=_engine_cache(run, self.engine, order) or None,
            )
            try:
                with closing(stream) as items:
                    for item in items:
                        for line in log.feed(item):
                            show(line)
            except UsageProblem as problem:  # a Dockerfile that it cannot read at all
                raise _failure(plan, "", [problem.message]) from problem
        if log.error:
            raise _failure(order.plan, log.step, log.lines, log.error)


def _arguments(order: Order) -> list[str]:
    """What both docker commands take."""
    plan = order.plan
    words = ["--progress", "plain", "--file", str(order.recipe), "--tag", plan.local_name]
    words += ["--platform", plan.platforms.target]
    words += ["--target", plan.stage] if plan.stage else []
    if plan.attested:  # layers that another build has left, and the cache mounts, which --no-cache does not concern
        words += ["--no-cache", "--build-arg", f"{CACHE_MOUNTS}={plan.apart}"]
    for name, value in plan.args.items():
        words += ["--build-arg", f"{name}={value}"]
    for name, value in plan.labels.items():
        words += ["--label", f"{name}={value}"]
    return [*words, str(order.context)]


def _build_by_command(run: Run, command: list[str], order: Order) -> None:
    log, show = BuildKitLog(), Shown(run.output)
    full: deque[str] = deque(maxlen=1)

    def take(line: str) -> None:
        show(line)
        log.feed(line)
        if DISK_FULL in line.lower():
            full.append(line)

    done = process.run(command, run.deadline, env={"DOCKER_BUILDKIT": "1"}, on_line=take)
    if not done.ok:
        raise _failure(order.plan, log.step, log.lines, " ".join(full))


def _failure(plan: Plan, step: str, lines: list[str], more: str = "") -> CdError:
    """The error of a build that failed: the step and its last lines come first."""
    said = "\n".join([*lines, more]).lower()
    if DISK_FULL in said:
        return disk_full("that of the Docker Engine, which builds")
    if "cannot connect to the docker daemon" in said or "error during connect" in said:
        return Unavailable("no Docker Engine answers", details=lines, hint="start Docker, or set DOCKER_HOST")
    at = f" at {step}" if step else ""
    return BuildFailed(
        f"{plan.service}'s variant {plan.variant} does not build{at}",
        details=lines,
        hint=f"mend {plan.path}, or what that step runs; its whole output is above",
    )


@contextmanager
def _tar(order: Order) -> Iterator[tuple[IO[bytes], str]]:
    """The context as the Engine's builder wants it: one tar file, the recipe in it under a name of its own.

    docker-py would choose that name by chance, and write it into the .dockerignore that the image may contain.
    """
    from docker.utils.build import tar

    plan = order.plan
    text = Dockerfile(plan.recipe, plan.path, plan.args).with_labels(plan.labels, plan.stage)
    name = f".dockerfile.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    ignore = order.context / ".dockerignore"
    lines = ignore.read_text(encoding="utf-8", errors="replace").splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    with tempfile.TemporaryFile(prefix="cd-context-") as file:
        tar(order.context, exclude=patterns, dockerfile=(name, text), fileobj=file)
        yield file, name


def _other_platform(plan: Plan) -> str | None:
    """What the Engine's builder is told: by itself it builds for its own, and does not ask what a base is for."""
    return plan.platforms.target if plan.platforms.target != plan.platforms.build else None


def _engine_cache(run: Run, engine: Engine, order: Order) -> list[str]:
    """What the Engine's builder may take layers from.

    Given any, it no longer looks at its own layers, so a cache helps only where it has none of this service.
    """
    if order.cache_from is None or engine.has_built(order.plan.service):
        return []
    try:
        engine.pull(order.cache_from)
    except CdError as problem:
        run.note(f"no cache is used: {problem.message}")
        return []
    return [str(order.cache_from)]
