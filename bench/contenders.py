"""The ways to roll out that are compared, each told to notice a failure and to go back by its own means."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench.service import BIN, Service
from lab.layout import layout
from lab.observer import Seen

HELM_DEFAULT = 300  # seconds of Helm's own --timeout


class Contender(ABC):
    """One way. `limit` is the time limit that it is given, in seconds; 0 for its own default."""

    name: str
    key: str

    def __init__(self, service: Service, limit: int) -> None:
        self.service, self.limit = service, limit

    @abstractmethod
    def roll_out(self) -> bool:
        """Roll out what is committed, and go back where that fails; whether it was a success."""

    @abstractmethod
    def noticed(self, began: float, seen: Sequence[Seen]) -> float | None:
        """When the failure of the rollout that began then was noticed (seconds of the wall's clock), if it was."""


class Ours(Contender):
    """helm-deploy, without verification."""

    name, key = "helm-deploy", "ours"

    def roll_out(self) -> bool:
        """As everywhere: within the default budget of 180 s."""
        argv: list[str | Path] = [
            BIN / "helm-deploy",
            "-q",
            "--targets",
            self.service.targets,
            "--digest",
            self.service.ground.digest,
        ]
        return self.service.run(*argv, check=False).ok

    def noticed(self, began: float, seen: Sequence[Seen]) -> float | None:
        """By its own event, which comes once the evidence is saved."""
        lines = (self.service.folder / ".cd" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        for event in map(json.loads, lines):
            at = datetime.fromisoformat(event["t"]).timestamp()
            if event["event"] == "verdict" and at >= began:
                return at
        return None


class _Helm(Contender):
    program: Path
    undo: str

    def roll_out(self) -> bool:
        """Waiting, and with its own rollback."""
        argv: list[str | Path] = [
            self.program,
            "upgrade",
            "web",
            "chart",
            "--install",
            "--wait",
            self.undo,
            *self.service.helm_options(),
        ]
        limit = [f"--timeout={self.limit}s"] if self.limit else []
        return self.service.run(*argv, *limit, check=False).ok

    def noticed(self, began: float, seen: Sequence[Seen]) -> float | None:
        """When its record of the revision first said that it has failed; older ones are only cleared away meanwhile."""
        return next((each.at for each in seen if each.at >= began and not each.gone and _failed(each)), None)


class Helm3(_Helm):
    """Helm 3."""

    name, key, undo = "Helm 3 --wait --atomic", "helm3", "--atomic"
    program = layout().bin / "helm3"


class Helm4(_Helm):
    """Helm 4."""

    name, key, undo = "Helm 4 --wait --rollback-on-failure", "helm4", "--rollback-on-failure"
    program = layout().bin / "helm"


class Kubectl(Contender):
    """What a script does without Helm: apply, wait, and undo where that failed."""

    name, key = "kubectl rollout status, undo", "kubectl"
    _noticed: float | None = None

    def roll_out(self) -> bool:
        """Apply the chart's objects; `kubectl rollout` knows Deployments only."""
        where = ["--namespace", self.service.namespace]
        rendered = self.service.run("helm", "template", "web", "chart", *self.service.helm_options()).stdout
        manifest = self.service.folder.parent / f"{self.service.folder.name}-manifest.yaml"
        manifest.write_text(rendered, encoding="utf-8")
        self.service.run("kubectl", "apply", *where, "--filename", manifest)
        limit = [f"--timeout={self.limit}s"] if self.limit else []
        status = ["kubectl", "rollout", "status", "deployment/web", *where]
        self._noticed = None
        if self.service.run(*status, *limit, check=False).ok:
            return True
        self._noticed = time.time()
        self.service.run("kubectl", "rollout", "undo", "deployment/web", *where)
        self.service.run(*status)
        return False

    def noticed(self, began: float, seen: Sequence[Seen]) -> float | None:
        """When `rollout status` gave up."""
        return self._noticed


def _failed(each: Seen) -> bool:
    labels = each.object["metadata"].get("labels") or {}
    return labels.get("owner") == "helm" and labels.get("status") == "failed"


ALL: tuple[type[Contender], ...] = (Ours, Helm4, Helm3, Kubectl)
