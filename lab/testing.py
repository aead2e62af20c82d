"""What tests against real servers share, as pytest fixtures: the lab, a namespace, and git repositories.

A `conftest.py` imports the fixtures that its tests use.
"""

from __future__ import annotations

import random
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdlib import process
from cdlib.deadline import Deadline
from lab import processes, settings
from lab.layout import Layout, layout
from lab.plan import read
from lab.tools import BLUBBER, BUILDX, COSIGN, HELM, HELM3

CHECKOUT = Path(__file__).resolve().parents[1]
_LIMIT = 300.0  # seconds for one command of the lab, everything being installed
_SETTLED = 150.0  # seconds until a cluster whose API server was away acts again
_PORTS = 20_000, 30_000  # below what Kubernetes gives to node ports, and what Linux gives to connections
_COMMITTER = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
}


def free_port() -> int:
    """A port that stays free while nobody listens: none that the kernel gives away, as it does for each connection."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            port = random.randrange(*_PORTS)
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class RunningLab:
    """The lab while it is up. `env` is what a program needs to use it, to be added to the environment."""

    layout: Layout
    env: Mapping[str, str]

    @property
    def kubeconfig(self) -> Path:
        """The cluster administrator's kubeconfig."""
        return Path(self.env["KUBECONFIG"])

    @property
    def docker_host(self) -> str:
        """Where Docker Engine listens, as DOCKER_HOST writes it."""
        return self.env["DOCKER_HOST"]

    @property
    def registry(self) -> str:
        """The registry's host and port."""
        return self.env["LAB_REGISTRY"]

    @property
    def helm3(self) -> Path:
        """Helm 3."""
        return self.layout.tools / HELM3.key / "helm"

    @property
    def helm4(self) -> Path:
        """Helm 4, which is also the `helm` on the PATH of `env`."""
        return self.layout.tools / HELM.key / "helm"

    @property
    def buildx(self) -> Path:
        """Docker's buildx; with DOCKER_CONFIG set to `docker_config` it is docker's plugin as well."""
        return self.layout.tools / BUILDX.key / BUILDX.rename

    @property
    def blubber(self) -> Path:
        """The stand-in for Blubber's frontend of BuildKit."""
        return self.layout.tools / BLUBBER.key / BLUBBER.name

    @property
    def cosign(self) -> Path:
        """cosign 2, against which attestations are checked."""
        return self.layout.tools / COSIGN.key / "cosign"

    @property
    def docker_config(self) -> Path:
        """A Docker configuration that has buildx as a plugin, and nothing else."""
        return self.layout.docker_config

    def run(self, *argv: str | Path, check: bool = True, seconds: float = 60.0) -> process.Finished:
        """Run a program against the lab; unless `check` is false it has to exit with 0."""
        done = process.run(argv, Deadline(seconds, "a test's program"), env=self.env)
        assert done.ok or not check, f"{argv} ended with status {done.returncode}: {done.stderr[-10:]}"
        return done

    def kubectl(self, *args: str, check: bool = True, seconds: float = 60.0) -> str:
        """What kubectl prints on stdout, against the lab's cluster."""
        return self.run("kubectl", *args, check=check, seconds=seconds).stdout

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A fresh namespace that pods can be made in, deleted afterwards without waiting for its end."""
        name = f"t-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        try:
            self._wait(name, "--for=create", "serviceaccount/default")
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def settle(self) -> None:
        """Wait until the cluster acts: all of it needs up to a minute after its API server was away.

        A node that has not renewed its Lease since then may be called not ready later.
        """
        before = self._renewals()
        assert processes.wait_until(lambda: not before & self._renewals(), _SETTLED), "a node renews its Lease no more"
        self._wait("default", "--for=condition=Ready", "nodes", "--all")
        with self.namespace() as name:
            image = f"{self.registry}/lab/python:3.11-slim"
            self.kubectl("-n", name, "create", "deployment", "probe", f"--image={image}", "--", "sleep", "600")
            self.kubectl("-n", name, "expose", "deployment", "probe", "--port=80")
            self._wait(name, "--for=condition=Available", "deployment/probe")
            self._wait(name, "--for=create", "endpoints/probe")  # of what is not there yet, kubectl awaits nothing
            self._wait(name, "--for=jsonpath={.subsets[*].addresses[*].ip}", "endpoints/probe")

    def _renewals(self) -> set[str]:
        """When each node last said that it is there."""
        listed = self.kubectl("-n", "kube-node-lease", "get", "leases", "-o=jsonpath={.items[*].spec.renewTime}")
        return set(listed.split())

    def _wait(self, namespace: str, *what: str) -> None:
        self.kubectl("-n", namespace, "wait", *what, f"--timeout={_SETTLED:.0f}s", seconds=_SETTLED + 10)


def command(*args: str, seconds: float = _LIMIT, env: Mapping[str, str] | None = None) -> process.Finished:
    """Run `python -m lab` as a user does."""
    argv = [sys.executable, "-m", "lab", *args]
    return process.run(argv, Deadline(seconds, f"lab {args[0]}"), cwd=CHECKOUT, env=env)


@contextmanager
def without(name: str, *, kill: bool = True) -> Iterator[None]:
    """The lab without one of its servers, which has crashed, or unless `kill` was stopped; it serves again after."""
    done = command("stop", name, *(["--kill"] if kill else []))
    assert done.ok, done.stderr
    try:
        yield
    finally:
        done = command("start", name)
        assert done.ok, done.stderr


def server_process(name: str) -> processes.Process:
    """The process that a server of the lab runs as."""
    row = next(line.split() for line in command("status").stdout.splitlines() if line.startswith(f"{name} "))
    found = processes.known(int(row[2]))
    assert found
    return found


@pytest.fixture(scope="session")
def lab() -> RunningLab:
    """The lab, brought up where it is not; it stays up afterwards."""
    done = command("up")
    assert done.ok, f"lab up ended with status {done.returncode}: {done.stderr[-15:]}"
    place = layout()
    return RunningLab(place, settings.settings(place, read(place.plan).given))


@pytest.fixture
def namespace(lab: RunningLab) -> Iterator[str]:
    """A fresh Kubernetes namespace, deleted afterwards without waiting for its end."""
    with lab.namespace() as name:
        yield name


@dataclass(frozen=True)
class Repository:
    """A git repository on branch `master`."""

    folder: Path

    def git(self, *args: str) -> str:
        """What git prints, run in the repository by a committer named Test."""
        done = process.run(["git", "-C", self.folder, *args], Deadline(60, "git"), env=_COMMITTER)
        assert done.ok, f"git {args} ended with status {done.returncode}: {done.stderr[-5:]}"
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        """Write files by their paths in the repository."""
        for path, content in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")

    def commit(self, message: str = "change", files: Mapping[str, str] | None = None) -> str:
        """Commit all that lies in the folder, `files` written first; returns the commit."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")


MakeRepository = Callable[..., Repository]


@pytest.fixture
def repo(tmp_path: Path) -> MakeRepository:
    """`repo(folder, name)` copies a folder (by default the sample service) into a fresh repository, committed."""

    def make(source: Path = CHECKOUT / "examples" / "hello", name: str = "") -> Repository:
        folder = tmp_path / (name or source.name)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", ".cd", "__pycache__"))
        made = Repository(folder)
        made.git("init", "--quiet", "--initial-branch=master")
        made.commit("first")
        return made

    return make
