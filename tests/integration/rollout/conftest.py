"""A service to deploy, in a namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from deployments import Deployment

BASE = "lab/python"  # the lab's base image: a Python that runs whatever program a test's chart gives it


def digest_of(lab: Any, tag: str) -> str:
    """The digest of one of the base image's tags."""
    done = subprocess.run(
        ["curl", "-sfI", "-H", "Accept: application/vnd.docker.distribution.manifest.v2+json",
         f"http://{lab.registry}/v2/{BASE}/manifests/{tag}"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    headers = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    return headers["Docker-Content-Digest"].strip()


@pytest.fixture
def other_digest(lab: Any) -> str:
    """A second image that runs the same programs."""
    return digest_of(lab, "3.11")


@pytest.fixture
def web(lab: Any, namespace: str, tmp_path: Path) -> Deployment:
    """A service that is not deployed yet."""
    return Deployment.create(tmp_path, namespace, f"{lab.registry}/{BASE}", digest_of(lab, "3.11-slim"), lab.env)
