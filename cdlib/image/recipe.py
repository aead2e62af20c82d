"""The text that a builder is given: a Dockerfile, or a blubber.yaml, and the images it is made from.

Nothing in it may name a program that the operators have not allowed: a syntax line does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdlib.errors import UsageProblem
from cdlib.image import blubber
from cdlib.image.dockerfile import Dockerfile, syntax_of, with_syntax
from cdlib.image.platforms import Platforms
from cdlib.reference import parse
from cdlib.run import Run
from cdlib.service import Service
from cdlib.source import Source


@dataclass(frozen=True)
class Recipe:
    """What one stage is built by. `path` is the file's name in the tree.

    `images` are the names of all images that it takes from, `base` the one that its last stage rests on, empty
    for `scratch`; `frontend` is the BuildKit frontend that reads it, empty for the builder's own.
    """

    text: str
    path: str
    stage: str
    images: tuple[str, ...]
    base: str
    frontend: str = ""
    generated: bool = False
    is_dockerfile: bool = True

    def pinned(self, pins: Mapping[str, str], args: Mapping[str, str], platforms: Platforms) -> str:
        """The text with its images replaced as `pins` says; only a frontend knows how a blubber.yaml is read."""
        if not self.is_dockerfile:
            return self.text
        return Dockerfile(self.text, self.path, args, platforms).pinned(pins, self.stage)


def find_recipe(
    run: Run, source: Source, service: Service, stage: str, frontends: tuple[str, ...], platforms: Platforms
) -> Recipe:
    """The recipe of one stage, or of one variant of blubber.yaml. `frontends` are those that operators allow."""
    _refuse_syntax_argument(service, frontends)
    if not service.image.blubber:
        path = service.image.dockerfile
        text = source.read_text(path, "image.dockerfile")
        return _docker_recipe(text, path, stage, service, frontends, platforms)
    path = service.image.blubber
    text = source.read_text(path, "image.blubber")
    url = blubber.blubberoid_url()
    if url:
        made = blubber.from_blubberoid(run, text, path, stage, url)
        # What a server answers is trusted no more than what a change says.
        return _docker_recipe(made, path, "", service, frontends, platforms)
    if syntax_of(text, path) is None:
        raise UsageProblem(
            f"{path} needs something that turns it into an image",
            hint=f"set {blubber.VARIABLE} to a Blubberoid, or let its first line be `# syntax=IMAGE` with a frontend "
            "that targets.yaml lists under services.*.allow.frontends",
        )
    text, frontend = _allowed_syntax(text, path, frontends)
    images = blubber.base_images(text, path, stage)
    return Recipe(text, path, stage, images, images[0] if images else "", frontend, is_dockerfile=False)


def _docker_recipe(
    text: str, path: str, stage: str, service: Service, frontends: tuple[str, ...], platforms: Platforms
) -> Recipe:
    """The recipe for `stage` of a Dockerfile; without one, for the last stage of a Dockerfile that Blubber made."""
    text, frontend = _allowed_syntax(text, path, frontends)
    read = Dockerfile(text, path, service.image.args, platforms)
    wanted = stage or str(len(read.stages) - 1)
    base = read.base(wanted)
    images = tuple(use.image for use in read.images(wanted))
    return Recipe(text, path, wanted, images, base.image if base else "", frontend, generated=not stage)


def _allowed_syntax(text: str, path: str, frontends: tuple[str, ...]) -> tuple[str, str]:
    """The text with its syntax line pinned, and the frontend; UsageProblem where the operators do not list it.

    A syntax line names a program that BuildKit would fetch and run.
    """
    found = syntax_of(text, path)
    if found is None:
        return text, ""
    number, image = found
    pin = _listed(image, frontends)
    if not pin:
        raise UsageProblem(
            f"{path} asks for the BuildKit frontend {image}, a program that the operators have not allowed",
            hint="remove the syntax line, or have targets.yaml list it by digest under services.*.allow.frontends",
        )
    return with_syntax(text, path, number, pin), pin


def _listed(image: str, frontends: tuple[str, ...]) -> str:
    """The name with digest under which the operators allow `image`, empty where they do not."""
    wanted = parse(image, "syntax")
    for entry in frontends:
        allowed = parse(entry, "services.*.allow.frontends")
        if not allowed.digest:
            raise UsageProblem(f"targets.yaml: the frontend {entry} has no digest", hint="write it as IMAGE@sha256:…")
        same_tag = not wanted.tag or not allowed.tag or wanted.tag == allowed.tag
        if wanted.repository == allowed.repository and same_tag and wanted.digest in ("", allowed.digest):
            return f"{allowed.repository}@{allowed.digest}"
    return ""


def _refuse_syntax_argument(service: Service, frontends: tuple[str, ...]) -> None:
    if "BUILDKIT_CACHE_MOUNT_NS" in service.image.args:
        raise UsageProblem(
            "cd.yaml: image.args.BUILDKIT_CACHE_MOUNT_NS would let a build write to the cache mounts of others",
            hint="remove it; to have a cache of your own, give the mount an id",
        )
    image = service.image.args.get("BUILDKIT_SYNTAX", "")
    if image and not ("@" in image and _listed(image, frontends)):
        raise UsageProblem(
            f"cd.yaml: image.args.BUILDKIT_SYNTAX asks for the frontend {image}, which the operators have not allowed",
            hint="remove it, or have targets.yaml list it by digest under services.*.allow.frontends",
        )
