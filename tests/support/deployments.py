"""A service to deploy in tests: a git repository, its targets.yaml, and the commands as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.images import base_digest

HERE = Path(__file__).parent
BASE = "lab/python"  # the lab's base image: a Python that runs whatever program a test's chart gives it
BIN = Path(sys.executable).parent
CRASH = "print('boom: no database'); raise SystemExit(3)"
HANG = "import time; time.sleep(600)"


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """What it printed with --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Deployment:
    """One service with a namespace of its own."""

    folder: Path
    namespace: str
    image: str
    digest: str
    env: Mapping[str, str]
    targets: dict[str, Any] = field(default_factory=dict)
    cd: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, namespace: str, image: str, digest: str, env: Mapping[str, str]) -> Deployment:
        """A service in a fresh repository, with one commit."""
        made = cls(folder / "web", namespace, image, digest, {**os.environ, **env})
        shutil.copytree(HERE / "web", made.folder / "chart")
        made.cd = {"service": "web", "deploy": {"values": ["values.yaml"], "verify": {"http": [{"path": "/healthz"}]}}}
        place = {"namespace": namespace, "release": "web"}
        made.targets = {
            "version": 1,
            "environments": {"test": {"policy": "none", "budget": "120s"}},
            "services": {"web": {"image": image, "environments": {"test": place}}},
        }
        made.git("init", "-q", "-b", "master")
        made.commit()
        return made

    @property
    def targets_file(self) -> Path:
        """Where targets.yaml lies: beside the service, never in it."""
        return self.folder.parent / "targets.yaml"

    def git(self, *args: str) -> str:
        """Run git in the service's repository."""
        who = {
            f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER") for k, v in (("NAME", "T"), ("EMAIL", "t@example.org"))
        }
        done = subprocess.run(
            ["git", *args], cwd=self.folder, env={**self.env, **who}, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, **values: Any) -> str:
        """Commit these values; returns the commit."""
        (self.folder / "values.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        (self.folder / "cd.yaml").write_text(yaml.safe_dump(self.cd), encoding="utf-8")
        self.targets_file.write_text(yaml.safe_dump(self.targets), encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def write_targets(self) -> None:
        """Put changed targets into the file, without a commit."""
        self.targets_file.write_text(yaml.safe_dump(self.targets), encoding="utf-8")

    def argv(self, *argv: str) -> list[str]:
        """A command line as a user types it."""
        return [str(BIN / argv[0]), "-C", str(self.folder), "--targets", str(self.targets_file), "--json", *argv[1:]]

    def run(self, *argv: str, env: Mapping[str, str] | None = None) -> Ran:
        """Run one of the commands to its end."""
        done = subprocess.run(
            self.argv(*argv), env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=200
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def deploy(self, *argv: str, digest: str = "", env: Mapping[str, str] | None = None) -> Ran:
        """Run helm-deploy for the digest of the base image, or another."""
        return self.run("helm-deploy", "--digest", digest or self.digest, *argv, env=env)

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start one of the commands, and leave it running."""
        return subprocess.Popen(
            self.argv(*argv), env={**self.env, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def deploy_until(self, said: str) -> subprocess.Popen[str]:
        """Start to deploy what is committed, and leave it running once it has said that."""
        process = self.start("helm-deploy", "--digest", self.digest)
        assert process.stderr is not None
        for line in process.stderr:
            if said in line:
                break
        return process

    def kubectl(self, *args: str) -> str:
        """Run kubectl in the namespace."""
        argv = ["kubectl", "-n", self.namespace, *args]
        return subprocess.run(argv, env=dict(self.env), check=True, capture_output=True, text=True).stdout

    def get(self, *args: str) -> Any:
        """An object of the namespace."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def record(self) -> dict[str, Any]:
        """The release record."""
        found: dict[str, Any] = json.loads(self.get("configmap", "cd-web")["data"]["record.json"])
        return found

    def events(self) -> list[dict[str, Any]]:
        """What the last command has told of itself, in order."""
        lines = (self.folder / ".cd" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [event for event in found if event["run"] == found[-1]["run"]]

    def evidence(self) -> str:
        """All that is kept of rollouts that failed."""
        files = (self.folder / ".cd" / "evidence").rglob("*.json")
        return "\n".join(file.read_text(encoding="utf-8") for file in files)

    def serving(self) -> dict[str, str]:
        """What the service answers."""
        where = f"/api/v1/namespaces/{self.namespace}/services/web:80/proxy/"
        found: dict[str, str] = json.loads(self.kubectl("get", "--raw", where))
        return found

    def helm_statuses(self) -> list[tuple[int, str]]:
        """Revision and status of each of Helm's records."""
        items = self.get("secrets", "-l", "owner=helm,name=web")["items"]
        found = [(int(s["metadata"]["labels"]["version"]), s["metadata"]["labels"]["status"]) for s in items]
        return sorted(found)


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `true` returns once it is something; looks again until then, and fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = true()
        except (subprocess.CalledProcessError, KeyError):
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come true in time")


def kill_hard(process: subprocess.Popen[str]) -> None:
    """End a command as a crash does."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.fixture
def other_digest(lab: Any) -> str:
    """A second image that runs the same programs."""
    return base_digest(lab.registry, "3.11")


@pytest.fixture
def web(lab: Any, namespace: str, tmp_path: Path) -> Deployment:
    """A service that is not deployed yet."""
    return Deployment.create(
        tmp_path, namespace, f"{lab.registry}/{BASE}", base_digest(lab.registry, "3.11-slim"), lab.env
    )
