"""A service to roll out in benchmarks: a git repository with a chart, and a namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import yaml

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.process import Finished
from cdlib.rollout.kubeconfig import Cluster, read_cluster
from lab import settings
from lab.images import REPOSITORY, base_digest
from lab.layout import layout
from lab.observer import get
from lab.plan import read

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = CHECKOUT / ".venv" / "bin"
LIMIT = 400.0  # seconds for one command; Helm's own limit is 300 by default
WHO = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Bench"), ("EMAIL", "bench@example.org"))}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What all services share: the lab's environment, its cluster, and an image that is published and pulled."""

    environment: Mapping[str, str]
    cluster: Cluster
    image: str
    digest: str

    @classmethod
    def of_lab(cls) -> Ground:
        """The lab's, which must be up."""
        place = layout()
        found = settings.settings(place, read(place.plan).given)
        environment = {**os.environ, **found, **WHO, "PYTHONDONTWRITEBYTECODE": ""}
        registry = found["LAB_REGISTRY"]
        digest = base_digest(registry, "3.11-slim")
        if not digest:
            raise CdError("the lab's registry has no base image", hint="python -m lab up")
        return cls(environment, read_cluster(Path(found["KUBECONFIG"]), None), f"{registry}/{REPOSITORY}", digest)


@dataclass
class Service:
    """One service. `values` are those of its chart beyond the chart's own."""

    ground: Ground
    folder: Path
    namespace: str
    values: dict[str, Any]

    def run(self, *argv: str | Path, check: bool = True, env: Mapping[str, str] | None = None) -> Finished:
        """Run a program in the service's folder; unless `check` is false it has to exit with 0."""
        deadline = Deadline(LIMIT, "one command")
        done = process.run(argv, deadline, cwd=self.folder, env={**self.ground.environment, **(env or {})})
        if check and not done.ok:
            raise CdError(f"{argv[0]} failed", details=done.stderr[-10:], hint="see that the lab is up")
        return done

    def commit(self, **values: Any) -> str:
        """Commit the values, these among them; returns the commit."""
        (self.folder / "values.yaml").write_text(yaml.safe_dump({**self.values, **values}), encoding="utf-8")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "change")
        return self.head

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return self.run("git", "rev-parse", "HEAD").stdout.strip()

    @property
    def targets(self) -> Path:
        """The targets.yaml of the service, beside its folder."""
        return self.folder.parent / f"{self.folder.name}.yaml"

    def helm_options(self) -> list[str]:
        """The options by which a plain Helm is given what helm-deploy gives it."""
        sets = {"image.repository": self.ground.image, "image.digest": self.ground.digest, "cd.revision": self.head}
        said = ",".join(f"{key}={value}" for key, value in sets.items())
        return ["--namespace", self.namespace, "--values", "values.yaml", "--set", said]

    def answers(self) -> str:
        """The revision that the Service answers with; empty where it does not answer."""
        where = f"/api/v1/namespaces/{self.namespace}/services/web:80/proxy/"
        with suppress(OSError, HTTPException, ValueError, KeyError, TypeError):
            return str(json.loads(get(self.ground.cluster, where))["revision"])
        return ""


@contextmanager
def service(ground: Ground, folder: Path, name: str, **values: Any) -> Iterator[Service]:
    """A fresh service in `folder`/`name`; its namespace is deleted afterwards."""
    made = Service(ground, folder / name, f"cd-bench-{name}", values)
    shutil.copytree(CHECKOUT / "tests" / "support" / "web", made.folder / "chart")
    (made.folder / "cd.yaml").write_text("service: web\ndeploy: {chart: chart, values: [values.yaml]}\n")
    (made.folder / ".gitignore").write_text("/.cd/\n")
    place = {"namespace": made.namespace, "release": "web"}
    web = {"image": ground.image, "environments": {"bench": place}}
    document = {"version": 1, "environments": {"bench": {"policy": "none"}}, "services": {"web": web}}
    made.targets.write_text(yaml.safe_dump(document))
    made.run("git", "init", "--quiet", "--initial-branch=master")
    made.run("kubectl", "delete", "namespace", made.namespace, "--ignore-not-found")
    made.run("kubectl", "create", "namespace", made.namespace)
    try:
        yield made
    finally:
        made.run("kubectl", "delete", "namespace", made.namespace, "--wait=false", "--ignore-not-found")
