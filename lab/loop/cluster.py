"""What whoever runs a cluster does for its services, and here the lab: namespaces, rights, and tokens."""

from __future__ import annotations

import json
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
_EMPTIED = 300.0  # seconds for all pods of a namespace to end, and what finalizers wait for
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
    gone = ("delete", "namespace", service, "--ignore-not-found", "--wait=true")
    _kubectl(places, given, *gone, limit=_EMPTIED)
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
    """The administrator's cluster, without the administrator's credentials."""
    shown = _kubectl(places, given, "config", "view", "--minify", "--flatten", "--output=json")
    (known,) = json.loads(shown)["clusters"]
    places.accounts.mkdir(mode=0o700, parents=True, exist_ok=True)
    for agent in AGENTS:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "agent",
            "clusters": [known],
            "contexts": [{"name": "agent", "context": {"cluster": known["name"], "user": "agent"}}],
            "users": [{"name": "agent", "user": {"tokenFile": str(_token(places, agent))}}],
        }
        write_private(kubeconfig(places, agent), json.dumps(document, indent=1).encode())


def kubeconfig(places: Places, agent: str) -> Path:
    """How one of AGENTS reaches the cluster."""
    return places.accounts / f"{agent}.kubeconfig"


def _token(places: Places, agent: str) -> Path:
    return places.accounts / f"{agent}.token"


def _kubectl(places: Places, given: Mapping[str, str], *words: str, stdin: str = "", limit: float = _LIMIT) -> str:
    env = settings.settings(places.layout, given)
    done = process.run(["kubectl", *words], Deadline(limit, "kubectl"), env=env, stdin=stdin.encode() or None)
    if not done.ok:
        raise CdError(f"kubectl {words[0]} failed", details=done.stderr[-4:])
    return done.stdout
