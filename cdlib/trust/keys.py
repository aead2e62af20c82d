"""Keys of the people and jobs that vouch for something: ECDSA P-256 in PEM, and what each may say.

P-256, because every cosign both signs and verifies with it; cosign cannot verify its own Ed25519 attestations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.errors import UsageProblem
from cdlib.given import given_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

VARIABLE = "CD_SIGNING_KEY"  # names the file of a private key
LARGEST = 16 * 1024  # bytes of a key's file
_MAKE = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem"
_PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\Z")
_PRIVATE = re.compile(r"-----BEGIN (EC )?PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END (EC )?PRIVATE KEY-----\Z")


@dataclass(frozen=True)
class PublicKey:
    """A key to verify by. `id` is `SHA256:` and the hex digest of its PKIX DER; `where` is its file."""

    id: str
    key: EllipticCurvePublicKey = field(repr=False, compare=False)
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class PrivateKey:
    """A key to sign with. Nothing shows what is in it."""

    key: EllipticCurvePrivateKey = field(repr=False, compare=False)

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return _public(self.key.public_key(), "")


Keyring = Mapping[str, tuple[PublicKey, ...]]  # what a key may be for, and the keys that are


def read_keyring(files: Mapping[str, Iterable[Path]]) -> Keyring:
    """The public keys of each purpose. Raises UsageProblem where a file has none, or one key has two purposes.

    A key for two purposes would let whoever holds it be two witnesses.
    """
    ring = {purpose: tuple(read_public(file) for file in paths) for purpose, paths in files.items()}
    seen: dict[str, tuple[str, str]] = {}
    for purpose, keys in ring.items():
        for key in keys:
            other, where = seen.setdefault(key.id, (purpose, key.where))
            if (other, where) != (purpose, key.where):
                raise UsageProblem(
                    f"targets.yaml lists one key twice: keys.{purpose} {key.where} and keys.{other} {where}",
                    hint=f"make a key for each: {_MAKE}",
                )
    return ring


def read_public(file: Path) -> PublicKey:
    """The public key in a PEM file, which holds nothing else."""
    return public_from_pem(_text(file, "public key"), str(file))


def public_from_pem(text: str, where: str) -> PublicKey:
    """The public key in `text`; `where` names it in messages. Raises UsageProblem."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    hint = "write it by: openssl pkey -in KEY.pem -pubout -out KEY.pub"
    if not _PUBLIC.match(text.strip().replace("\r\n", "\n")):  # the library takes the first of several, and any lead
        raise UsageProblem(f"{where} is not exactly one public key in PEM", hint=hint)
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise UsageProblem(f"{where} holds no public key that can be read", hint=hint) from problem
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise UsageProblem(f"{where} is no ECDSA P-256 key", hint=f"make one by: {_MAKE}")
    return _public(key, where)


def read_private(file: Path) -> PrivateKey:
    """The private key in a PEM file. Raises UsageProblem, which shows nothing of it; others must not read the file."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if "PRIVATE KEY" in str(file):  # and must not be shown
        raise UsageProblem(f"{VARIABLE} holds a key itself", hint="put the key into a file, and name that file")
    text = _text(file, "signing key")
    if file.stat().st_mode & 0o007:
        raise UsageProblem(f"everybody on this machine may read the signing key {file}", hint=f"chmod 600 {file}")
    if not _PRIVATE.match(text.strip().replace("\r\n", "\n")):
        raise UsageProblem(f"{file} is not exactly one private key in PEM, without a password",
                           hint=f"make one by: {_MAKE}")  # fmt: skip
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise UsageProblem(f"{file} is no ECDSA P-256 key", hint=f"make one by: {_MAKE}")
    return PrivateKey(key)


def _public(key: EllipticCurvePublicKey, where: str) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey("SHA256:" + hashlib.sha256(der).hexdigest(), key, where)


def _text(file: Path, what: str) -> str:
    hint = "check the path and the file's owner and mode"
    try:
        return given_bytes(file, f"the {what}", hint=hint, most=LARGEST).decode("ascii")
    except UnicodeDecodeError as problem:
        raise UsageProblem(f"the {what} {file}: is no PEM", hint=hint) from problem
