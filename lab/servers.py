"""The registry, containerd and Docker Engine: their command lines and configuration files."""

from __future__ import annotations

import json
from pathlib import Path

from lab.layout import DOCKER_BRIDGE, LOOPBACK, NODE_ADDRESS, POD_BRIDGE, POD_CIDR, REGISTRY_PORT, Layout
from lab.plan import Probe, Server

PAUSE_IMAGE = "cdlab.invalid/pause:1"
_CAP_SYS_RESOURCE = 24


def registry(layout: Layout) -> list[Server]:
    """The image registry, without TLS, on loopback."""
    config = layout.config / "registry.json"
    write_config(
        config,
        {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(layout.data / "registry")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"{LOOPBACK}:{REGISTRY_PORT}"},
        },
    )
    return [
        Server(
            "registry",
            ("docker-registry", "serve", str(config)),
            Probe(url=f"http://{LOOPBACK}:{REGISTRY_PORT}/v2/"),
            ports=((LOOPBACK, REGISTRY_PORT),),
            address=f"{LOOPBACK}:{REGISTRY_PORT}",
        )
    ]


def containerd(layout: Layout) -> list[Server]:
    """The container runtime that the kubelet and Docker Engine share."""
    config = layout.config / "containerd.toml"
    config.write_text(_CONTAINERD.format(**_containerd_values(layout)))
    write_config(layout.config / "cni" / "10-lab.conflist", _network())
    return [
        Server(
            "containerd",
            ("containerd", "--config", str(config)),
            Probe(socket=str(layout.containerd_socket)),
            address=f"unix://{layout.containerd_socket}",
        )
    ]


def docker(layout: Layout, *, shared: bool) -> list[Server]:
    """Docker Engine; `shared` says that it uses the lab's containerd, else it starts one of its own."""
    config = layout.config / "docker.json"
    write_config(config, {})  # without one of our own, the machine's own Docker's would be read
    argv = [
        "dockerd",
        f"--config-file={config}",
        f"--host=unix://{layout.docker_socket}",
        f"--data-root={layout.data / 'docker'}",
        f"--exec-root={layout.run / 'docker'}",
        f"--pidfile={layout.run / 'docker.pid'}",
        f"--bridge={DOCKER_BRIDGE}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        f"--cgroup-parent=/{layout.cgroup}/docker",
        "--default-address-pool=base=10.246.0.0/16,size=24",
        "--shutdown-timeout=1",
    ]
    if shared:
        argv.append(f"--containerd={layout.containerd_socket}")
    return [
        Server(
            "dockerd",
            tuple(argv),
            Probe(url="http://docker/_ping", socket=str(layout.docker_socket)),
            after=("containerd",) if shared else (),
            address=f"unix://{layout.docker_socket}",
        )
    ]


def _network() -> dict[str, object]:
    """The pods' network, as CNI plugins read it."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_ADDRESS}]]}
    return {
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {**addresses, "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
            # Where the machine forwards nothing by default, as after Docker, pods still may.
            {"type": "firewall"},
        ],
    }


_CONTAINERD = """\
version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE, runc cannot lower oom_score_adj, and every sandbox dies with
  # "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = {restrict}
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
"""


def _containerd_values(layout: Layout) -> dict[str, str]:
    return {
        "root": str(layout.data / "containerd"),
        "state": str(layout.run / "containerd"),
        "socket": str(layout.containerd_socket),
        "opt": str(layout.data / "containerd-opt"),
        "restrict": "false" if _may(_CAP_SYS_RESOURCE) else "true",
        "pause": PAUSE_IMAGE,
        "cni": str(layout.config / "cni"),
    }


def _may(capability: int) -> bool:
    """Whether this process has a capability, by its number in capabilities(7)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line for line in lines if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> capability & 1)


def write_config(path: Path, document: object) -> None:
    """Write a server's configuration, as JSON, which is YAML too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
