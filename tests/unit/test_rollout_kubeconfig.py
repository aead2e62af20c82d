"""Kubeconfig files, read as kubectl and Helm read them."""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from stand_ins import Seen, Server

from cdlib.deadline import Deadline
from cdlib.errors import NotAllowed, Unavailable, UsageProblem
from cdlib.rollout import kubeconfig
from cdlib.rollout.api import Api
from cdlib.rollout.connection import Connection
from cdlib.rollout.kubeconfig import read_cluster


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write(file: Path, *, server: str = "", user: dict[str, Any] | None = None, context: str = "",
          cluster: dict[str, Any] | None = None) -> Path:  # fmt: skip
    document: dict[str, Any] = {}
    if server:
        document["clusters"] = [{"name": "c", "cluster": {"server": server, **(cluster or {})}}]
    if user is not None:
        document["users"] = [{"name": "u", "user": user}]
        for secret in ("token", "password", "client-key-data"):
            plant(f"a kubeconfig's {secret}", str(user.get(secret, "")), file)
    if context:
        document["contexts"] = [{"name": context, "context": {"cluster": "c", "user": "u"}}]
        document["current-context"] = context
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file


def said(server: Server) -> list[str]:
    return [seen.headers.get("Authorization", "") for seen in server.seen]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(lambda _: (200, {"Content-Type": "application/json"}, b"{}"))
    yield made
    made.close()


def ask(file: Path | None = None) -> Api:
    api = Api(file, None)
    api.get("/version", Deadline(5))
    return api


def test_files_of_a_list_are_one_and_the_first_word_counts(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path / "1", server=server.url, context="x")
    second = write(tmp_path / "2", server="http://127.0.0.1:9", user={"token": "tok-from-second"}, context="y")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(first), "", str(tmp_path / "gone"), str(second)]))
    ask().close()
    assert said(server) == ["Bearer tok-from-second"]
    assert Api(None, "y").server == server.url


def test_the_file_at_home_is_the_last_resort(tmp_path: Path, server: Server) -> None:
    write(
        tmp_path / "home/.kube/config",
        server=server.url,
        user={"username": "ann", "password": "secret-pw"},
        context="x",
    )
    ask().close()
    assert said(server) == ["Basic " + base64.b64encode(b"ann:secret-pw").decode()]


def test_nothing_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="kubeconfig"):
        Api(None, None)


def test_a_token_file_is_read_again_and_starts_at_its_kubeconfig(tmp_path: Path, server: Server) -> None:
    file = write(tmp_path / "k", server=server.url, user={"tokenFile": "token"}, context="x")
    (tmp_path / "token").write_text("one-token\n")
    api = ask(file)
    (tmp_path / "token").write_text("two-token\n")
    api.get("/version", Deadline(5))
    api.close()
    assert said(server) == ["Bearer one-token", "Bearer two-token"]


def plugin(folder: Path, body: str) -> dict[str, Any]:
    """A credential plugin, named relative to the kubeconfig, that counts its calls."""
    program = folder / "bin" / "plugin"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho called >>{folder}/calls\n{body}\n")
    program.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/plugin", "args": ["a b"],
                     "env": [{"name": "WHO", "value": "ann"}]}}  # fmt: skip


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def credential(expires: str) -> str:
    """A plugin's body: the token says for whom, and which call this was."""
    return f"""n=$(wc -l <"$(dirname "$0")/../calls")
case "$KUBERNETES_EXEC_INFO" in *ExecCredential*) ;; *) exit 9;; esac
printf '{{"kind": "ExecCredential", "status": {{"token": "%s-%s-%s", "expirationTimestamp": "{expires}"}}}}' "$WHO" "$1" "$n"
"""


def test_a_plugin_is_asked_once_while_its_credential_lasts(tmp_path: Path, server: Server) -> None:
    file = write(
        tmp_path / "k", server=server.url, user=plugin(tmp_path, credential("2999-01-01T00:00:00Z")), context="x"
    )
    api = ask(file)
    api.get("/version", Deadline(5))
    api.close()
    assert said(server) == ["Bearer ann-a b-1"] * 2
    assert calls(tmp_path) == 1


def test_a_credential_that_has_expired_or_was_revoked_is_asked_for_again(tmp_path: Path) -> None:
    def answer(request: Seen) -> tuple[int, dict[str, str], bytes]:
        revoked = request.headers["Authorization"].endswith("-1") and "/revoked" in request.path
        return (401 if revoked else 200), {"Content-Type": "application/json"}, b"{}"

    server = Server(answer)
    file = write(
        tmp_path / "k", server=server.url, user=plugin(tmp_path, credential("2999-01-01T00:00:00Z")), context="x"
    )
    api = Api(file, None)
    assert api.get("/revoked", Deadline(5)) == {}
    assert calls(tmp_path) == 2
    api.close()
    file = write(
        tmp_path / "k", server=server.url, user=plugin(tmp_path, credential("2001-01-01T00:00:00Z")), context="x"
    )
    api = ask(file)
    api.get("/version", Deadline(5))
    api.close()
    server.close()
    assert calls(tmp_path) == 4


@pytest.mark.parametrize(
    "body",
    ["echo secret-in-stdout; echo please log in >&2; exit 1", "echo secret-in-stdout",
     "printf '[%.0s' $(seq 3000); printf ']%.0s' $(seq 3000)"],
)  # fmt: skip
def test_a_plugin_that_gives_nothing_is_told_without_its_output(tmp_path: Path, server: Server, body: str) -> None:
    file = write(tmp_path / "k", server=server.url, user=plugin(tmp_path, body), context="x")
    api = Api(file, None)
    with pytest.raises(NotAllowed, match="gives no credential") as raised:
        api.get("/version", Deadline(5))
    api.close()
    assert "secret-in-stdout" not in str(raised.value)
    assert server.seen == []


@pytest.mark.parametrize(
    "user",
    [
        {"auth-provider": {"name": "gcp"}},
        {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "x"}},
        {"client-certificate-data": "no base64!"},
        {"client-certificate": "gone.crt"},
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, user: dict[str, Any]) -> None:
    file = write(tmp_path / "k", server="https://127.0.0.1:9", user=user, context="x")
    with pytest.raises(UsageProblem, match="kubeconfig"):
        read_cluster(file, None)


def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, _ = certificates(tmp_path)
    account = tmp_path / "account"
    account.mkdir()
    (account / "ca.crt").write_bytes(authority)
    (account / "token").write_text("pod-token")
    monkeypatch.setattr(kubeconfig, "_SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    cluster = read_cluster(None, None)
    assert cluster.server == "https://[fd00::1]:443"
    assert cluster.credentials.headers(Deadline(1)) == {"Authorization": "Bearer pod-token"}


def certificates(folder: Path) -> tuple[bytes, Path]:
    """A self-signed certificate for `api.test`, as PEM, and a file with it and its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("api.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "both.pem"
    file.write_bytes(pem + secret)
    return pem, file


def test_tls_is_checked_by_the_given_authority_and_name_and_a_certificate_says_who(tmp_path: Path) -> None:
    authority, both = certificates(tmp_path)
    server = Server(lambda _: (200, {"Content-Type": "application/json"}, b"{}"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.decode())
    tls.load_cert_chain(both)
    tls.verify_mode = ssl.CERT_REQUIRED
    server.secure(tls)
    data = base64.b64encode(authority).decode()
    mine = {"client-certificate-data": base64.b64encode(both.read_bytes()).decode(), "client-key": str(both)}
    where = server.url.replace("http:", "https:")

    def reached(user: dict[str, Any], **cluster: Any) -> bool:
        file = write(tmp_path / "k", server=where, user=user, context="x", cluster=cluster)
        with closing(Connection(read_cluster(file, None))) as connection:
            try:
                return connection.exchange("GET", "/version", Deadline(10), params={}, headers={}).status == 200
            except Unavailable:
                return False

    named = {"certificate-authority-data": data, "tls-server-name": "api.test"}
    assert reached(mine, **named)
    assert reached(mine, **{"insecure-skip-tls-verify": True})
    assert not reached({}, **named)  # without a certificate
    assert not reached(mine, **{"certificate-authority-data": data})  # localhost is not the server's name
    assert not reached(mine, **{"tls-server-name": "api.test"})  # the system's authorities do not know it
    server.close()
