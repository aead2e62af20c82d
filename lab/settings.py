"""What a shell needs to use the lab: `eval "$(python -m lab env)"`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.layout import REGISTRY_PORT, Layout

REGISTRY = f"localhost:{REGISTRY_PORT}"  # this name, since Docker and containerd speak http to it unasked


@dataclass(frozen=True)
class Settings:
    """The variables by themselves, for what asks a lab for its `env`."""

    env: Mapping[str, str]


def settings(layout: Layout, given: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables, those of `given` servers as they are. What the loop adds, lab.loop.places has."""
    path = [part for part in environ.get("PATH", "").split(":") if part and part != str(layout.bin)]
    return {
        "KUBECONFIG": given.get("kubernetes", str(layout.kubeconfig)),
        "DOCKER_HOST": given.get("docker", f"unix://{layout.docker_socket}"),
        "LAB_REGISTRY": given.get("registry", REGISTRY),
        "CD_TARGETS": str(layout.targets),
        "PATH": ":".join([str(layout.bin), *path]),
    }


def exports(variables: Mapping[str, str]) -> str:
    """Lines for a shell, quoted."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def write_targets(path: Path, registry: str) -> None:
    """Write the targets.yaml of the lab: the sample service, in the lab's one environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_TARGETS.format(registry=registry))


_TARGETS = """\
# The lab's own, written by `lab up`. A real one belongs to whoever runs the clusters.
version: 1
environments:
  lab: {{policy: none}}
services:
  hello:
    image: {registry}/hello
    candidates: {registry}/candidates/hello
    moving_tags: [latest]
    environments:
      lab: {{namespace: hello, release: hello}}
"""
