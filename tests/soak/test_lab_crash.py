"""Whatever dies, and whenever: `lab down` leaves nothing of the lab on the machine, and `lab up` works again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import layout as layouts
from lab import processes
from lab.testing import CHECKOUT, RunningLab, command, server_process

pytestmark = pytest.mark.timeout(600)
IMAGE = "lab/python:3.11-slim"


@pytest.fixture(autouse=True)
def _up_again() -> Iterator[None]:
    """Leave the lab up for the tests that follow."""
    yield
    assert command("up").ok


def _busy(lab: RunningLab, namespace: str) -> None:
    """Give the lab a pod, a Docker container, and a Docker network with a container in it."""
    image = f"{lab.registry}/{IMAGE}"
    sleep = ("python3", "-c", "import time; time.sleep(3600)")
    lab.kubectl("--namespace", namespace, "create", "deployment", "web", f"--image={image}", "--", *sleep)
    lab.kubectl("--namespace", namespace, "rollout", "status", "deployment/web", "--timeout=60s", seconds=70)
    lab.run("docker", "network", "create", namespace)
    for network in ("bridge", namespace):
        lab.run("docker", "run", "--detach", "--rm", f"--network={network}", image, *sleep)


def _left(root: Path) -> list[str]:
    """What is left of the lab, found without its own code."""
    found = []
    cgroup = layouts.Layout(root).cgroup
    for process in processes.everyone():
        folder = Path("/proc") / str(process.pid)
        try:
            texts = [(folder / name).read_text(errors="replace") for name in ("cmdline", "cgroup")]
            texts.append(os.readlink(folder / "exe"))
        except OSError:
            continue
        if process.pid != os.getpid() and (str(root) in texts[0] + texts[2] or f"/{cgroup}" in texts[1]):
            found.append(f"process {process.pid}: {texts[0]}")
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(root) in line]
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in links.splitlines() if line.startswith(("cdlab", "veth", "br-"))]
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    found += [line for line in rules.splitlines() if any(mark in line for mark in ("cdlab", "KUBE-", "CNI-"))]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{cgroup}")]
    found += [str(path) for path in (Path("/sys/fs/cgroup") / cgroup, root / "run") if path.exists()]
    return found


def _down_leaves_nothing(root: Path) -> None:
    started = time.monotonic()
    done = command("down")
    assert done.ok, done.stderr
    assert time.monotonic() - started < 20, "down is quick, whatever it finds"
    assert _left(root) == []


@pytest.mark.parametrize("victim", ["supervisor", "init", "containerd", "kubelet", "dockerd", "etcd", "apiserver"])
def test_kill_9(lab: RunningLab, namespace: str, victim: str) -> None:
    _busy(lab, namespace)
    _victim(lab, victim).send(signal.SIGKILL)
    time.sleep(1)
    assert command("status").returncode == 1, "status must tell that something is down"
    _down_leaves_nothing(lab.layout.root)
    assert command("up").ok
    lab.kubectl("--namespace", namespace, "rollout", "status", "deployment/web", "--timeout=60s", seconds=70)


def test_up_mends_what_died(lab: RunningLab) -> None:
    _victim(lab, "kubelet").send(signal.SIGKILL)
    time.sleep(1)
    done = command("up")
    assert done.ok, done.stderr
    assert command("status").ok


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4.0])
def test_up_is_killed(seconds: float, signum: signal.Signals) -> None:
    root = layouts.layout().root
    assert command("down").ok
    starting = subprocess.Popen(
        [sys.executable, "-m", "lab", "up"], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    starting.send_signal(signum)
    starting.wait(30)
    _down_leaves_nothing(root)


def test_up_goes_on_after_a_killed_up() -> None:
    assert command("down").ok
    starting = subprocess.Popen(
        [sys.executable, "-m", "lab", "up"], cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(1.5)
    starting.kill()
    starting.wait(30)
    done = command("up")
    assert done.ok, done.stderr
    assert command("status").ok


def test_a_server_that_does_not_start_is_told_with_its_log() -> None:
    place = layouts.layout()
    assert command("down").ok
    store, kept = place.data / "etcd", place.data / "etcd.kept"
    store.rename(kept)
    store.write_text("no folder")
    try:
        done = command("up")
    finally:
        store.unlink()
        kept.rename(store)
    said = "\n".join(done.stderr)
    assert done.returncode == 69
    assert "etcd ended with status" in said and str(place.log("etcd")) in said and "no folder" not in said
    assert _left(place.root) == [], "nothing is left half-started"


def test_down_twice_is_down_once() -> None:
    root = layouts.layout().root
    for _ in range(2):
        _down_leaves_nothing(root)


def _victim(lab: RunningLab, name: str) -> processes.Process:
    """The process that a server runs as; `supervisor` is the outermost, `init` the namespace's first."""
    if name in ("supervisor", "init"):
        from lab.down import supervisor

        outer = supervisor(lab.layout)
        assert outer
        return outer if name == "supervisor" else processes.children(outer.pid)[0]
    return server_process(name)
