"""Which bytes a base image's name stands for, now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cdlib.errors import CdError, NotAllowed, RegistryRefused, Unavailable
from cdlib.image.engine import Engine
from cdlib.reference import Reference, parse
from cdlib.registry.repository import Registries
from cdlib.run import Run


@dataclass(frozen=True)
class Base:
    """A base image: `name` as it is written, `reference` in full.

    `digest` is its manifest's, or its id where only the Engine at hand has it. `pin` is what a builder is given
    in the name's place.
    """

    name: str
    reference: str
    digest: str
    pin: str


def find_bases(run: Run, names: Iterable[str], registries: Registries, engine: Engine, where: str) -> tuple[Base, ...]:
    """Each of `names` with its digest, in order. `where` says which file names them.

    The registry decides, so that every machine computes the same key; the Engine's own copy stands in where
    the registry does not answer, or has no such image.
    """
    return tuple(_find(run, name, registries, engine, where) for name in dict.fromkeys(names))


def _find(run: Run, name: str, registries: Registries, engine: Engine, where: str) -> Base:
    reference = parse(name, where)
    if reference.digest:
        return _pinned(name, reference, reference.digest)
    tagged = reference.tagged(reference.tag or "latest")
    problem: CdError | None = None
    try:
        digest = registries.repository(tagged, attempts=1).digest(tagged.tag)
    except (Unavailable, NotAllowed) as caught:  # a hub says "not allowed" for what it does not have
        digest, problem = "", caught
    if digest:
        return _pinned(name, tagged, digest)
    local = _local(run, name, tagged, engine, problem)
    if local:
        return local
    if isinstance(problem, Unavailable):  # nothing at hand to fall back on: worth the patience
        digest = registries.repository(tagged).digest(tagged.tag)
    elif problem:
        raise problem
    if not digest:
        raise RegistryRefused(
            f"{where} names the image {name}, and {tagged.repository} has no {tagged.tag}",
            hint="mend the name, or push that image first",
        )
    return _pinned(name, tagged, digest)


def _pinned(name: str, reference: Reference, digest: str) -> Base:
    return Base(name, str(reference), digest, f"{reference.repository}@{digest}")


def _local(run: Run, name: str, reference: Reference, engine: Engine, problem: CdError | None) -> Base | None:
    """The Engine's own copy of a base image, None where it has none."""
    try:
        image = engine.image(str(reference))
    except Unavailable:
        return None
    if image is None:
        return None
    names = (parse(pulled) for pulled in image.pulled_as)
    digest = next((known.digest for known in names if known.repository == reference.repository), "")
    if problem:
        run.warn(f"{problem.message}; going on with this machine's copy of {name}")
    # An image that no registry knows cannot be named by digest: builders take it by its tag.
    return _pinned(name, reference, digest) if digest else Base(name, str(reference), image.id, name)
