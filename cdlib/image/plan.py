"""What is to be built for a variant, and its key: the same key always means the same image."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cdlib.image.bases import Base, find_bases
from cdlib.image.engine import Engine
from cdlib.image.platforms import HERE, Platforms
from cdlib.image.recipe import Recipe, find_recipe
from cdlib.registry.repository import Registries
from cdlib.run import Run
from cdlib.service import Service
from cdlib.source import Source
from cdlib.target import Target

FORMAT = 2  # raised when a change here makes other images of the same tree
KEY_LABEL = "org.cdlib.key"
VARIANT_LABEL = "org.cdlib.variant"
TREE_LABEL = "org.cdlib.tree"
DIRTY_LABEL = "org.cdlib.dirty"
# A path on this machine, or text that is no address, says nothing to others.
_PUBLIC_URL = re.compile(r"(?:(?:https?|ssh|git)://|[\w.-]+@[\w.-]+:)[!-~]+\Z")


@dataclass(frozen=True)
class Plan:
    """One image to be built.

    `recipe` is the text that the builder gets, its bases pinned; `path` its name in the tree. `stage` is empty
    for the last one. `frontend` is the BuildKit frontend that reads it, if any. `key` is 64 hex digits, and so is
    `configuration`, over what cd.yaml has to say. With `attested` somebody signs for what is made: then it is made of
    the tree and its bases alone, and of nothing that another build has left.
    """

    service: str
    variant: str
    stage: str
    recipe: str
    path: str
    frontend: str
    is_dockerfile: bool
    args: Mapping[str, str]
    labels: Mapping[str, str]
    key: str
    dirty: bool
    configuration: str = ""
    bases: tuple[Base, ...] = ()
    attested: bool = False
    platforms: Platforms = HERE

    @property
    def local_name(self) -> str:
        """The tag under which the Engine keeps the image: never the same for what is attested and what is not."""
        folder = "cdlib-attested" if self.attested else "cdlib"
        return f"{folder}/{self.service}:{self.variant}-{self.key[:16]}"

    @property
    def apart(self) -> str:
        """What an attested build shares caches with: builds of the very same tree, and no other."""
        return f"cd-{self.labels[TREE_LABEL]}" if self.attested else ""

    @property
    def candidate_tag(self) -> str:
        """The tag under which the candidates' repository keeps it: at most 118 characters."""
        return f"{self.variant}-{self.key}"

    @property
    def tree_tag(self) -> str:
        """The tag under which the candidates' repository has the last candidate of the tree, whatever its bases."""
        return tree_tag(self.variant, self.labels[TREE_LABEL])

    @property
    def cache_tag(self) -> str:
        """The tag in the candidates' repository that builds of this variant take their cache from."""
        return f"cache-{self.variant}"

    def made(self, labels: Mapping[str, str]) -> bool:
        """Whether an image with `labels` was built by this plan."""
        return all(labels.get(name) == self.labels[name] for name in (KEY_LABEL, VARIANT_LABEL, DIRTY_LABEL))


def tree_tag(variant: str, tree: str) -> str:
    """At most 123 characters. What cd.yaml says of the build is part of the tree."""
    return f"{variant}-tree-{tree}"


def make_plan(
    run: Run,
    source: Source,
    service: Service,
    target: Target | None,
    variant: str,
    registries: Registries,
    engine: Engine,
) -> Plan:
    """The plan for one variant. Asks registries for the digests of base images; writes nothing."""
    frontends = target.allowed.frontends if target else ()
    platforms = engine.platforms
    recipe = find_recipe(run, source, service, service.variant(variant), frontends, platforms)
    bases = find_bases(run, recipe.images, registries, engine, recipe.path)
    key = _key(source, service, variant, recipe, bases, platforms.target)
    return Plan(
        service=service.name,
        variant=variant,
        stage="" if recipe.generated else recipe.stage,
        recipe=recipe.pinned({base.name: base.pin for base in bases}, service.image.args, platforms),
        path=recipe.path,
        frontend=recipe.frontend,
        is_dockerfile=recipe.is_dockerfile,
        args=service.image.args,
        labels=_labels(source, service, variant, key, next((b for b in bases if b.name == recipe.base), None)),
        key=key,
        dirty=source.dirty,
        configuration=service.build_configuration(variant),
        bases=bases,
        platforms=platforms,
    )


def _key(source: Source, service: Service, variant: str, recipe: Recipe, bases: tuple[Base, ...], platform: str) -> str:
    """64 hex digits over everything that decides what the image is, and over nothing else."""
    facts = {
        "format": FORMAT,
        "tree": source.tree,
        "dirty": source.dirty,
        "variant": variant,
        "configuration": service.build_configuration(variant),
        "generated": hashlib.sha256(recipe.text.encode()).hexdigest() if recipe.generated else "",
        "frontend": recipe.frontend,
        "platform": platform,  # the digest of a base is that of its index, the same for all
        "bases": {base.name: base.digest for base in bases},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _labels(source: Source, service: Service, variant: str, key: str, base: Base | None) -> dict[str, str]:
    """The image's labels. A base image's own must not show through, so `dirty` is always said."""
    labels = {
        "org.opencontainers.image.title": service.name,
        KEY_LABEL: key,
        VARIANT_LABEL: variant,
        TREE_LABEL: source.tree,
        DIRTY_LABEL: "true" if source.dirty else "false",
    }
    if _PUBLIC_URL.match(source.url):
        labels["org.opencontainers.image.source"] = source.url
    if base:
        labels["org.opencontainers.image.base.name"] = base.reference
        labels["org.opencontainers.image.base.digest"] = base.digest
    return labels
