"""Jenkins: the lab's stand-in, its users and agents, and the job definitions of this checkout.

With JENKINS_URL a real server takes its place; then its users, agents and jobs are its operators' own affair.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab import settings
from lab.layout import LOOPBACK
from lab.loop import cluster, identity
from lab.loop.places import CHECKOUT, GERRIT_URL, JENKINS_PORT, JENKINS_URL, Places
from lab.loop.projects import ssh_command
from lab.pki import write_private
from lab.plan import Server

_LIMIT = 120.0  # seconds to send all job definitions
# What Zuul's users may do: start a job, and stop what they started.
_MAY = ["Overall/Read", "Job/Read", "Job/Build", "Job/Cancel"]
_BIN = Path(sys.prefix) / "bin"


def servers(places: Places) -> list[Server]:
    """The stand-in."""
    config = str(places.config / "jenkins.json")
    argv = (sys.executable, "-m", "lab.jenkins", "--home", str(places.jenkins), "--port", str(JENKINS_PORT))
    return [Server("jenkins", (*argv, "--config", config), ports=((LOOPBACK, JENKINS_PORT),), address=JENKINS_URL)]


def write_config(places: Places, given: Mapping[str, str]) -> None:
    """Write the stand-in's settings: one agent a label, each with what its jobs need and no more."""
    lab = settings.settings(places.layout, given)
    path = f"{_BIN}:{places.layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    common = {"CD_TARGETS": str(places.targets), "LAB_REGISTRY": lab["LAB_REGISTRY"], "PATH": path}
    deciding = {
        name: {"KUBECONFIG": str(cluster.kubeconfig(places, name)), "CD_AUDIT": str(places.audit / f"{name}.jsonl")}
        for name in ("authorize", "deploy")
    }
    document = {
        "users": [
            {"name": "admin", "token": identity.password(places, "jenkins-admin")},
            {"name": "zuul", "token": identity.password(places, "jenkins-zuul"), "may": _MAY},
            {"name": "deploy", "token": identity.password(places, "jenkins-deploy"), "may": _MAY},
        ],
        "agents": [
            _agent("build", 2, {**common, "DOCKER_HOST": lab["DOCKER_HOST"]}),
            _agent("authorize", 2, {**common, **deciding["authorize"], "GIT_SSH_COMMAND": ssh_command(places, "cd")}),
            _agent("deploy", 2, {**common, **deciding["deploy"], "CD_GERRIT_URL": GERRIT_URL}),
        ],
        "credentials": [
            {
                "id": "cd-gerrit",
                "kind": "username-password",
                "username": "cd",
                "password": identity.password(places, "cd"),
            },
            *(_key(places, name) for name in ("build", "test", "permit")),
        ],
    }
    write_private(places.config / "jenkins.json", json.dumps(document, indent=1).encode())
    write_private(places.jenkins_token, identity.password(places, "jenkins-admin").encode())


def update(places: Places, services: Iterable[str]) -> None:
    """Send this checkout's job definitions to the stand-in, those of other `services` too. Raises CdError."""
    definitions = places.config / "jjb"
    shutil.rmtree(definitions, ignore_errors=True)
    shutil.copytree(CHECKOUT / "jjb", definitions)
    _at_this_site(definitions / "templates" / "defaults.yaml")
    for service in services:
        file = definitions / "services" / f"{service}.yaml"
        if not file.exists():
            file.write_text(json.dumps([{"project": {"name": service, "service": service, "jobs": ["cd-service"]}}]))
    env = {
        **places.settings({}),
        "JENKINS_JOBS": str(_BIN / "jenkins-jobs"),
        "NO_PROXY": LOOPBACK,
        "no_proxy": LOOPBACK,
    }
    done = process.run([str(definitions / "update")], Deadline(_LIMIT, "jenkins-jobs update"), env=env)
    if not done.ok:
        raise CdError("the job definitions cannot be sent to Jenkins", details=done.stderr[-8:])


def _at_this_site(defaults: Path) -> None:
    """Set what docs/jenkins.md and docs/keys.md ask a site to set."""
    ours = {
        "git_url: ''": f"git_url: {GERRIT_URL}",  # where projects are cloned from when a person starts a job
        "gate_secrets: none": "gate_secrets: keys",
        "authorize_secrets: none": "authorize_secrets: permit",
    }
    text = defaults.read_text()
    for default, here in ours.items():
        assert text.count(f"{default}\n") == 1, f"{defaults} has no line {default!r}"
        text = text.replace(f"{default}\n", f"{here}\n")
    defaults.write_text(text)


def given_token() -> str:
    """The token of the user of a Jenkins that is given, from JENKINS_TOKEN or the file JENKINS_TOKEN_FILE."""
    if file := os.environ.get("JENKINS_TOKEN_FILE"):
        return Path(file).read_text().strip()
    return os.environ.get("JENKINS_TOKEN", "")


def _agent(name: str, executors: int, env: Mapping[str, str]) -> dict[str, object]:
    return {"name": name, "labels": [f"cd-{name}"], "executors": executors, "env": dict(env)}


def _key(places: Places, name: str) -> dict[str, str]:
    """The private half of a key, as the secret file that jjb/templates/defaults.yaml names."""
    text = places.signing_key(name).read_text()
    return {"id": f"cd-{name}-key", "kind": "file", "name": f"{name}.pem", "text": text}
