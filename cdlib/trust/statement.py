"""in-toto statements (v1 written; v1 and v0.1, which cosign writes, read): what is said, of which digest, by whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cdlib.trust import dsse
from cdlib.trust.encoding import Unsound, read_json, require_fields, text_of, write_json
from cdlib.trust.keys import Keyring, PrivateKey

STATEMENT = "https://in-toto.io/Statement/v1"
STATEMENTS = (STATEMENT, "https://in-toto.io/Statement/v0.1")
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY = "https://slsa.dev/verification_summary/v1"
# Which keys of targets.yaml may say what. A key for one purpose proves nothing for another.
PURPOSES = {
    PROVENANCE: ("provenance",),
    TEST_RESULT: ("test-result",),
    SUMMARY: ("permit", "break-glass"),
}
MOST_SUBJECTS = 64


@dataclass(frozen=True)
class Statement:
    """A statement that was signed by a key which may say such things.

    `digests` are its subjects as `sha256:…`; `purposes` are those of targets.yaml's `keys` whose keys signed it, and
    `signers` the ids of these keys.
    """

    predicate_type: str
    digests: tuple[str, ...]
    predicate: dict[str, Any] = field(repr=False)
    purposes: frozenset[str]
    signers: frozenset[str] = frozenset()


def make_statement(name: str, digest: str, predicate_type: str, predicate: dict[str, Any], key: PrivateKey) -> bytes:
    """An envelope with one statement on the image `name`, a repository, at `digest`."""
    subject = [{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}]
    document = {"_type": STATEMENT, "subject": subject, "predicateType": predicate_type, "predicate": predicate}
    return dsse.sign(write_json(document), key)


def read_statement(raw: bytes, ring: Keyring) -> Statement:
    """The statement in an envelope. Raises Unsound unless a key of `ring` signed it that may say its predicate."""
    every = {key.id: key for keys in ring.values() for key in keys}
    payload, signers = dsse.verify(raw, every.values())
    # Only what a known key has signed is looked into.
    document = require_fields(read_json(payload), ("_type", "subject", "predicateType", "predicate"))
    if document["_type"] not in STATEMENTS:
        raise Unsound(f"it is a {document['_type']!r:.80}, and no in-toto statement")
    kind = text_of(document, "predicateType", longest=300)
    if not isinstance(document["predicate"], dict):
        raise Unsound("its predicate is no object")
    known = PURPOSES.get(kind, ())
    purposes = frozenset(name for name in known if any(key.id in signers for key in ring.get(name, ())))
    if not purposes:
        wanted = " or ".join(f"keys.{name}" for name in known) or "no key at all"
        raise Unsound(f"the key that signed it may not say {kind}: that is for {wanted}")
    whose = signers & {key.id for purpose in purposes for key in ring[purpose]}
    return Statement(kind, _subjects(document["subject"]), document["predicate"], purposes, whose)


def _subjects(said: object) -> tuple[str, ...]:
    """The sha256 digests of the subjects: lower-case hex only, as cosign compares it."""
    if not isinstance(said, list) or not 1 <= len(said) <= MOST_SUBJECTS:
        raise Unsound(f"it does not have 1 to {MOST_SUBJECTS} subjects")
    digests = []
    for subject in said:
        digest = require_fields(subject, ("digest",), _DESCRIPTOR)["digest"]
        if not isinstance(digest, dict):
            raise Unsound("a subject has no digest")
        digests.append(f"sha256:{digest.get('sha256')}")
    return tuple(digests)


# The fields of in-toto's ResourceDescriptor.
_DESCRIPTOR = ("name", "uri", "content", "downloadLocation", "mediaType", "annotations")
