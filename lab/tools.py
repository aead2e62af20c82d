"""The programs that the lab compiles, each pinned by a module of its own in lab/go."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tool:
    """One compiled part: its folder in lab/go, its version, the packages it is made of, and its version stamp.

    `rename` is the file that its one program is kept under; `links` are names that people call programs by, each
    with the program's file.
    """

    name: str
    version: str
    module: str
    packages: tuple[str, ...]
    stamps: tuple[str, ...] = ()
    rename: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The name of its folder below LAB_ROOT/tools."""
        return f"{self.name}-{self.version}"


_COMMANDS = "k8s.io/kubernetes/cmd/"
_STAMP = "k8s.io/component-base/version."
KUBERNETES = Tool(
    "kubernetes",
    "1.34.4",
    "kubernetes",
    tuple(
        _COMMANDS + name
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        )
    ),
    (_STAMP + "gitVersion=v1.34.4", _STAMP + "gitMajor=1", _STAMP + "gitMinor=34", _STAMP + "gitTreeState=clean"),
    links=(("kubectl", "kubectl"),),
)
# For a cluster that is given, on a machine without kubectl.
KUBECTL = replace(KUBERNETES, name="kubectl", packages=(_COMMANDS + "kubectl",))
HELM = Tool(
    "helm",
    "4.3.1",
    "helm",
    ("helm.sh/helm/v4/cmd/helm",),
    ("helm.sh/helm/v4/internal/version.version=v4.3.1",),
    links=(("helm", "helm"),),
)
HELM3 = Tool(
    "helm",
    "3.21.4",
    "helm3",
    ("helm.sh/helm/v3/cmd/helm",),
    ("helm.sh/helm/v3/internal/version.version=v3.21.4",),
    links=(("helm3", "helm"),),
)
BUILDX = Tool(
    "buildx",
    "0.34.1",
    "buildx",
    ("github.com/docker/buildx/cmd/buildx",),
    ("github.com/docker/buildx/version.Version=v0.34.1",),
    rename="docker-buildx",
)
# What others verify attestations with. Not v3: it writes bundles by default, beside which v2 fails on good ones.
COSIGN = Tool(
    "cosign",
    "2.6.5",
    "cosign",
    ("github.com/sigstore/cosign/v2/cmd/cosign",),
    ("sigs.k8s.io/release-utils/version.gitVersion=v2.6.5",),
)
KWOK = Tool(
    "kwok",
    "0.8.0",
    "kwok",
    ("sigs.k8s.io/kwok/cmd/kwok",),
    ("sigs.k8s.io/kwok/pkg/consts.Version=v0.8.0",),
    links=(("kwok", "kwok"),),
)
# Stands in for Blubber's frontend of BuildKit. Raise the version when lab/go/blubber changes.
BLUBBER = Tool("blubber", "2", "blubber", (".",))
PAUSE = Tool("pause", "1", "pause", (".",))

TOOLS = (KUBERNETES, HELM, PAUSE)
EXTRAS = (HELM3, BUILDX, COSIGN, KWOK, BLUBBER)
