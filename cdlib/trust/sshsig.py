"""SSH signatures in the format of OpenSSH's PROTOCOL.sshsig: by which key one was made, and whether it can hold.

What counts is what `ssh-keygen` says. But that is a program, and anybody may write a thousand signatures that name a
key which is not theirs; those are told apart here first, in a ten-thousandth of a second each.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from cdlib.trust.encoding import Unsound

KEY_TYPES = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com", "ecdsa-sha2-nistp256", "sk-ecdsa-sha2-nistp256@openssh.com")
_MAGIC = b"SSHSIG"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}


@dataclass(frozen=True)
class SshSignature:
    """The fields of a signature: not verified."""

    key: bytes
    namespace: bytes
    reserved: bytes
    hash: bytes
    signature: bytes

    @property
    def public(self) -> str:
        """The public key that is in it, as `type base64`."""
        return f"{_fields(self.key, 1)[0].decode('ascii', 'replace')} {base64.b64encode(self.key).decode()}"

    def can_hold(self, message: bytes, namespace: str) -> bool:
        """Whether its key has signed `message`, for this namespace."""
        try:
            if self.namespace != namespace.encode() or self.hash not in _HASHES:
                return False
            digest = _HASHES[self.hash](message).digest()
            parts = (self.namespace, self.reserved, self.hash, digest)
            _verify(self.key, self.signature, _MAGIC + b"".join(struct.pack(">I", len(p)) + p for p in parts))
        except (Unsound, ValueError, InvalidSignature):
            return False
        return True


def read(armored: bytes) -> SshSignature:
    """The signature in its armor. Raises Unsound where there is none."""
    try:
        raw = base64.b64decode(b"".join(armored.strip().split(b"\n")[1:-1]), validate=True)
    except ValueError as problem:
        raise Unsound("it is no SSH signature") from problem
    if raw[:10] != _MAGIC + struct.pack(">I", 1):
        raise Unsound("it is no SSH signature")
    return SshSignature(*_fields(raw[10:], 5))


def type_of(key: str) -> str:
    """The type that a public key in base64 says itself; empty where it is none."""
    try:
        return _fields(base64.b64decode(key, validate=True), 1)[0].decode("ascii")
    except (ValueError, Unsound):
        return ""


def _verify(key: bytes, signature: bytes, signed: bytes) -> None:
    """Raise InvalidSignature, ValueError or Unsound unless `signature` is the key's on `signed`."""
    kind, made, rest = *_fields(signature, 2), _rest(signature, 2)
    curve = b"ecdsa" in kind
    name, *facts = _fields(key, 3 if curve else 2)
    if name != kind or name.decode("ascii", "replace") not in KEY_TYPES:
        raise Unsound("its key is of another kind")
    if name.startswith(b"sk-"):  # what a token signs: flags and a counter besides (PROTOCOL.u2f)
        (application,) = _fields(_rest(key, 3 if curve else 2), 1)
        signed = hashlib.sha256(application).digest() + rest + hashlib.sha256(signed).digest()
    if curve:
        r, s = (int.from_bytes(number, "big") for number in _fields(made, 2))
        public = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), facts[1])
        public.verify(encode_dss_signature(r, s), signed, ECDSA(SHA256()))
    else:
        Ed25519PublicKey.from_public_bytes(facts[0]).verify(made, signed)


def _fields(raw: bytes, count: int) -> list[bytes]:
    """The first `count` strings, each after its length. Raises Unsound where there are fewer."""
    found, at = [], 0
    for _ in range(count):
        length = int.from_bytes(raw[at : at + 4], "big")
        if at + 4 + length > len(raw):
            raise Unsound("it is cut short")
        found.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def _rest(raw: bytes, count: int) -> bytes:
    """What follows the first `count` strings."""
    return raw[sum(4 + len(field) for field in _fields(raw, count)) :]
