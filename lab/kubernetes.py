"""Kubernetes on one node: etcd, the control plane, the kubelet and kube-proxy, with their configuration."""

from __future__ import annotations

from lab.layout import (
    API_PORT,
    CLUSTER_CIDR,
    LOOPBACK,
    NODE,
    NODE_ADDRESS,
    POD_CIDR,
    SERVICE_CIDR,
    Layout,
)
from lab.plan import Probe, Server
from lab.servers import write_config
from lab.tools import KUBERNETES, PAUSE


def servers(layout: Layout) -> list[Server]:
    """etcd, the control plane, and the one node."""
    return [_etcd(layout), _apiserver(layout), *_controllers(layout), *_node(layout)]


def _etcd(layout: Layout) -> Server:
    pki = layout.pki
    here = f"https://{LOOPBACK}:2379"
    peer = f"http://{LOOPBACK}:2380"
    argv = (
        "etcd",
        f"--data-dir={layout.data / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--cert-file={pki / 'etcd.crt'}",
        f"--key-file={pki / 'etcd.key'}",
        f"--trusted-ca-file={pki / 'ca.crt'}",
        "--client-cert-auth",
        "--logger=zap",
        "--log-level=warn",
    )
    probe = Probe(url=f"{here}/health", identity=str(pki / "admin"))
    return Server("etcd", argv, probe, ports=((LOOPBACK, 2379), (LOOPBACK, 2380)), address=f"{LOOPBACK}:2379")


def _apiserver(layout: Layout) -> Server:
    pki = layout.pki
    argv = (
        _kube(layout, "kube-apiserver"),
        f"--etcd-servers=https://{LOOPBACK}:2379",
        f"--etcd-cafile={pki / 'ca.crt'}",
        f"--etcd-certfile={pki / 'admin.crt'}",
        f"--etcd-keyfile={pki / 'admin.key'}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={API_PORT}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'admin.crt'}",
        f"--kubelet-client-key={pki / 'admin.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--allow-privileged",
    )
    probe = Probe(url=f"https://{LOOPBACK}:{API_PORT}/readyz", identity=str(pki / "admin"))
    return Server("apiserver", argv, probe, ("etcd",), ((LOOPBACK, API_PORT),), f"https://{LOOPBACK}:{API_PORT}")


def _controllers(layout: Layout) -> list[Server]:
    pki = layout.pki

    def kubeconfigs(name: str) -> tuple[str, ...]:
        path = pki / f"{name}.kubeconfig"
        flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return (*(f"--{flag}={path}" for flag in flags), f"--bind-address={LOOPBACK}", "--leader-elect=false")

    manager = (
        _kube(layout, "kube-controller-manager"),
        *kubeconfigs("controller-manager"),
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials",
        "--allocate-node-cidrs",
        f"--cluster-cidr={CLUSTER_CIDR}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--flex-volume-plugin-dir={layout.data / 'volume-plugins'}",
    )
    return [
        _component("controller-manager", manager, 10257),
        _component("scheduler", (_kube(layout, "kube-scheduler"), *kubeconfigs("scheduler")), 10259),
    ]


def _component(name: str, argv: tuple[str, ...], port: int) -> Server:
    probe = Probe(url=f"https://{LOOPBACK}:{port}/healthz")
    return Server(name, argv, probe, ("apiserver",), ((LOOPBACK, port),), f"{LOOPBACK}:{port}")


def _node(layout: Layout) -> list[Server]:
    archive = str(layout.images / f"{PAUSE.key}.tar")
    forward = f"TCP-LISTEN:{API_PORT},bind={NODE_ADDRESS},fork,reuseaddr"
    return [
        Server(
            "pause-image",
            ("ctr", f"--address={layout.containerd_socket}", "--namespace=k8s.io", "images", "import", archive),
            after=("containerd",),
            job=True,
        ),
        _kubelet(layout),
        _proxy(layout),
        # Pods reach the API server here: it listens on loopback alone, which is not theirs.
        Server(
            "pod-gateway",
            ("socat", forward, f"TCP:{LOOPBACK}:{API_PORT}"),
            after=("apiserver",),
            ports=((NODE_ADDRESS, API_PORT),),
            address=f"{NODE_ADDRESS}:{API_PORT}",
        ),
    ]


def _kubelet(layout: Layout) -> Server:
    config = layout.config / "kubelet.json"
    write_config(config, _kubelet_config(layout))
    argv = (
        _kube(layout, "kubelet"),
        f"--kubeconfig={layout.pki / 'node.kubeconfig'}",
        f"--config={config}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={layout.data / 'kubelet'}",
    )
    return Server(
        "kubelet",
        argv,
        Probe(f"https://{LOOPBACK}:{API_PORT}/api/v1/nodes/{NODE}", "", str(layout.pki / "admin"), node=True),
        ("apiserver", "pause-image"),
        ((NODE_ADDRESS, 10250), (LOOPBACK, 10248)),
        f"{NODE_ADDRESS}:10250",
    )


def _proxy(layout: Layout) -> Server:
    argv = (
        _kube(layout, "kube-proxy"),
        f"--kubeconfig={layout.pki / 'proxy.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--cluster-cidr={CLUSTER_CIDR}",
        "--proxy-mode=iptables",
        f"--nodeport-addresses=127.0.0.0/8,{POD_CIDR}",
        # 0 leaves the machine's own connection tracking limits as they are.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        f"--healthz-bind-address={LOOPBACK}:10256",
        f"--metrics-bind-address={LOOPBACK}:10249",
    )
    return Server(
        "proxy",
        argv,
        Probe(url=f"http://{LOOPBACK}:10256/livez"),
        ("apiserver",),
        ((LOOPBACK, 10249), (LOOPBACK, 10256)),
        f"{LOOPBACK}:10256",
    )


def _kubelet_config(layout: Layout) -> dict[str, object]:
    """What rollouts depend on (pulls, back-offs, probes) stays as Kubernetes has it by default."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "healthzBindAddress": LOOPBACK,
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "node.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "node.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "podLogsDir": str(layout.logs / "pods"),
        "volumePluginDir": str(layout.data / "volume-plugins"),
        "failSwapOn": False,
        "failCgroupV1": False,
        # A laptop's disk is fuller than a node's: nothing is evicted or deleted before it is really full.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"nodefs.available": "1%", "memory.available": "100Mi", "imagefs.available": "1%"},
    }


def _kube(layout: Layout, program: str) -> str:
    return str(layout.tools / KUBERNETES.key / program)
