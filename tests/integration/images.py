"""A service whose images are built, tested and published against real servers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.testing import Repository, RunningLab, free_port

HOSTILE = "a 'b' \"c\" $HOME `id` $(id) \\ ü ;|&\n  next line"
BUILDERS = ("buildx", "buildkit", "engine")
BIN = Path(sys.executable).parent
FOLDERS = ("cdlib", "cdlib-attested")  # where the Engine keeps what was built


@dataclass(frozen=True)
class Done:
    """A command that has ended. `result` is what it left as cd-result.json."""

    code: int
    out: str
    err: str
    seconds: float
    result: dict[str, Any]

    @property
    def problem(self) -> list[str]:
        """The error as people see it: message, details, what to do next."""
        lines = self.err.splitlines()
        start = next((n for n, line in enumerate(lines) if line.startswith("error: ")), len(lines))
        return lines[start:]


@dataclass
class Workshop:
    """A service of its own name, its targets.yaml, and the environment that commands run in."""

    lab: RunningLab
    repository: Repository
    name: str
    base: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.repository.folder

    @property
    def temporary(self) -> Path:
        """TMPDIR of the commands: what is left there was not cleaned up."""
        return self.base / "tmp"

    def write(self, **files: str) -> str:
        """Write files (`__` stands for a dot) and commit them."""
        return self.repository.commit(files={name.replace("__", "."): text for name, text in files.items()})

    def target(self, registry: str = "", **more: Any) -> Path:
        """Write targets.yaml. `more` is added to the service's entry; `policy` is the environment's."""
        policy = more.pop("policy", "none")
        host = registry or self.lab.registry
        entry = {
            "candidates": f"{host}/t/candidates/{self.name}",
            "image": f"{host}/t/{self.name}",
            "environments": {"lab": {"namespace": "x", "release": "x"}},
            **more,
        }
        document = {"version": 1, "environments": {"lab": {"policy": policy}}, "services": {self.name: entry}}
        path = self.base / "targets.yaml"
        path.write_text(json.dumps(document))
        self.env["CD_TARGETS"] = str(path)
        return path

    def start(self, command: str, *args: str) -> subprocess.Popen[str]:
        """Start a command as a person would."""
        argv = [str(BIN / command), "-C", str(self.folder), *args]
        return subprocess.Popen(argv, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def environment(self) -> dict[str, str]:
        """What commands run in: the lab's servers, nobody's own settings, and `env`."""
        self.temporary.mkdir(exist_ok=True)
        whole = {**os.environ, **self.lab.env}
        known = {k: v for k, v in whole.items() if not k.startswith(("CD_", "ZUUL_", "JENKINS_", "BUILD_"))}
        return {**known, "TMPDIR": str(self.temporary), **self.env}

    def run(self, command: str, *args: str) -> Done:
        """Run a command to its end."""
        started = time.monotonic()
        return self.finish(self.start(command, *args), started)

    def finish(self, child: subprocess.Popen[str], started: float = 0.0, said: str = "") -> Done:
        out, err = child.communicate(timeout=120)
        kept = self.folder / ".cd" / "cd-result.json"
        result = json.loads(kept.read_text()) if kept.exists() else {}
        return Done(child.returncode, out, said + err, time.monotonic() - started, result)

    def interrupt(self, wait_for: str, command: str, *args: str, signum: int = signal.SIGINT) -> Done:
        """Run a command, and send it a signal once it has said `wait_for`."""
        child = self.start(command, *args)
        said = ""
        assert child.stderr is not None
        for line in child.stderr:
            said += line
            if wait_for in line:
                break
        else:
            raise AssertionError(f"{command} never said {wait_for!r}: {said}{child.communicate()}")
        started = time.monotonic()
        child.send_signal(signum)
        return self.finish(child, started, said)

    @property
    def engine(self) -> Any:
        import docker

        return docker.APIClient(base_url=self.lab.docker_host, version="auto")

    def labels(self, image: str) -> dict[str, str]:
        with contextlib.closing(self.engine) as engine:
            return dict(engine.inspect_image(image)["Config"]["Labels"])

    def read(self, image: str, path: str) -> str:
        """A file's text out of an image."""
        (entry,) = self.archive(image, path)
        return entry.pax_headers["content"]

    def archive(self, image: str, path: str) -> list[tarfile.TarInfo]:
        """What lies at `path` in an image, each with its content."""
        with contextlib.closing(self.engine) as engine:
            made = engine.create_container(image, ["none"])["Id"]
            try:
                whole = b"".join(engine.get_archive(made, path)[0])
            finally:
                engine.remove_container(made, v=True)
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            entries = tar.getmembers()
            for entry in entries:
                content = tar.extractfile(entry) if entry.isreg() else None
                entry.pax_headers = {"content": content.read().decode() if content else ""}
            return entries

    def containers(self) -> list[str]:
        """Names of the test containers that exist."""
        with contextlib.closing(self.engine) as engine:
            return [c["Names"][0] for c in engine.containers(all=True, filters={"label": ["org.cdlib.expires"]})]

    def images(self) -> list[str]:
        """The tags of the service's images in the Engine."""
        with contextlib.closing(self.engine) as engine:
            named = [found for folder in FOLDERS for found in engine.images(name=f"{folder}/{self.name}")]
            return [tag for image in named for tag in image["RepoTags"] or ()]

    def forget(self) -> None:
        """Remove the service's images from the Engine, as another agent would not have them."""
        with contextlib.closing(self.engine) as engine:
            for tag in self.images():
                engine.remove_image(tag, force=True)

    def tags(self, repository: str, registry: str = "") -> dict[str, str]:
        """Tags of a repository and their digests, as the registry has them."""
        base = f"http://{registry or self.lab.registry}/v2/{repository}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{base}/tags/list", timeout=10) as answer:
                names = json.load(answer)["tags"] or []
        except urllib.error.HTTPError:
            return {}
        found = {}
        for name in names:
            kind = "application/vnd.docker.distribution.manifest.v2+json"
            request = urllib.request.Request(f"{base}/manifests/{name}", headers={"Accept": kind}, method="HEAD")
            with opener.open(request, timeout=10) as answer:
                found[name] = answer.headers["Docker-Content-Digest"]
        return found


def new_workshop(lab: RunningLab, make: Callable[..., Repository], folder: Path) -> Workshop:
    """A service that copies itself onto the lab's slim Python, under a name that nothing else has."""
    name = f"t{secrets.token_hex(5)}"
    empty = folder / "empty"
    empty.mkdir()
    made = Workshop(lab, make(empty, name), name, folder)
    made.write(
        cd__yaml=f"service: {name}\n",
        Dockerfile=f"FROM {lab.registry}/lab/python:3.11-slim AS test\nCOPY . /srv\nFROM test AS production\n",
        unique=secrets.token_hex(8),
    )
    return made


@contextmanager
def program(
    argv: list[str], ready: Callable[[], bool], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server of a test's own, up while the block runs."""
    with log.open("ab") as output:
        child = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **(env or {})})
    try:
        end = time.monotonic() + 30
        while not ready():
            assert child.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.02)
        yield
    finally:
        child.terminate()
        child.wait(30)


@contextmanager
def registry(folder: Path, storage: Path, auth: str = "") -> Iterator[str]:
    """A docker-registry of a test's own; yields its host and port. `auth` is the text of an htpasswd file."""
    host = f"localhost:{free_port()}"
    folder.mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": host.replace("localhost", "127.0.0.1"), "secret": "for-tests"},
    }
    if auth:
        (folder / "htpasswd").write_text(auth)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))

    def answers() -> bool:
        with socket.socket() as probing:
            return probing.connect_ex(("127.0.0.1", int(host.partition(":")[2]))) == 0

    with program(["docker-registry", "serve", str(folder / "config.yml")], answers, folder / "log"):
        yield host


@contextmanager
def docker_engine(log: Path, storage: Path) -> Iterator[str]:
    """A Docker Engine of a test's own, which has no image and no network for containers; yields its DOCKER_HOST."""
    # The kernel takes 107 characters for a socket's path, and containerd's lies deep.
    with tempfile.TemporaryDirectory(prefix="dkr", dir="/tmp", ignore_cleanup_errors=True) as short:
        host = f"unix://{short}/docker.sock"
        argv = ["dockerd", "--data-root", str(storage), "--exec-root", f"{short}/exec", "--bridge=none",
                "--iptables=false", "--pidfile", f"{short}/pid", "--host", host]  # fmt: skip

        def answers() -> bool:
            with socket.socket(socket.AF_UNIX) as probing, contextlib.suppress(OSError):
                probing.connect(f"{short}/docker.sock")
                probing.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in probing.recv(100)
            return False

        with program(argv, answers, log):
            yield host


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size` of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
