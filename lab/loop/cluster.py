"""What whoever runs a cluster does for its services, and here the lab: namespaces, rights, and tokens."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab import settings
from lab.loop.places import NODES, PRODUCTION, Places
from lab.pki import write_private

_LIMIT = 60.0  # seconds
_ACCOUNTS = "cd-accounts"  # where cd-rights puts them
# The accounts, by the agent that has each.
AGENTS = {"authorize": f"cd-authorize-{PRODUCTION}", "deploy": f"cd-deploy-{PRODUCTION}", "node": f"cd-deploy-{NODES}"}
_DURATION = "1h"  # of a token, as docs/operators.md has it; the server `tokens` renews it long before


def ensure_namespaces(places: Places, given: Mapping[str, str], services: Iterable[str]) -> None:
    """Make a namespace for each of the services, unless it is there. Raises CdError."""
    listed = _kubectl(places, given, "get", "namespaces", "--output=name").split()
    there = {name.removeprefix("namespace/") for name in listed}
    for service in services:
        if service not in there:
            _kubectl(places, given, "create", "namespace", service)


def renew_namespace(places: Places, given: Mapping[str, str], service: str) -> None:
    """Have an empty namespace for a service, whatever was in it."""
    _kubectl(places, given, "delete", "namespace", service, "--ignore-not-found", "--wait=true")
    _kubectl(places, given, "create", "namespace", service)


def forget_service(places: Places, given: Mapping[str, str], service: str) -> None:
    """Delete a service's namespace, without waiting for its end, and what says which images may run in it."""
    kinds = ("validatingadmissionpolicybinding", "validatingadmissionpolicy")
    for kind, name in (*((kind, f"cd-images-{service}") for kind in kinds), ("namespace", service)):
        _kubectl(places, given, "delete", kind, name, "--wait=false", "--ignore-not-found")


def grant(places: Places, given: Mapping[str, str], service: str = "") -> None:
    """Grant what `cd-rights` prints, for all services or one, and give each agent its account. Raises CdError."""
    command = [str(Path(sys.prefix) / "bin" / "cd-rights"), "--targets", str(places.targets)]
    chosen = ["--service", service] if service else []
    printed = process.run([*command, *chosen], Deadline(_LIMIT, "cd-rights"), cwd=places.config)
    if not printed.ok:
        raise CdError("cd-rights failed", details=printed.stderr[-4:])
    _kubectl(places, given, "apply", "--filename=-", stdin=printed.stdout)
    _write_kubeconfigs(places, given)
    renew_tokens(places, given)


def renew_tokens(places: Places, given: Mapping[str, str]) -> None:
    """Give each agent whose account there is a new token. Raises CdError."""
    listed = _kubectl(places, given, "--namespace", _ACCOUNTS, "get", "serviceaccounts", "--output=name").split()
    for agent, account in AGENTS.items():
        if f"serviceaccount/{account}" in listed:
            words = ("create", "token", account, f"--duration={_DURATION}")
            token = _kubectl(places, given, "--namespace", _ACCOUNTS, *words)
            write_private(_token(places, agent), token.strip().encode())


def _write_kubeconfigs(places: Places, given: Mapping[str, str]) -> None:
    admin = settings.settings(places.layout, given)["KUBECONFIG"]
    places.accounts.mkdir(mode=0o700, parents=True, exist_ok=True)
    for agent in AGENTS:
        document = {
            **_cluster(Path(admin.split(os.pathsep)[0])),
            "users": [{"name": "agent", "user": {"tokenFile": str(_token(places, agent))}}],
        }
        write_private(kubeconfig(places, agent), json.dumps(document, indent=1).encode())


def kubeconfig(places: Places, agent: str) -> Path:
    """How one of AGENTS reaches the cluster."""
    return places.accounts / f"{agent}.kubeconfig"


def _cluster(admin: Path) -> dict[str, object]:
    """The cluster of the administrator's kubeconfig, without its credentials."""
    import yaml

    known = yaml.safe_load(admin.read_text())
    context = next(each["context"] for each in known["contexts"] if each["name"] == known["current-context"])
    (cluster,) = (each["cluster"] for each in known["clusters"] if each["name"] == context["cluster"])
    if file := cluster.get("certificate-authority"):
        cluster = {**cluster, "certificate-authority": str(admin.parent / file)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "agent",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "contexts": [{"name": "agent", "context": {"cluster": "cluster", "user": "agent"}}],
    }


def _token(places: Places, agent: str) -> Path:
    return places.accounts / f"{agent}.token"


def _kubectl(places: Places, given: Mapping[str, str], *words: str, stdin: str = "") -> str:
    env = settings.settings(places.layout, given)
    done = process.run(["kubectl", *words], Deadline(_LIMIT, "kubectl"), env=env, stdin=stdin.encode() or None)
    if not done.ok:
        raise CdError(f"kubectl {words[0]} failed", details=done.stderr[-4:])
    return done.stdout
