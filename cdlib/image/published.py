"""What an image was published as, and the one that a commit was: what a deploy takes, by digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import RegistryRefused, UsageProblem
from cdlib.reference import DIGEST, Reference, parse
from cdlib.registry.repository import Registries
from cdlib.run import Run
from cdlib.source import Source
from cdlib.target import Target


@dataclass(frozen=True)
class Published:
    """An image in a registry. `digest` is empty in a dry run that cannot know it yet."""

    repository: str
    tag: str
    digest: str
    unchanged: bool

    @property
    def reference(self) -> str:
        """`repository:tag@digest`."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")

    def as_dict(self) -> dict[str, Any]:
        """For the result."""
        shown = {"repository": self.repository, "tag": self.tag, "reference": self.reference}
        return {**shown, **({"digest": self.digest} if self.digest else {})}


def find_published(run: Run, source: Source, target: Target, *, tag: str = "", digest: str = "") -> Reference:
    """The digest in the service's repository of `digest` itself, of `tag`, or of the commit's own tag.

    Raises RegistryRefused where the repository has no such image.
    """
    if digest and not DIGEST.match(digest):
        raise UsageProblem(f"{digest!r} is no digest", hint="write it as sha256: and 64 hexadecimal digits")
    wanted = digest or tag or source.default_tag
    repository = Registries(run, target.plain_http).repository(target.image)
    found = repository.digest(wanted)
    if not found:
        raise RegistryRefused(
            f"{target.image.repository} has no {wanted}",
            hint="run publish-tag for this commit first, or name an image by --tag or --digest",
        )
    return target.image.at(found)


def image_lookup(run: Run, target: Target) -> Callable[[str, Deadline], bool]:
    """What tells whether an image, named with its digest, can be pulled. It raises CdError where nobody answers."""

    def has_image(name: str, deadline: Deadline) -> bool:
        reference = parse(name)
        registries = Registries(replace(run, deadline=deadline), target.plain_http)
        return bool(registries.repository(reference, attempts=2).digest(reference.digest))

    return has_image
