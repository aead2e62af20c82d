"""Where everything of the lab lies, which addresses it takes, and how its parts are called.

One folder, LAB_ROOT, holds all that the lab keeps outside of the checkout. `tools` and `images` are made once
and only ever added to; `run` and `state` mean nothing once the lab is down.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ROOT = "/var/lib/cdlab"

NODE = "lab"
POD_BRIDGE = "cdlab0"
DOCKER_BRIDGE = "cdlab-docker0"  # 13 characters; the kernel allows 15
LOOPBACK = "127.0.0.1"
# The kubelet refuses a loopback address as its node's, so the node has the pod bridge's own.
NODE_ADDRESS = "10.244.0.1"
POD_CIDR = "10.244.0.0/24"
CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"  # the first of SERVICE_CIDR, by Kubernetes' own rule
DOCKER_ADDRESS = "10.245.0.1/24"
API_PORT = 6443
REGISTRY_PORT = 5000


@dataclass(frozen=True)
class Layout:
    """The folders and files below LAB_ROOT."""

    root: Path

    @property
    def cgroup(self) -> str:
        """The lab's cgroup: its own for each LAB_ROOT, so that `down` of one lab ends no process of another."""
        if str(self.root) == DEFAULT_ROOT:
            return "cdlab"
        return f"cdlab-{hashlib.sha256(bytes(self.root)).hexdigest()[:8]}"

    @property
    def tools(self) -> Path:
        """Compiled programs, one folder a name and version."""
        return self.root / "tools"

    @property
    def bin(self) -> Path:
        """Links to the programs that people call."""
        return self.root / "bin"

    @property
    def docker_config(self) -> Path:
        """A DOCKER_CONFIG with buildx as a plugin; the user's own is left alone."""
        return self.root / "docker-config"

    @property
    def images(self) -> Path:
        """Layers of the images that the lab makes itself."""
        return self.root / "images"

    @property
    def data(self) -> Path:
        """What outlives `down`: the registry, etcd, Docker's and containerd's stores."""
        return self.root / "data"

    @property
    def pki(self) -> Path:
        """Certificates, keys and kubeconfigs."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Files written afresh by each `up`."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log a server."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Sockets and records of the lab that runs now."""
        return self.root / "run"

    @property
    def kubeconfig(self) -> Path:
        """The cluster administrator's."""
        return self.pki / "admin.kubeconfig"

    @property
    def targets(self) -> Path:
        """The operators' file for the sample service."""
        return self.config / "targets.yaml"

    @property
    def docker_socket(self) -> Path:
        """Where the lab's Docker Engine listens."""
        return self.run / "docker.sock"

    @property
    def containerd_socket(self) -> Path:
        """Where the lab's containerd listens."""
        return self.run / "containerd.sock"

    @property
    def record(self) -> Path:
        """Who supervises the lab: written before the supervisor does anything."""
        return self.run / "supervisor.json"

    @property
    def plan(self) -> Path:
        """What the supervisor shall start."""
        return self.run / "plan.json"

    @property
    def status(self) -> Path:
        """What the supervisor has started; only it writes here."""
        return self.run / "status.json"

    @property
    def requests(self) -> Path:
        """Whom the supervisor shall start besides: an empty file of each server's name."""
        return self.run / "requests"

    def log(self, name: str) -> Path:
        """The log of the server `name`."""
        return self.logs / f"{name}.log"


def layout(environ: Mapping[str, str] = os.environ) -> Layout:
    """The layout below LAB_ROOT, made absolute."""
    return Layout(Path(environ.get("LAB_ROOT") or DEFAULT_ROOT).absolute())
