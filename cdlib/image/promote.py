"""Taking an image from one repository to another: by digest, byte for byte, and nothing that is there already."""

from __future__ import annotations

from dataclasses import dataclass

from cdlib.errors import RegistryRefused
from cdlib.registry.manifest import Manifest
from cdlib.registry.repository import Repository


@dataclass
class Moved:
    """What a promotion did with blobs: taken over inside the registry, copied as bytes, or there already."""

    mounted: int = 0
    copied: int = 0
    present: int = 0


def promote(source: Repository, destination: Repository, manifest: Manifest, moved: Moved | None = None) -> Moved:
    """Bring `manifest` and all that it names from `source` to `destination`, where no tag points to it yet.

    Blobs come before the manifests that name them, an index's children before the index: at no moment does the
    destination have something that is not whole.
    """
    moved = moved or Moved()
    if destination.digest(manifest.digest):
        return moved
    for digest in manifest.children:
        child = source.manifest(digest)
        if child is None:
            raise RegistryRefused(
                f"{source.name}@{manifest.digest} lists {digest}, which {source.name} does not have",
                hint="push the image again, all platforms of it",
            )
        promote(source, destination, child, moved)
    if not manifest.is_index:
        for blob in manifest.blobs:
            if source.transport.host == destination.transport.host and destination.mount(blob, source):
                moved.mounted += 1
            elif destination.has_blob(blob):
                moved.present += 1
            else:
                destination.copy(blob, source)
                moved.copied += 1
    destination.put_manifest(manifest.digest, manifest)
    return moved


def set_tag(repository: Repository, tag: str, manifest: Manifest) -> None:
    """Point `tag` to a manifest that is there, and read it back."""
    repository.put_manifest(tag, manifest)
    found = repository.manifest(tag)
    if found is None or found.raw != manifest.raw:
        has = found.digest if found else "nothing"
        raise RegistryRefused(
            f"{repository.name}:{tag} was written as {manifest.digest}, and reads back as {has}",
            hint="another run may write the same tag: run this again, and see that only one does",
        )
