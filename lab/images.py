"""The images that the lab makes itself, since no hub is reached: pause, and Python for services."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from cdlib.errors import Unavailable
from cdlib.files import replace_file
from lab import base
from lab.layout import Layout

REPOSITORY = "lab/python"
_OCI = "application/vnd.oci.image"
_DOCKER = "application/vnd.docker"
_MANIFEST = f"{_DOCKER}.distribution.manifest.v2+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATIENCE = 60.0  # seconds for one answer of the registry


def pause(layout: Layout, program: Path, name: str) -> Path:
    """The OCI archive of the image that holds a pod's namespaces, made of `program` alone."""
    archive = layout.images / f"{program.parent.name}.tar"
    if not archive.exists():
        layout.images.mkdir(parents=True, exist_ok=True)
        replace_file(archive, _archive(name, program))
    return archive


def push_base(layout: Layout, registry: str, say: Callable[[str], None]) -> None:
    """Push `lab/python:3.11` and `lab/python:3.11-slim` to `registry` (host:port), unless it has them.

    Raises Unavailable where the registry does not take them.
    """
    with _asking(registry) as session:
        _push_base(layout, session, registry, say)


@contextmanager
def _asking(registry: str) -> Iterator[requests.Session]:
    """A session for the block; what requests raises in it becomes Unavailable."""
    try:
        with requests.Session() as session:
            yield session
    except requests.RequestException as problem:
        raise Unavailable(
            f"the registry {registry} does not answer as it should",
            details=[str(problem)[:300]],
            hint="start it by python -m lab up; python -m lab logs registry says what it did",
        ) from problem


def _push_base(layout: Layout, session: requests.Session, registry: str, say: Callable[[str], None]) -> None:
    layers = base.layers(layout.images)
    root = f"{scheme(registry, session)}://{registry}/v2/{REPOSITORY}"
    for tag, used in (("3.11-slim", layers[:1]), ("3.11", layers)):
        config = _base_config(used)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _describe(f"{_DOCKER}.container.image.v1+json", config),
                "layers": [
                    {"mediaType": f"{_DOCKER}.image.rootfs.diff.tar.gzip", "digest": part.digest, "size": part.size}
                    for part in used
                ],
            }
        ).encode()
        if _digest_of(session, root, tag) == digest(manifest):
            continue
        say(f"pushing {registry}/{REPOSITORY}:{tag}")
        for part in used:
            _upload(session, root, part.digest, layout.images / base.KEY / part.file)
        _upload(session, root, digest(config), config)
        headers = {"Content-Type": _MANIFEST}
        _check(session.put(f"{root}/manifests/{tag}", manifest, headers=headers, timeout=_PATIENCE))


def base_digest(registry: str, tag: str) -> str:
    """The digest of a tag of `lab/python` in `registry`; empty where it is not there.

    Raises Unavailable where the registry does not answer.
    """
    with _asking(registry) as session:
        return _digest_of(session, f"{scheme(registry, session)}://{registry}/v2/{REPOSITORY}", tag)


def _digest_of(session: requests.Session, root: str, tag: str) -> str:
    answer = session.head(f"{root}/manifests/{tag}", headers={"Accept": _MANIFEST}, timeout=_PATIENCE)
    return answer.headers.get("Docker-Content-Digest", "")


def push_program(program: Path, registry: str, repository: str) -> str:
    """Push an image that holds `program` alone to `registry`/`repository`; returns its digest.

    Raises Unavailable where the registry does not take it.
    """
    layer, config, manifest = _single(program)
    with _asking(registry) as session:
        root = f"{scheme(registry, session)}://{registry}/v2/{repository}"
        for blob in (layer, config):
            _upload(session, root, digest(blob), blob)
        headers = {"Content-Type": f"{_OCI}.manifest.v1+json"}
        _check(session.put(f"{root}/manifests/{digest(manifest)}", manifest, headers=headers, timeout=_PATIENCE))
    return digest(manifest)


def scheme(registry: str, session: requests.Session) -> str:
    """How `registry` is spoken to: `http` on this machine, elsewhere whichever of the two it answers."""
    host = registry.rpartition(":")[0] or registry
    if host == "localhost" or host.startswith("127."):
        session.trust_env = False  # a proxy for the way out is not for here
        return "http"
    try:
        session.get(f"https://{registry}/v2/", timeout=5)
    except requests.exceptions.SSLError:
        return "http"
    except requests.exceptions.RequestException as problem:
        raise Unavailable(
            f"the registry {registry} does not answer", details=[str(problem)[:200]], hint="check its address"
        ) from problem
    return "https"


def _base_config(layers: list[base.Layer]) -> bytes:
    return json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
                "Cmd": ["python3"],
            },
            "created": "1970-01-01T00:00:00Z",
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": layer.file} for layer in layers],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    ).encode()


def _upload(session: requests.Session, root: str, name: str, content: bytes | Path) -> None:
    if session.head(f"{root}/blobs/{name}", timeout=_PATIENCE).ok:
        return
    begun = _check(session.post(f"{root}/blobs/uploads/", timeout=_PATIENCE))
    place = requests.compat.urljoin(root, begun.headers["Location"])
    data = content if isinstance(content, bytes) else content.read_bytes()
    headers = {"Content-Type": "application/octet-stream"}
    _check(session.put(place, data, params={"digest": name}, headers=headers, timeout=_PATIENCE))


def _check(answer: requests.Response) -> requests.Response:
    if not answer.ok:
        said = f"{answer.status_code} {answer.text[:200]}"
        raise Unavailable(
            f"the registry refused {answer.request.method} {answer.request.url}",
            details=[said],
            hint="python -m lab logs registry says why",
        )
    return answer


def architecture() -> str:
    """This machine's architecture, as images name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def digest(blob: bytes) -> str:
    """The digest of `blob` as registries write it."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _describe(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def _single(program: Path) -> tuple[bytes, bytes, bytes]:
    """Layer, configuration and manifest of an image that holds `program` alone; the same bytes each time."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    config = json.dumps(
        {
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _describe(f"{_OCI}.config.v1+json", config),
            "layers": [_describe(f"{_OCI}.layer.v1.tar", layer)],
        }
    ).encode()
    return layer, config, manifest


def _archive(name: str, program: Path) -> bytes:
    """An OCI archive of an image named `name` that holds `program` alone; the same bytes each time."""
    layer, config, manifest = _single(program)
    entry = {**_describe(f"{_OCI}.manifest.v1+json", manifest), "annotations": {"io.containerd.image.name": name}}
    index = {"schemaVersion": 2, "manifests": [entry]}
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    blobs = {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    return _tar({path: (content, 0o644) for path, content in {**files, **blobs}.items()})


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, (content, mode) in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), mode
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
