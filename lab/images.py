"""The images that the lab makes itself, since no hub is reached: pause, and Python for services."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path


def oci_archive(name: str, program: Path) -> bytes:
    """An OCI archive of an image named `name` that holds `program` alone, the same bytes each time."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("application/vnd.oci.image.config.v1+json", config),
            "layers": [describe("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    ).encode()
    entry = describe("application/vnd.oci.image.manifest.v1+json", manifest)
    index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {"io.containerd.image.name": name}}]}
    blobs = {f"blobs/sha256/{digest(blob)[7:]}": (blob, 0o644) for blob in (layer, config, manifest)}
    return _tar(
        {
            "oci-layout": (b'{"imageLayoutVersion": "1.0.0"}', 0o644),
            "index.json": (json.dumps(index).encode(), 0o644),
            **blobs,
        }
    )


def digest(blob: bytes) -> str:
    """The digest of `blob` as registries write it."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def describe(media_type: str, blob: bytes) -> dict[str, object]:
    """An OCI descriptor of `blob`."""
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, (content, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
