"""Who is who in the loop: ssh keys, passwords, and the certificates between Zuul and ZooKeeper."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lab import pki
from lab.layout import LOOPBACK
from lab.loop.places import Places

USERS = ("admin", "zuul", "alice", "bob", "cd")
# What is no account of Gerrit's: Zuul's own secrets, and Jenkins' users, one for each of Zuul's jobs that call it.
OTHERS = ("keystore", "operator", "jenkins-admin", "jenkins-zuul", "jenkins-deploy")
# Who signs what, one key each: docs/keys.md.
SIGNING = ("build", "test", "permit", "break-glass")
_SUBJECTS = (
    pki.Subject("zookeeper", "zookeeper", (), (LOOPBACK, "localhost")),
    pki.Subject("zuul", "zuul"),
)


def ensure(places: Places) -> None:
    """Make every key, password and certificate that is not there yet."""
    pki.issue(places.keys, _SUBJECTS)
    for user in USERS:
        if not places.ssh_key(user).exists():
            _ssh_key(places.ssh_key(user), ed25519.Ed25519PrivateKey.generate(), user)
    if not (places.keys / "node-host").exists():
        _ssh_key(places.keys / "node-host", ed25519.Ed25519PrivateKey.generate(), "node")
    if not (places.keys / "node").exists():  # Zuul's executor reaches its nodes with it
        _ssh_key(places.keys / "node", rsa.generate_private_key(public_exponent=65537, key_size=3072), "zuul")
    for name in SIGNING:
        if not places.signing_key(name).exists():
            _signing_key(places.signing_key(name))
    kept = _passwords_file(places)
    known = json.loads(kept.read_text()) if kept.exists() else {}
    wanted = {name: known.get(name) or secrets.token_urlsafe(24) for name in (*USERS, *OTHERS)}
    if wanted != known:
        pki.write_private(kept, json.dumps(wanted, indent=1).encode())
    chain = b"".join((places.keys / name).read_bytes() for name in ("zookeeper.key", "zookeeper.crt", "ca.crt"))
    pki.write_private(places.keys / "zookeeper.pem", chain)


def password(places: Places, name: str) -> str:
    """The password of one of USERS or OTHERS."""
    return str(json.loads(_passwords_file(places).read_text())[name])


def public_key(places: Places, user: str) -> str:
    """The public ssh key of a Gerrit account."""
    return places.ssh_key(user).with_suffix(".pub").read_text().strip()


def public_pem(places: Places, name: str) -> str:
    """The public half of one of SIGNING."""
    return places.signing_key(name).with_suffix(".pub").read_text()


def _passwords_file(places: Places) -> Path:
    return places.keys / "passwords.json"


def _ssh_key(path: Path, key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, comment: str) -> None:
    form = serialization.PrivateFormat.OpenSSH
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    pki.write_private(path.with_suffix(".pub"), public + f" {comment}\n".encode())
    pki.write_private(path, private)


def _signing_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    pki.write_private(path.with_suffix(".pub"), public)
    pki.write_private(path, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
