"""Which cluster, and as whom: kubeconfig files as kubectl and Helm read them.

Rules from Kubernetes' "Organizing Cluster Access Using kubeconfig Files" and "client-go credential plugins".
Why this is read here and not by a library: docs/decisions/0007-one-http-stack.md.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.errors import UsageProblem
from cdlib.rollout.credentials import Credentials

Entry = Mapping[str, Any]
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HINT = "check the environment's kubeconfig and context in targets.yaml, or KUBECONFIG"


@dataclass(frozen=True)
class Cluster:
    """How to reach one API server. `tls` is None for plain http; `proxy` is a URL, or empty."""

    server: str
    tls: ssl.SSLContext | None
    credentials: Credentials
    tls_name: str = ""
    proxy: str = ""


def read_cluster(kubeconfig: Path | None, context: str | None) -> Cluster:
    """The cluster of `context`, or of the current one.

    Looks where Helm looks, so that both speak to the same cluster: `kubeconfig`, else the files of $KUBECONFIG,
    else ~/.kube/config, else the service account of the pod that this runs in. Raises UsageProblem.
    """
    given = os.environ.get("KUBECONFIG", "")
    usual = Path("~/.kube/config").expanduser()
    files = [kubeconfig] if kubeconfig else [Path(name) for name in given.split(os.pathsep) if name]
    if not files and not usual.exists() and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return _service_account()
    known = _Known(files or [usual])
    try:
        return _cluster(known, context)
    except (OSError, ssl.SSLError, LookupError, TypeError, ValueError, AttributeError) as problem:
        said = str(problem).splitlines() or [type(problem).__name__]
        raise UsageProblem(f"the kubeconfig {known.name} cannot be used: {said[0]}", hint=_HINT) from problem


class _Known:
    """What several kubeconfig files say together: of two entries with one name, the first counts."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.name = ", ".join(str(file) for file in files)
        self.current = ""
        self._entries: dict[tuple[str, str], tuple[Entry, Path]] = {}
        # kubectl leaves out files of a list that are not there, as long as one is.
        present = [file for file in files if file.exists()] if len(files) > 1 else files
        for file in present or files:
            self._add(file)

    def find(self, kind: str, name: str) -> tuple[Entry, Path]:
        """The entry of a kind (cluster, user or context), with the folder that its relative paths start at."""
        found = self._entries.get((kind, name))
        if found is None:
            missing = f"{kind} {name!r}" if name else f"current {kind}"
            raise UsageProblem(f"the kubeconfig {self.name} has no {missing}", hint=_HINT)
        return found

    def _add(self, file: Path) -> None:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            document = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
        except (OSError, ValueError, yaml.YAMLError) as problem:
            said = str(getattr(problem, "strerror", "") or problem).splitlines()[0]
            raise UsageProblem(f"the kubeconfig {file} cannot be read: {said}", hint=_HINT) from problem
        if not isinstance(document, dict):
            raise UsageProblem(f"the kubeconfig {file} is empty, or no kubeconfig", hint=_HINT)
        self.current = self.current or str(document.get("current-context") or "")
        for kind in ("cluster", "user", "context"):
            listed = document.get(f"{kind}s")
            for item in listed if isinstance(listed, list) else []:
                if isinstance(item, dict) and isinstance(item.get(kind), dict):
                    self._entries.setdefault((kind, str(item.get("name"))), (item[kind], file.parent))


def _cluster(known: _Known, context: str | None) -> Cluster:
    chosen, _ = known.find("context", context or known.current)
    cluster, cluster_folder = known.find("cluster", str(chosen["cluster"]))
    # A context without a user is one that needs no credentials.
    user, user_folder = known.find("user", str(chosen["user"])) if chosen.get("user") else ({}, Path())
    server = str(cluster["server"]).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ValueError(f"its server {server!r} is no http or https URL")
    tls = None
    if server.startswith("https://"):
        tls = _tls(
            _bytes(cluster, "certificate-authority", cluster_folder), bool(cluster.get("insecure-skip-tls-verify"))
        )
        certificate, key = (_bytes(user, f"client-{part}", user_folder) for part in ("certificate", "key"))
        if certificate:
            use_certificate(tls, certificate, key)
    credentials = Credentials.of_user(user, user_folder, on_certificate=lambda c, k: use_certificate(tls, c, k))
    return Cluster(
        server, tls, credentials, str(cluster.get("tls-server-name") or ""), str(cluster.get("proxy-url") or "")
    )


def _service_account() -> Cluster:
    """The API server as a pod sees it; the token is read again and again, because it is renewed."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        tls = _tls((_SERVICE_ACCOUNT / "ca.crt").read_bytes(), insecure=False)
    except OSError as problem:
        raise UsageProblem(f"there is no kubeconfig, and no service account: {problem}", hint=_HINT) from problem
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Cluster(server, tls, Credentials(token_file=_SERVICE_ACCOUNT / "token"))


def _bytes(entry: Entry, key: str, folder: Path) -> bytes:
    """What `key` holds: inline as `key`-data, which wins, or in a file; empty where neither is given."""
    inline = entry.get(f"{key}-data")
    if inline:
        return base64.b64decode(str(inline), validate=True)
    file = entry.get(key)
    return (folder / str(file)).read_bytes() if file else b""


def _tls(authority: bytes, insecure: bool) -> ssl.SSLContext:
    tls = ssl.create_default_context(cadata=authority.decode("ascii") or None)
    if insecure:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    return tls


def use_certificate(tls: ssl.SSLContext | None, certificate: bytes, key: bytes) -> None:
    """Show this client certificate (both PEM) on new connections."""
    if tls is None:
        return
    # Python's ssl takes files only. mkstemp makes it readable by us alone, and it is gone in a moment.
    with tempfile.NamedTemporaryFile(prefix="cd-client-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        tls.load_cert_chain(file.name)
