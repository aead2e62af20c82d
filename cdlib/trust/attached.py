"""Attestations beside an image, where cosign 2.6 keeps them: the tag `sha256-<hex>.att`, one layer an envelope.

A registry has no compare-and-swap: of two writers that read that tag, add to it and write it, the later one loses
what the earlier one added. So each envelope is announced first under a tag of its own, where nobody meets anybody,
and after every write a writer looks again at what is announced. Whoever writes last has then seen all: those that were
announced before it looked are in, and those announced later are written later.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdlib.errors import Refused, RegistryRefused, Unavailable, UsageProblem
from cdlib.registry.manifest import Blob, Manifest, digest_of
from cdlib.registry.repository import Repository
from cdlib.trust.encoding import LARGEST, write_json

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
MOST = 200  # attestations beside one image
TRIES = 40
_WAIT = 0.05  # seconds at most, between two looks, by chance: for fewer writes, not for their safety
_ZERO = "0001-01-01T00:00:00Z"
Layer = dict[str, Any]


@dataclass(frozen=True)
class Attestation:
    """An envelope, and the predicate type that is written beside it as a hint."""

    envelope: bytes
    predicate_type: str


def tag_of(digest: str) -> str:
    """The tag that holds the attestations of `digest`."""
    return digest.replace(":", "-") + ".att"


def fetch(repository: Repository, digest: str) -> list[bytes]:
    """The envelopes beside `digest`, none of them verified. What is no envelope, or far too large, is passed over.

    Raises Refused where there are more than anybody writes, and what Repository does: what cannot be read is not
    the same as what is not there.
    """
    layers = [layer for layer in _layers(repository, tag_of(digest)) if layer.get("mediaType") == ENVELOPE]
    if len(layers) > MOST:
        raise Refused(
            f"{repository.name}:{tag_of(digest)} has {len(layers)} attestations, and more than {MOST} are not read",
            hint="see who writes there; delete that tag, and let the gate attest the image again",
        )
    blobs = [_blob(layer) for layer in layers]
    return [repository.blob(blob) for blob in dict.fromkeys(blobs) if blob.size <= LARGEST]


def attach(repository: Repository, digest: str, attestations: Iterable[Attestation]) -> bool:
    """Put attestations beside `digest`, whoever else does so now. Returns whether that changed anything.

    Without any it only puts back those that were announced and are missing. Raises Unavailable where the tag does
    not come to rest.
    """
    prefix = tag_of(digest)
    mine = {_announce(repository, prefix, each) for each in attestations}
    for number in range(TRIES):
        announced = {tag.removeprefix(f"{prefix}.") for tag in repository.tags(f"{prefix}.")}
        here = _layers(repository, prefix)
        added = _announced(repository, prefix, announced - {_short(layer) for layer in here})
        if not added:
            _require_present(repository, prefix, mine, here)
            return number > 0
        _put(repository, prefix, [*here, *added])
        repository.transport.deadline.require("attaching attestations")
        time.sleep(random.uniform(0, _WAIT))
    raise Unavailable(
        f"{repository.name}:{prefix} is written by others all the time", hint="run this again when they have ended"
    )


def _announce(repository: Repository, prefix: str, attestation: Attestation) -> str:
    """Announce one attestation; what its announcement's tag ends with."""
    short = _short({"digest": digest_of(attestation.envelope)})
    if len(attestation.envelope) > LARGEST:
        raise UsageProblem(f"an attestation of more than {LARGEST} bytes is not written", hint="name fewer tests in it")
    if not repository.digest(f"{prefix}.{short}"):
        blob = repository.upload(attestation.envelope)
        # cosign looks for both names; under the first one its signatures of images stand.
        hints = {"dev.cosignproject.cosign/signature": "", "predicateType": attestation.predicate_type}
        layer = {"mediaType": ENVELOPE, "size": blob.size, "digest": blob.digest, "annotations": hints}
        _put(repository, f"{prefix}.{short}", [layer])
    return short


def _announced(repository: Repository, prefix: str, missing: set[str]) -> list[Layer]:
    """The announced layers of `missing`. A tag that holds something else is none of ours, and announces nothing."""
    found = ((short, _layers(repository, f"{prefix}.{short}")) for short in sorted(missing))
    return [layer for short, layers in found for layer in layers if _short(layer) == short]


def _require_present(repository: Repository, prefix: str, mine: set[str], here: list[Layer]) -> None:
    lost = mine - {_short(layer) for layer in here}
    if lost:
        raise RegistryRefused(
            f"{repository.name}:{prefix}.{min(lost)} holds something else than the attestation that it is named by",
            hint="find out who wrote it, delete that tag, and run this again",
        )


def _put(repository: Repository, tag: str, layers: list[Layer]) -> None:
    config = {
        "architecture": "",
        "created": _ZERO,
        "history": [{"created": _ZERO}] * len(layers),
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        "config": {},
    }
    blob = repository.upload(write_json(config))
    described = {"mediaType": CONFIG, "size": blob.size, "digest": blob.digest}
    raw = write_json({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers})
    repository.put_manifest(tag, Manifest(raw, MANIFEST, digest_of(raw)))


def _layers(repository: Repository, tag: str) -> list[Layer]:
    """The layers at a tag as they are described there, none where there is no such tag."""
    manifest = repository.manifest(tag)
    return list(json.loads(manifest.raw).get("layers", ())) if manifest else []


def _blob(layer: Mapping[str, Any]) -> Blob:
    return Blob(str(layer["digest"]), int(layer["size"]))


def _short(layer: Mapping[str, Any]) -> str:
    """What an announcement's tag ends with: half of the envelope's digest, too long to meet another by chance."""
    return str(layer["digest"]).removeprefix("sha256:")[:32]
