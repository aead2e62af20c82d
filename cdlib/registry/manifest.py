"""Manifests, kept as the bytes that came and never written anew, and what they say.

Each digest is computed here: what a registry says of its own content proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cdlib.answers import Answer
from cdlib.errors import RegistryRefused
from cdlib.reference import DIGEST

IMAGE_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


def digest_of(data: bytes) -> str:
    """`sha256:` and the hex digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """What a manifest says of one blob; `size` in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A manifest as it came. `digest` is computed from `raw`."""

    raw: bytes = field(repr=False)
    media_type: str
    digest: str

    @property
    def is_index(self) -> bool:
        """Whether it lists other manifests, one a platform."""
        return self.media_type in INDEX_TYPES

    @property
    def children(self) -> tuple[str, ...]:
        """The digests that an index lists."""
        return tuple(str(child["digest"]) for child in self._document.get("manifests", ()))

    @property
    def config(self) -> Blob:
        """The image's configuration, by whose digest the Engine knows the image."""
        said = self._document.get("config", {})
        return Blob(str(said.get("digest", "")), int(said.get("size", 0)))

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Configuration and layers, each once."""
        layers = [Blob(str(layer["digest"]), int(layer["size"])) for layer in self._document.get("layers", ())]
        return tuple(dict.fromkeys([*layers, self.config]))

    @property
    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.raw)
        return document


def read_manifest(answer: Answer, name: str) -> Manifest:
    """The manifest in an answer. Raises RegistryRefused where it is of no kind that we know."""
    try:
        document = json.loads(answer.body)
        said = str(document.get("mediaType", ""))
        kind = answer.headers.get("Content-Type", "").split(";")[0].strip()
        kind = kind if kind in (*IMAGE_TYPES, *INDEX_TYPES) else said
        manifest = Manifest(answer.body, kind, digest_of(answer.body))
        sound = kind in (*IMAGE_TYPES, *INDEX_TYPES) and said in ("", kind)
        digests = manifest.children if manifest.is_index else tuple(blob.digest for blob in manifest.blobs)
        sound = sound and all(DIGEST.match(digest) for digest in digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        sound = False
    if not sound:
        raise RegistryRefused(f"{name} is no image that can be read", hint="build and push it again")
    return manifest
