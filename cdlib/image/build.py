"""Building a service's images: each once a key, out of a commit's tree and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cdlib.errors import CdError, Refused
from cdlib.image.bases import Base
from cdlib.image.builders import Builder, Order
from cdlib.image.built import Built, find_built
from cdlib.image.choice import choose
from cdlib.image.plan import Plan
from cdlib.image.work import Work
from cdlib.reference import DIGEST, parse
from cdlib.registry.repository import Registries
from cdlib.trigger import read_trigger

_YEAR_2000 = 946_684_800  # seconds since 1970; zip, and with it Python's wheels, know nothing before 1980


def build(work: Work, variants: Sequence[str], *, builder: str = "auto", cache: bool = True) -> list[Built]:
    """Build each of `variants` that the Engine does not have yet; all of the service's where none is named.

    `builder` is `buildx`, `buildkit`, `engine` or `auto`. `cache` allows to take layers from the candidates'
    repository, and to prepare them for it. Raises BuildFailed, and UsageProblem before anything is built.
    """
    chosen = list(dict.fromkeys(variants or work.service.image.variants))
    plans = [work.plan(variant) for variant in chosen]
    if work.source.uncommitted and not work.source.dirty:
        work.run.warn(f"uncommitted changes are left out: this is {work.source.short} as it was committed")
    with ExitStack() as cleaning:
        workshop = _Workshop(work, builder, cache, cleaning)
        return [find_built(work, plan) or workshop.make(plan) for plan in plans]


class _Workshop:
    """What several builds share: the chosen builder, and the tree's files in a temporary folder."""

    def __init__(self, work: Work, builder: str, cache: bool, cleaning: ExitStack) -> None:
        self._work = work
        self._wanted = builder
        self._cache = cache
        self._cleaning = cleaning
        self._builder: Builder | None = None
        self._context: Path | None = None

    def make(self, plan: Plan) -> Built:
        run = self._work.run
        if self._builder is None:
            self._builder = choose(self._wanted, self._work.engine, run.deadline)
        builder = self._builder
        _require_known_bases(plan, self._work.registries)
        if run.would(builder.describe(self._order(plan, Path("TREE"), Path("TREE") / plan.path))):
            return Built(plan.variant, "", plan.key, plan.local_name, plan.dirty, builder.name, unchanged=False)
        alone = ", from nothing, since it will be attested" if plan.attested else ""
        run.note(f"{plan.variant}: building by {builder.about}{alone}")
        if plan.attested and plan.frontend:
            run.warn(
                f"{plan.path}: {plan.frontend} is told to take no caches; nothing here can tell whether it does not"
            )
        with run.stage("build", plan.variant) as found, _recipe(self._files(), plan) as recipe:
            found.update(builder=builder.name, key=plan.key)
            builder.build(run, self._order(plan, self._files(), recipe))
            made = find_built(self._work, plan)
        if made is None:
            raise CdError(
                f"{builder.name} reported no error, but {plan.local_name} is not in the Engine",
                hint="name another builder by --builder; does something prune that Engine's images?",
            )
        return Built(plan.variant, made.id, plan.key, plan.local_name, plan.dirty, builder.name, unchanged=False)

    def _files(self) -> Path:
        """The tree's files, made ready once."""
        if self._context is None:
            source = self._work.source
            self._context = self._cleaning.enter_context(source.files())
            make_even(self._context, source.tree)
            if (self._context / ".gitmodules").exists():
                self._work.run.warn("git submodules are not part of the tree, and are left out")
            attributes = self._context / ".gitattributes"
            if attributes.is_file() and not attributes.is_symlink() and b"filter=" in attributes.read_bytes():
                self._work.run.warn("git filters are not run: of files that Git LFS keeps, this has the pointers")
        return self._context

    def _order(self, plan: Plan, context: Path, recipe: Path) -> Order:
        target = self._work.target
        if target is None or not self._cache:
            return Order(plan, context, recipe)
        cache = target.candidates.tagged(plan.cache_tag)
        # What unreviewed changes leave behind must not become part of what is published later.
        writable = read_trigger().may_publish or target.strictest_policy == "none"
        readable = not plan.attested and self._has_cache(plan)
        return Order(plan, context, recipe, cache if readable else None,
                     cache if writable and not plan.dirty else None)  # fmt: skip

    def _has_cache(self, plan: Plan) -> bool:
        """Whether the registry has a cache: asked first, because not every builder bears one that is missing."""
        assert self._work.target is not None
        try:
            repository = self._work.registries.repository(self._work.target.candidates, attempts=1)
            return bool(repository.digest(plan.cache_tag))
        except CdError as problem:
            self._work.run.note(f"no cache is used: {problem.message}")
            return False


def _require_known_bases(plan: Plan, registries: Registries) -> None:
    """What is attested has no base that only this Engine has: an unreviewed build may have made it.

    Each digest is asked for, since a Dockerfile can name one that no registry has.
    """
    here = [base.name for base in plan.bases if not _in_registry(base, registries)] if plan.attested else []
    if here:
        raise Refused(
            f"{plan.path} is to be attested, and no registry has its base image {', '.join(here)}",
            hint="push that image to a registry, and name it as it is called there",
        )


def _in_registry(base: Base, registries: Registries) -> bool:
    if not DIGEST.search(base.pin):
        return False
    reference = parse(base.pin, base.name)
    return bool(registries.repository(reference).digest(reference.digest))


@contextmanager
def _recipe(files: Path, plan: Plan) -> Iterator[Path]:
    """The recipe in a file of its own: its pins are no part of the tree, and must not be copied into the image."""
    with tempfile.TemporaryDirectory(prefix="cd-recipe-") as folder:
        recipe = Path(folder) / Path(plan.path).name
        recipe.write_text(plan.recipe, encoding="utf-8", newline="")
        ignore = files / f"{plan.path}.dockerignore"
        if ignore.is_file() and not ignore.is_symlink():
            shutil.copyfile(ignore, f"{recipe}.dockerignore")
        yield recipe


def make_even(root: Path, tree: str) -> None:
    """Give files the same times and modes on every machine: the same tree then makes the same files in the image,
    and finds the same cache, whatever the umask and the hour.

    The time is a moment in 2000 that differs from tree to tree: what compares times, as web servers and caches
    do, must see that a new version is another.
    """
    moment = _YEAR_2000 + int(tree[:6], 16)
    for folder, _, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
            os.utime(path, (moment, moment), follow_symlinks=False)
    for folder, names, _ in os.walk(root, topdown=False):
        for path in (*(os.path.join(folder, name) for name in names), folder):
            if not os.path.islink(path):
                os.chmod(path, 0o755)
            os.utime(path, (moment, moment), follow_symlinks=False)
