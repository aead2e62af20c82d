"""What a pod knows and nobody else needs to: hidden before its logs and its object are kept."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed
from cdlib.rollout.api import Api, Object, path
from cdlib.run import Run

MOST = 50  # Secrets that are looked at
LEARNING = 3.0  # seconds
LARGEST = 8 * 1024  # characters of one value: a larger one is a file, and no log has it whole
HIDDEN = "[left out]"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")  # of a pod's spec


class Secrets:
    """The Secrets of one namespace whose values the run's redactor has been taught: programs print what they are given.

    What cannot be read is not known, and then only its shape can give it away; that is told once.
    """

    def __init__(self, run: Run, api: Api, namespace: str) -> None:
        self._run, self._api, self._namespace = run, api, namespace
        self._known = set[str]()

    def learn(self, pods: Iterable[Object], deadline: Deadline) -> None:
        """Hide the values of every Secret that these pods, or templates of pods, refer to; each is read once."""
        names = dict.fromkeys(name for pod in pods for name in _secrets(pod.get("spec") or {}))
        share = deadline.part(LEARNING, "learning what is secret")
        for name in [name for name in names if name not in self._known][:MOST]:
            try:
                secret = self._api.get(path("secrets", self._namespace, name), share) or {}
            except CdError as problem:
                self._run.warn(f"the values of the Secret {name} cannot be hidden: {problem.message}")
                if isinstance(problem, NotAllowed):
                    self._known.add(name)
                continue
            self._known.add(name)
            self._run.redactor.hide(_decoded(secret))


def without_values(pod: Object) -> Object:
    """The pod without the values of its variables, and without who changed which field."""
    metadata = {k: v for k, v in pod["metadata"].items() if k != "managedFields"}
    spec = dict(pod.get("spec") or {})
    for kind in CONTAINERS:
        if kind in spec:
            spec[kind] = [_without(c) for c in spec[kind] or []]
    return {"metadata": metadata, "spec": spec, "status": pod.get("status")}


def _without(container: dict[str, Any]) -> dict[str, Any]:
    variables = [{**v, "value": HIDDEN} if v.get("value") else v for v in container.get("env") or []]
    return {**container, **({"env": variables} if variables else {})}


def _secrets(spec: Object) -> Iterator[str]:
    """The names of the Secrets that a pod's variables and volumes come from."""
    for container in [c for kind in CONTAINERS for c in spec.get(kind) or []]:
        for each in container.get("envFrom") or []:
            yield from _name(each.get("secretRef"), "name")
        for variable in container.get("env") or []:
            yield from _name((variable.get("valueFrom") or {}).get("secretKeyRef"), "name")
    for volume in spec.get("volumes") or []:
        yield from _name(volume.get("secret"), "secretName")
        for source in (volume.get("projected") or {}).get("sources") or []:
            yield from _name(source.get("secret"), "name")


def _name(reference: Object | None, key: str) -> Iterator[str]:
    if reference and reference.get(key):
        yield str(reference[key])


def _decoded(secret: Object) -> Iterator[str]:
    for value in (secret.get("data") or {}).values():
        try:
            text = base64.b64decode(str(value)).decode("utf-8")
        except (binascii.Error, ValueError):
            continue  # no text, so no line of a log
        if len(text) <= LARGEST:
            yield text.strip()
