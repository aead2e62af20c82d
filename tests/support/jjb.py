"""The project's Jenkins jobs, made by Jenkins Job Builder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

JJB = Path(__file__).parents[2] / "jjb"
SERVICES = ("hello", "blubberoid")
# Every kind of job, with the label of the agents that it runs on.
LABELS = {
    "check": "cd-build", "gate": "cd-build", "build-image": "cd-build", "run-tests": "cd-build",
    "authorize": "cd-authorize",
    "deploy": "cd-deploy", "rollback": "cd-deploy", "hold": "cd-deploy", "publish-tag": "cd-deploy", "helm-deploy": "cd-deploy",
}  # fmt: skip


def make(folder: Path, out: Path, services: Path | None = None) -> None:
    """Write the XML of every job of the definitions in `folder` to `out`, one folder a job."""
    argv = [Path(sys.executable).with_name("jenkins-jobs"), "test", "--config-xml", "-p", folder / "plugins.yaml", "-o", out,
            f"{folder}/templates:{services or folder / 'services'}"]  # fmt: skip
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, env={**os.environ, "HOME": str(out)}
    )
    assert done.returncode == 0, done.stderr
