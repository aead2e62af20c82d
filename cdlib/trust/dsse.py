"""DSSE envelopes (github.com/secure-systems-lab/dsse, v1.0): signing, and reading without benefit of the doubt.

The cryptography is that of the package `cryptography`. A signature is no identity, since whoever sees one can make
another valid one of it: keys are counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cdlib.trust.encoding import (
    Unsound,
    read_base64,
    read_json,
    require_fields,
    text_of,
    write_base64,
    write_json,
)
from cdlib.trust.keys import PrivateKey, PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MOST_SIGNATURES = 8


@dataclass(frozen=True)
class Envelope:
    """A payload, as the bytes that were signed, and its signatures in DER. Not verified."""

    payload: bytes
    signatures: tuple[bytes, ...]


def pae(payload_type: str, body: bytes) -> bytes:
    """The pre-authentication encoding: what is signed. Lengths are counts of bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def sign(body: bytes, key: PrivateKey) -> bytes:
    """An envelope around `body`, signed by ECDSA over SHA-256."""
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    signature = key.key.sign(pae(PAYLOAD_TYPE, body), ECDSA(SHA256()))
    signed = {"keyid": key.public.id, "sig": write_base64(signature)}
    return write_json({"payloadType": PAYLOAD_TYPE, "payload": write_base64(body), "signatures": [signed]})


def parse(raw: bytes) -> Envelope:
    """The envelope in `raw`. Raises Unsound unless it is exactly what the specification writes."""
    document = require_fields(read_json(raw), ("payload", "payloadType", "signatures"))
    if document["payloadType"] != PAYLOAD_TYPE:
        raise Unsound(f"its payload type is {document['payloadType']!r:.80}, and not {PAYLOAD_TYPE}")
    signatures = document["signatures"]
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= MOST_SIGNATURES:
        raise Unsound(f"it does not have 1 to {MOST_SIGNATURES} signatures")
    return Envelope(read_base64(document["payload"]), tuple(_signature(entry) for entry in signatures))


def verify(raw: bytes, keys: Iterable[PublicKey]) -> tuple[bytes, frozenset[str]]:
    """The payload of an envelope, and the ids of those of `keys` that signed it: at least one, or Unsound.

    The envelope's own key ids are hints that cosign leaves empty; every key is tried.
    """
    envelope = parse(raw)
    signed = pae(PAYLOAD_TYPE, envelope.payload)
    good = frozenset(key.id for key in keys if any(_holds(key, signature, signed) for signature in envelope.signatures))
    if not good:
        raise Unsound("no key that targets.yaml lists has signed it")
    return envelope.payload, good


def _signature(entry: object) -> bytes:
    document = require_fields(entry, ("sig",), ("keyid",))
    if "keyid" in document:
        text_of(document, "keyid", longest=200)
    return read_base64(document["sig"])


def _holds(key: PublicKey, signature: bytes, signed: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.key.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
