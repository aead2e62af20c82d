"""The lab's own certificate authority, and a certificate and kubeconfig for each part of Kubernetes."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cdlib.files import PRIVATE, replace_file
from lab.layout import API_PORT, API_SERVICE_ADDRESS, LOOPBACK, NODE, NODE_ADDRESS, Layout

_VALID = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Subject:
    """Who a certificate is for: a common name, the groups that Kubernetes reads, and a server's addresses."""

    name: str
    common_name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


SUBJECTS = (
    Subject("apiserver", "kube-apiserver", (), (LOOPBACK, API_SERVICE_ADDRESS, NODE_ADDRESS, "localhost")),
    Subject("etcd", "etcd", (), (LOOPBACK, "localhost")),
    Subject("node", f"system:node:{NODE}", ("system:nodes",), (NODE_ADDRESS, NODE)),
    Subject("admin", "lab-admin", ("system:masters",)),
    Subject("controller-manager", "system:kube-controller-manager"),
    Subject("scheduler", "system:kube-scheduler"),
    Subject("proxy", "system:kube-proxy"),
)
_ISSUES = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
_WITH_KUBECONFIG = ("node", "admin", "controller-manager", "scheduler", "proxy")


def ensure(layout: Layout) -> None:
    """Make every key, certificate and kubeconfig, unless they are there and stay valid for a month more."""
    folder = layout.pki
    if _complete(folder):
        return
    _issue(folder, SUBJECTS)
    for name in _WITH_KUBECONFIG:
        _kubeconfig(folder, name)
    if not (folder / "sa.key").exists():  # the tokens of a cluster that lives on were signed with it
        signing = _key()
        write_private(folder / "sa.key", _private(signing))
        public = serialization.PublicFormat.SubjectPublicKeyInfo
        write_private(folder / "sa.pub", signing.public_key().public_bytes(serialization.Encoding.PEM, public))
    write_private(folder / "complete", b"")


def issue(folder: Path, subjects: Iterable[Subject]) -> None:
    """Make an authority in `folder`, and a key and a certificate for each of `subjects`, unless they are there."""
    if not _complete(folder):
        _issue(folder, subjects)
        write_private(folder / "complete", b"")


def _complete(folder: Path) -> bool:
    return (folder / "complete").exists() and _valid(folder / "ca.crt")


def _issue(folder: Path, subjects: Iterable[Subject]) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority_key, authority = _authority()
    write_private(folder / "ca.crt", authority.public_bytes(serialization.Encoding.PEM))
    for subject in subjects:
        key = _key()
        certificate = _certificate(subject, key, authority_key, authority)
        write_private(folder / f"{subject.name}.key", _private(key))
        write_private(folder / f"{subject.name}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _valid(path: Path) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_after_utc - _RENEW_BEFORE > datetime.now(UTC)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cdlib lab")])
    builder = (
        _builder(name, name, key, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ISSUES, critical=True)
    )
    return key, builder.sign(key, hashes.SHA256())


def _certificate(
    subject: Subject, key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate
) -> x509.Certificate:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    names.append(x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(x509.Name(names), ca.subject, key, ca_key)
    if subject.addresses:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(address) for address in subject.addresses]), critical=False
        )
    return builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False).sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks that were set back a little do no harm
        .not_valid_after(now + _VALID)
        # OpenSSL's strict mode, which Python 3.13 turns on, asks for both identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(authority, critical=False)
    )


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _kubeconfig(folder: Path, name: str) -> None:
    """A kubeconfig that holds all it needs, so that it works wherever it is copied to."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {"server": f"https://{LOOPBACK}:{API_PORT}", "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{name}.crt"), "client-key-data": data(f"{name}.key")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
        "current-context": "lab",
    }
    write_private(folder / f"{name}.kubeconfig", json.dumps(document, indent=1).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    replace_file(path, content, PRIVATE)
