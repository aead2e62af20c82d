"""Keys that tests sign with, and the operators' side of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from planted import plant

from cdlib.trust.keys import Keyring, PrivateKey, read_keyring, read_private

PURPOSES = ("provenance", "test-result", "permit", "break-glass")


@dataclass(frozen=True)
class Signers:
    """A private key for each purpose and one that nobody lists, each in a file, and the public ones beside."""

    folder: Path

    @property
    def files(self) -> Mapping[str, tuple[Path, ...]]:
        return {purpose: (self.folder / f"{purpose}.pub",) for purpose in PURPOSES}

    @cached_property
    def ring(self) -> Keyring:
        return read_keyring(self.files)

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def key(self, name: str) -> PrivateKey:
        return read_private(self.file(name))


def new_signers(folder: Path) -> Signers:
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*PURPOSES, "stranger"):
        write_key(folder / f"{name}.pem", ec.generate_private_key(ec.SECP256R1()))
    return Signers(folder)


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a key as PKCS#8, and its public half beside it as .pub."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    plant(f"the signing key {file.stem}", private, file)
    file.write_bytes(private)
    file.chmod(0o600)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.with_suffix(".pub").write_bytes(public)
