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
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cdlib.errors import Refused, RegistryRefused, Unavailable, UsageProblem
from cdlib.registry.manifest import Blob, Manifest, digest_of
from cdlib.registry.repository import Repository
from cdlib.trust import dsse
from cdlib.trust.encoding import LARGEST, Unsound, write_json
from cdlib.trust.keys import Keyring
from cdlib.trust.statement import read_statement

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
MOST = 200  # attestations of one kind by one key that are looked at: the newest
MOST_STRANGE = 20  # of those by unknown keys, which only say in a refusal why they do not count
MOST_READ = 2000  # layers of one tag, each a request: ten seconds where one takes 5 ms
MOST_CHECKED = 20_000  # signatures by keys that they are checked with: less than two seconds
BUDGET = 64 * 2**20  # bytes that are read of one tag
MOST_TAKEN_UP = 50  # announcements of others, looked at after one write
TRIES = 40
_WAIT = 0.05  # seconds at most, between two looks, by chance: for fewer writes, not for their safety
_FLOODED = "somebody floods it: docs/keys.md says how to write that tag anew (A flooded tag)"
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


def fetch(repository: Repository, digest: str, ring: Keyring | None = None) -> list[bytes]:
    """The envelopes beside `digest` that keys of `ring` have signed for it, and some others, in the tag's order.

    Who may push there can add as many as the registry takes. None of that is in the way: of each key and kind the
    newest MOST are kept, of all that does not count MOST_STRANGE. The smallest are read first, up to BUDGET, since ours
    are small; what is no envelope, is not there, or is larger than is said, is passed over, and taken from BUDGET too.

    Raises Refused where there are more than MOST_READ or MOST_CHECKED, and what Repository does: what cannot be read
    is not the same as what is not there.
    """
    tag = tag_of(digest)
    places: dict[Blob, int] = {}  # who adds a layer may say any size, also several of one digest
    for layer in _layers(repository, tag):
        blob = Blob(str(layer["digest"]), int(layer["size"]))
        if layer.get("mediaType") == ENVELOPE and 0 < blob.size <= LARGEST:
            places.setdefault(blob, len(places))
    if len(places) > MOST_READ:
        raise Refused(_too_many(repository, tag, len(places)), hint=_FLOODED)
    kept, had, left = _Kept(digest, ring or {}), set[str](), BUDGET
    for blob in sorted(places, key=lambda blob: (blob.size, -places[blob])):
        if blob.digest in had:
            continue
        left -= blob.size
        if left < 0:
            break
        with suppress(RegistryRefused):  # what a layer names need not be there
            envelope = repository.blob(blob, strict=True)
            had.add(blob.digest)
            kept.add(places[blob], envelope)
        if kept.checked > MOST_CHECKED:
            raise Refused(f"{repository.name}:{tag} has more signatures than are checked", hint=_FLOODED)
    return kept.envelopes()


def _too_many(repository: Repository, tag: str, count: int) -> str:
    return f"{repository.name}:{tag} has {count} attestations, and more than {MOST_READ} are not read"


class _Kept:
    """Envelopes about one digest, by who has signed them and what they say; of each such group the newest.

    `checked` is how often a signature was checked with a key.
    """

    def __init__(self, digest: str, ring: Keyring) -> None:
        self._digest, self._ring = digest, ring
        self._keys, self.checked = sum(len(keys) for keys in ring.values()), 0
        self._groups: dict[tuple[str, ...], dict[bytes, tuple[int, bytes]]] = {}

    def add(self, place: int, envelope: bytes) -> None:
        """Keep an envelope, and give up an older one where there are too many of its group.

        A payload counts once: anybody can make more envelopes of one that is signed, by adding signatures.
        """
        kind, payload = self._read(envelope)
        group = self._groups.setdefault(kind, {})
        group[payload] = max(group.get(payload, (place, envelope)), (place, envelope))
        if len(group) > (MOST if kind else MOST_STRANGE):
            del group[min(group, key=lambda each: group[each][0])]

    def envelopes(self) -> list[bytes]:
        """All that were kept, in order."""
        return [envelope for _, envelope in sorted(each for group in self._groups.values() for each in group.values())]

    def _read(self, envelope: bytes) -> tuple[tuple[str, ...], bytes]:
        """Who says what of the digest, and the payload; nobody where it does not count, and the envelope."""
        with suppress(Unsound):
            parsed = dsse.parse(envelope)
            self.checked += len(parsed.signatures) * self._keys
            statement = read_statement(envelope, self._ring)
            if self._digest in statement.digests:
                return (min(statement.signers), statement.predicate_type), parsed.payload
        return (), envelope


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
        missing = announced - {_short(layer) for layer in here}
        added = _announced(repository, prefix, _chosen(missing, mine))
        if not added:
            _require_present(repository, prefix, mine, here)
            return number > 0
        _require_room(repository, prefix, len(here) + len(added))
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
    found: list[Layer] = []
    for short in sorted(missing):
        with suppress(RegistryRefused):  # of ours that is told: it is not present then
            found += [layer for layer in _layers(repository, f"{prefix}.{short}") if _short(layer) == short]
    return found


def _chosen(missing: set[str], mine: set[str]) -> set[str]:
    """Mine, and of the others some by chance: whoever announces thousands keeps nobody from an end."""
    others = sorted(missing - mine)
    return (missing & mine) | set(random.sample(others, min(len(others), MOST_TAKEN_UP)))


def _require_room(repository: Repository, prefix: str, layers: int) -> None:
    if layers > MOST_READ:
        raise RegistryRefused(_too_many(repository, prefix, layers), hint=_FLOODED)


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
    """The layers at a tag as they are described there, none where there is no such tag, or an index.

    Raises RegistryRefused for what could not be written again beside others: NaN, half a surrogate pair.
    """
    manifest = repository.manifest(tag)
    if manifest is None or manifest.is_index:
        return []
    try:
        layers: list[Layer] = list(json.loads(manifest.raw).get("layers", ()))
        write_json(layers)
    except (ValueError, RecursionError) as problem:
        raise RegistryRefused(
            f"{repository.name}:{tag} is nothing that can be written again", hint=_FLOODED
        ) from problem
    return layers


def _short(layer: Mapping[str, Any]) -> str:
    """What an announcement's tag ends with: half of the envelope's digest, too long to meet another by chance."""
    return str(layer["digest"]).removeprefix("sha256:")[:32]
