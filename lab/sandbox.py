"""The supervisor's mount namespace: what servers would leave on the machine's own disk is kept out of sight.

Some paths are compiled into containerd, the kubelet and the CNI plugins. A tmpfs of the namespace's own lies
over each of them, and is gone with it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable
from lab.layout import Layout

# containerd's shims, CNI's leases and namespaces, sshd's, the kubelet's plugin sockets, and links to container logs.
HIDDEN = (
    Path("/run/containerd"),
    Path("/run/netns"),
    Path("/run/sshd"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
)
_ADMIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")


def prefix() -> list[str]:
    """The words before a program that is to live in namespaces of its own, and die with its parent."""
    return ["unshare", "--pid", "--mount", "--propagation=slave", "--fork", "--kill-child", "--mount-proc"]


def enter(layout: Layout) -> None:
    """Prepare the mount namespace that this process is the first of."""
    for stale in _transient(layout):
        _refuse_mounts_below(stale)
        shutil.rmtree(stale, ignore_errors=True)
    for folder in (layout.data, layout.logs / "pods"):
        folder.mkdir(parents=True, exist_ok=True)
    # The kubelet's and containerd's mounts must reach each other, and nobody outside.
    _mount("--make-rshared", "/")
    for path in HIDDEN:
        path.mkdir(parents=True, exist_ok=True)
        _mount("-t", "tmpfs", "-o", "mode=0755", "cdlab", str(path))


def _transient(layout: Layout) -> list[Path]:
    """What means nothing once the processes that made it are gone."""
    return [layout.run / "containerd", layout.run / "docker", layout.data / "kubelet", layout.logs / "pods"]


def _refuse_mounts_below(folder: Path) -> None:
    """Raise where something is mounted below `folder`: deleting would reach through it."""
    if below := mounts_below(folder):
        raise CdError(f"{below[0]} is still mounted", hint="run: python -m lab down")


def mounts_below(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """The mount points in or at `folder`, as this process sees them, the deepest first."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in table.read_text().splitlines()]
    inside = [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]
    return sorted(inside, key=len, reverse=True)


def path() -> str:
    """PATH with the folders of system programs, which a plain user's has not."""
    words = os.environ.get("PATH", "").split(":")
    return ":".join([*filter(None, words), *(folder for folder in _ADMIN if folder not in words)])


def _mount(*args: str) -> None:
    done = process.run(["mount", *args], Deadline(20, "mount"))
    if not done.ok:
        raise Unavailable(f"mount {' '.join(args)} failed", details=done.stderr[-3:], hint="the lab needs root")
