"""A node for Zuul's jobs: this machine itself, by an ssh server of the lab's own and Zuul's launcher.

Only jobs with `cd_runner: zuul` use it. An operator's node would be another machine, with the same commands on it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lab import settings
from lab.layout import LOOPBACK
from lab.loop import cluster
from lab.loop.places import LABELS, NODE_PORT, Places
from lab.plan import Server

_SSHD = "/usr/sbin/sshd"


def servers(places: Places) -> list[Server]:
    """The ssh server."""
    argv = (_SSHD, "-D", "-e", "-f", str(_config(places)))
    return [Server("node", argv, ports=((LOOPBACK, NODE_PORT),), address=f"ssh://{LOOPBACK}:{NODE_PORT}")]


def write_config(places: Places, given: Mapping[str, str]) -> None:
    """Write the ssh server's configuration, with what the commands need in each session's environment."""
    lab = settings.settings(places.layout, given)
    path = (
        f"{Path(sys.prefix) / 'bin'}:{places.layout.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    environment = {
        **{name: lab[name] for name in ("DOCKER_HOST", "LAB_REGISTRY")},
        "KUBECONFIG": str(cluster.kubeconfig(places, "node")),
        "CD_TARGETS": str(places.targets),
        "PATH": path,
    }
    lines = [
        f"ListenAddress {LOOPBACK}:{NODE_PORT}",
        f"HostKey {places.keys / 'node-host'}",
        f"AuthorizedKeysFile {places.keys / 'node.pub'}",
        # The keys lie where only root can look, which is what the strict modes ask for in other words.
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "PidFile none",
        "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items()),
        "Subsystem sftp internal-sftp",
    ]
    _config(places).write_text("\n".join(lines) + "\n")


def definition(host_key: str) -> list[dict[str, object]]:
    """The configuration objects that tell Zuul's launcher of the node, for the config project.

    It has one label for each of those that the jobs ask for, though it is one machine.
    """
    flavor, image = "cd-machine", "cd-debian"
    labels: list[dict[str, object]] = [{"label": {"name": label, "image": image, "flavor": flavor}} for label in LABELS]
    node = {"name": LOOPBACK, "label": LABELS[0], "aliases": list(LABELS[1:]), "host-key": host_key}
    # The Python is not what root's shell finds first, which may be anything.
    machine = {"name": image, "username": "root", "connection-port": NODE_PORT, "python-path": "/usr/bin/python3"}
    section = {"name": "cd-lab", "connection": "static", "images": [machine], "flavors": [flavor]}
    provider = {"name": "cd-lab", "section": "cd-lab", "labels": list(LABELS), "nodes": [node]}
    return [
        {"image": {"name": image, "type": "cloud"}},
        {"flavor": {"name": flavor}},
        *labels,
        {"section": section},
        {"provider": provider},
    ]


def _config(places: Places) -> Path:
    return places.config / "sshd_config"
