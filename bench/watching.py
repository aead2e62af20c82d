"""Seen from outside: when the old version of a service is whole again."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from bench.service import Service
from lab.observer import Observer, Seen

ASK_EVERY = 0.2  # seconds between two questions to the Service
_WAIT = 60.0  # seconds at most, after a rollout has ended, until its service is whole


class Watching:
    """Watches a service through a rollout, as a context manager: its pods, Helm's records, and what it answers."""

    def __init__(self, service: Service, replicas: int) -> None:
        self._service, self._replicas = service, replicas
        place = f"/api/v1/namespaces/{service.namespace}"
        secrets = f"{place}/secrets?labelSelector=owner%3Dhelm"
        self._observer = Observer(service.ground.cluster, f"{place}/pods", secrets)
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._answers: list[tuple[float, str]] = []

    def __enter__(self) -> Self:
        self._observer.__enter__()
        self._asking.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self._over.set()
        self._asking.join()
        self._observer.__exit__(kind, value, trace)

    @property
    def seen(self) -> Sequence[Seen]:
        """All versions of its pods and of Helm's records."""
        return self._observer.seen

    def whole(self, revision: str, began: float) -> float | None:
        """Since when all pods that there are, and as many as there should be, are ready and of `revision`, and the
        Service answers with it; `began` where nothing else was ever the case after it. None where it is not so."""
        end = time.monotonic() + _WAIT
        while time.monotonic() < end:
            found = whole_since(self._observer.seen, tuple(self._answers), revision, self._replicas, began)
            if found is not None:
                return found
            time.sleep(ASK_EVERY)
        return None

    def _ask(self) -> None:
        while not self._over.wait(ASK_EVERY):
            at = time.time()
            self._answers.append((at, self._service.answers()))


def whole_since(seen: Sequence[Seen], answers: Sequence[tuple[float, str]], revision: str, replicas: int,
                began: float) -> float | None:  # fmt: skip
    """What `Watching.whole` says, by all that came to pass; `answers` are the Service's, each with its second."""
    since: float | None = began
    pods: dict[str, Any] = {}
    for each in seen:
        meta = each.object["metadata"]
        if (meta.get("labels") or {}).get("owner") == "helm":
            continue
        pods[meta["name"]] = None if each.gone else each.object
        if not _is_whole(pods, revision, replicas):
            since = None
        elif since is None:
            since = max(each.at, began)
    if since is None or (answers and answers[-1][1] != revision):
        return None
    return max([since, *(at for at, said in answers if said != revision and at >= began)])


def _is_whole(pods: dict[str, Any], revision: str, replicas: int) -> bool:
    here = [pod for pod in pods.values() if pod and "deletionTimestamp" not in pod["metadata"]]
    return len(here) == replicas and all(_ready(pod) and _revision(pod) == revision for pod in here)


def _ready(pod: Any) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _revision(pod: Any) -> str:
    env = pod["spec"]["containers"][0].get("env") or []
    return next((str(each.get("value")) for each in env if each["name"] == "REVISION"), "")
