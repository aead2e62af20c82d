"""A release as commands open it, with what is known of its images, and the result that they make of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.rollout.release import Outcome, Release
    from cdlib.run import Run
    from cdlib.target import Environment


@contextmanager
def opened(run: Run, folder: Path, targets: Path | None, service: str, environment: str) -> Iterator[Release]:
    """The release of a service that is named, or described by the cd.yaml in `folder`."""
    from cdlib.documents import prepare
    from cdlib.image.published import image_lookup
    from cdlib.rollout.release import Release
    from cdlib.service import read_service
    from cdlib.source import open_source
    from cdlib.target import read_target
    from cdlib.trigger import read_trigger

    name = service or read_service(open_source(folder, meanwhile=prepare)).name
    target = read_target(targets, name)
    place, has_image = target.environment(environment), image_lookup(run, target)
    with at(run, place, name), closing(Release.open(run, name, place, read_trigger(), has_image)) as release:
        yield release


@contextmanager
def at(run: Run, place: Environment, service: str) -> Iterator[None]:
    """Results of what fails in the block say where it did: whoever reads them has not seen the command line."""
    from cdlib.errors import CdError

    run.about.update(service=service, environment=place.name)
    try:
        yield
    except CdError as problem:
        problem.made = {**_where(place), **problem.made}
        raise


def _where(place: Environment) -> Result:
    return {"environment": place.name, "namespace": place.namespace, "release": place.release}


def shown(release: Release, outcome: Outcome) -> Result:
    """The result of a deploy or a rollback."""
    entry, place = outcome.entry, release.environment
    return {
        "outcome": outcome.outcome,
        **_where(place),
        "revision": entry.revision,
        "commit": entry.commit,
        "previous": entry.previous,
        "image": entry.image,
        "digest": entry.digest,
        "pods": list(outcome.pods),
        **({"drift": list(outcome.drift)} if outcome.drift else {}),
        "text": f"{place.namespace}/{place.release} revision {entry.revision} {entry.digest} {outcome.outcome}",
    }
