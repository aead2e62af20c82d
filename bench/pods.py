"""`python -m bench.pods`: what a first rollout of 10, 100 and 1,000 pods costs helm-deploy.

The pods are real objects of a real API server, scheduled to a node that kwok plays: no containers. helm-deploy's
requests are counted by a relay; its processor time and memory are its own process's, with Helm's time apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.service import BIN, Ground, Service, service
from bench.table import show, telling
from cdlib import process
from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab.layout import layout
from lab.relay import Relay, Request, relaying

NODE = "cd-bench"
STAGES = Path(__file__).with_name("kwok.yaml")
COUNTS = (10, 100, 1000)
LOOK_EVERY = 0.02  # seconds between two looks at the process
LONGEST = 3600.0  # seconds of all of it
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """Seconds, MB and requests; `helm` is what Helm took of either. `renewals` of the lease go with time, not pods."""

    pods: int
    seconds: float
    cpu: float
    memory: float
    requests: int
    watches: int
    renewals: int
    helm_cpu: float
    helm_requests: int


def measure(here: Service, pods: int, relay: Relay) -> Cost:
    """Roll out for the first time. Raises CdError where it fails."""
    here.commit(replicas=pods)
    relay.reset()
    argv = [str(BIN / "helm-deploy"), "-q", "--targets", str(here.targets), "--digest", here.ground.digest]
    env = {**here.ground.environment, "KUBECONFIG": str(relay.kubeconfig)}
    began = time.monotonic()
    run = subprocess.Popen(argv, cwd=here.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    cpu = helm_cpu = memory = 0.0
    while run.poll() is None:
        cpu, helm_cpu, memory = _usage(run.pid) or (cpu, helm_cpu, memory)
        time.sleep(LOOK_EVERY)
    seconds = time.monotonic() - began
    if run.returncode:
        raise CdError(f"{pods} pods did not come up", details=run.communicate()[1].splitlines()[-10:])
    assert run.stderr is not None
    run.stderr.close()
    requests = relay.requests
    ours = [each for each in requests if each.agent == "cdlib"]
    watches, renewals = sum(each.watch for each in ours), sum(map(_renewal, ours))
    return Cost(pods, seconds, cpu, memory, len(ours), watches, renewals, helm_cpu, len(requests) - len(ours))


def _usage(pid: int) -> tuple[float, float, float] | None:
    """Seconds of the process, of the children that it has waited for, and its largest memory so far in MB."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    user, system, children_user, children_system = (int(word) / _TICKS for word in words[11:15])
    peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if peak is None else (user + system, children_user + children_system, peak)


def _renewal(request: Request) -> bool:
    return "/leases/" in request.path


@contextmanager
def kwok(ground: Ground, folder: Path) -> Iterator[Relay]:
    """A node that kwok plays, and a relay to count by; all are gone afterwards."""
    taint = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    room = {"cpu": "1000", "memory": "1Ti", "pods": "5000"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {"type": "kwok"}, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [taint]},
        "status": {"allocatable": room, "capacity": room},
    }
    manifest = folder / "node.json"
    manifest.write_text(json.dumps(node))
    kubectl = Service(ground, folder, "default", {})
    kubeconfig = ground.environment["KUBECONFIG"]
    argv = [str(layout().bin / "kwok"), "--kubeconfig", kubeconfig, "--config", str(STAGES),
            "--node-lease-duration-seconds=40", "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"]  # fmt: skip
    over = threading.Event()
    player = threading.Thread(target=_play, args=(argv, over))
    player.start()
    try:
        kubectl.run("kubectl", "apply", "--filename", manifest)
        kubectl.run("kubectl", "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        with relaying(Path(kubeconfig), folder) as relay:
            yield relay
    finally:
        kubectl.run("kubectl", "delete", "node", NODE, "--ignore-not-found")
        over.set()
        player.join()


def _play(argv: list[str], over: threading.Event) -> None:
    """Run kwok until `over`; it dies with us, however we end."""
    with suppress(CdError):  # that it was stopped
        process.run(argv, Deadline(LONGEST, "playing a node"), stop=over.is_set)


@contextmanager
def on_kwok(ground: Ground, folder: Path, name: str) -> Iterator[Service]:
    """A service whose pods go to kwok's node; it is gone with all of them afterwards, as long as kwok runs."""
    tolerations = [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}]
    with service(ground, folder, name, nodeSelector={"type": "kwok"}, tolerations=tolerations) as made:
        template = made.folder / "chart" / "templates" / "all.yaml"
        # Without its Service: kube-proxy would write rules for pods that are not there.
        template.write_text(template.read_text(encoding="utf-8").split("---\n")[0], encoding="utf-8")
        yield made
        made.run("kubectl", "delete", "namespace", made.namespace)


@click.command()
@click.argument("counts", nargs=-1, type=int)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the figures into this file, too.")
def main(counts: tuple[int, ...], file: Path | None) -> None:
    """Roll out COUNTS pods, one count after the other, and print what each took."""
    console, found = Console(sys.stdout), list[Cost]()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also then, the node must not stay
    with telling(console):
        ground = Ground.of_lab()
        with TemporaryDirectory(prefix="cd-bench-") as temporary, kwok(ground, Path(temporary)) as relay:
            for pods in counts or COUNTS:
                console.line("dim", "", f"{pods} pods …")
                with on_kwok(ground, Path(temporary), f"pods-{pods}") as here:
                    found.append(measure(here, pods, relay))
                    write(file, found)
    heads = ["pods", "seconds", "CPU (s)", "memory (MB)", "requests", "of it watches", "of it lease", "Helm: CPU (s)",
             "requests"]  # fmt: skip
    show(console, heads, [[_text(value) for value in asdict(each).values()] for each in found])


def write(file: Path | None, found: list[Cost]) -> None:
    """Write the figures so far as JSON."""
    if file is not None:
        file.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n", encoding="utf-8")


def _text(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
