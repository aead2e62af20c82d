"""A file out of a package of npm's registry, pinned by the registry's own integrity hash; npm itself is not needed."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from cdlib.errors import Unavailable
from lab.layout import Layout

REGISTRY = "https://registry.npmjs.org"
_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")  # as npm itself reads them
_PATIENCE = 60.0  # seconds for one answer
_LARGEST = 64 * 2**20  # bytes of a package
Say = Callable[[str], None]


@dataclass(frozen=True)
class Package:
    """One package: its version, its sha512 as `npm view NAME dist.integrity` has it, and the file that is kept."""

    name: str
    version: str
    integrity: str
    file: str

    def path(self, layout: Layout) -> Path:
        """Where its file is kept."""
        return layout.tools / f"{self.name}-{self.version}" / self.file


# What checks pages for people who cannot see them well, or not at all.
AXE = Package(
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    "axe.min.js",
)


def install(package: Package, layout: Layout, say: Say, environ: Mapping[str, str] = os.environ) -> None:
    """Fetch the package unless it is there; its folder appears once it is whole.

    The registry is that of `npm_config_registry`, by default the public one. Raises Unavailable where it does not have
    the package, or has another one under that name.
    """
    place = package.path(layout)
    if place.exists():
        return
    say(f"fetching {package.name} {package.version}")
    content = _taken_out(package, _fetch(package, _registry(environ)))
    layout.tools.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=layout.tools) as scratch:
        made = Path(scratch) / package.name
        made.mkdir()
        (made / package.file).write_bytes(content)
        made.rename(place.parent)


def _registry(environ: Mapping[str, str]) -> str:
    return next((environ[name] for name in _VARIABLES if environ.get(name)), REGISTRY).rstrip("/")


def _fetch(package: Package, registry: str) -> bytes:
    """The package's archive, which is the one that was pinned."""
    url = f"{registry}/{package.name}/-/{package.name}-{package.version}.tgz"
    try:
        with requests.get(url, timeout=_PATIENCE, stream=True) as answer:
            answer.raise_for_status()
            archive = b"".join(_up_to(answer, _LARGEST))
    except requests.RequestException as problem:
        raise Unavailable(
            f"{package.name} {package.version} cannot be fetched",
            details=[str(problem)[:300]],
            hint="see whether npm's registry can be reached, or name a mirror by npm_config_registry",
        ) from problem
    kind, _, known = package.integrity.partition("-")
    if base64.b64encode(hashlib.new(kind, archive).digest()).decode() != known:
        raise Unavailable(
            f"{url} is not the {package.name} {package.version} that is pinned: its {kind} is another",
            hint="see what npm_config_registry names; nothing of it was kept",
        )
    return archive


def _up_to(answer: requests.Response, most: int) -> list[bytes]:
    parts, size = [], 0
    for part in answer.iter_content(2**16):
        size += len(part)
        parts.append(part)
        if size > most:  # what is cut off fails by its hash
            break
    return parts


def _taken_out(package: Package, archive: bytes) -> bytes:
    """The one file, read without unpacking anything."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as opened:
        found = opened.extractfile(f"package/{package.file}")
        assert found is not None, f"{package.name} has no {package.file}"
        return found.read()
