"""Whether the live objects are what the release says, or somebody has changed them since.

Asked of the API server itself: it applies each object of the release without keeping it (a dry run), so that
quantities, defaults and webhooks mean the same on both sides, and only fields that the release sets can differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable
from cdlib.rollout.api import APPLY, Api, Conflict, Object, path
from cdlib.rollout.record import Revision
from cdlib.rollout.release import Outcome, Release, ready_pods
from cdlib.rollout.workloads import look

MOST = 10  # lines
LONGEST = 60  # characters of a value
_OWN = ("managedFields", "resourceVersion", "generation")  # what the server keeps of every change
_SHOWN = ("image", "replicas", "port", "targetPort", "nodePort", "type", "schedule", "serviceAccountName")


@dataclass(frozen=True)
class Standing:
    """How what is live stands: `outcome` where nothing is to be done, else what differs, if that is why."""

    outcome: Outcome | None = None
    drift: tuple[str, ...] = ()


def stands(release: Release, live: Revision, deadline: Deadline) -> Standing:
    """Whether the live revision is up, and its objects are what it says; what differs is told."""
    workloads = tuple((kind, name) for kind, name in live.workloads)
    state = look(release.api, release.environment.namespace, workloads, deadline)
    drift = tuple(find_drift(release, live.revision, deadline))
    for line in drift:
        release.run.warn(f"drift: {line}")
    if state.complete and not drift:
        return Standing(Outcome("unchanged", live, ready_pods(state)))
    return Standing(None, drift)


def find_drift(release: Release, revision: int, deadline: Deadline) -> list[str]:
    """What differs, one line each, values only where they cannot be secret. Raises CdError where nobody answers."""
    run, api, namespace = release.run, release.api, release.environment.namespace
    kinds, found = _Kinds(api, namespace), list[_Difference]()
    for o in release.helm.manifest(revision, deadline):
        try:
            found += _compare(api, kinds.where(o, deadline), o, deadline)
        except (NotAllowed, Conflict) as problem:
            run.warn(f"{o['kind']} {o['metadata']['name']} cannot be compared with the release: {problem}")
        except Unavailable:
            raise
        except CdError as problem:
            run.warn(f"{o['kind']} {o['metadata']['name']} cannot be compared with the release: {problem.message}")
    lines = [str(each) for each in _without_scaled(api, namespace, found, deadline)]
    return lines[:MOST] + ([f"and {len(lines) - MOST} more"] if len(lines) > MOST else [])


@dataclass(frozen=True)
class _Difference:
    kind: str
    name: str
    field: str = ""  # empty where the object is gone
    live: Any = None
    wanted: Any = None

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}"
        if not self.field:
            return f"{what} is gone"
        if self.field.rpartition(".")[2] not in _SHOWN:
            return f"{what}: {self.field} differs"
        return f"{what}: {self.field} is {_short(self.live)}, the release says {_short(self.wanted)}"


class _Kinds:
    """Where objects of each kind live, as the API server says."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._known: dict[str, dict[str, Object]] = {}

    def where(self, o: Object, deadline: Deadline) -> str:
        """The path of an object; empty where the server knows no such kind."""
        version = str(o.get("apiVersion", ""))
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        if version not in self._known:
            listed = (self._api.get(root, deadline) or {}).get("resources") or []
            self._known[version] = {str(each["kind"]): each for each in listed if "/" not in each["name"]}
        kind = self._known[version].get(str(o["kind"]))
        if kind is None:
            return ""
        name = str(o["metadata"]["name"])
        if kind.get("namespaced"):
            return path(str(kind["name"]), self._namespace, name, group="" if version == "v1" else version)
        return f"{root}/{kind['name']}/{name}"


def _compare(api: Api, where: str, o: Object, deadline: Deadline) -> list[_Difference]:
    kind, name = str(o["kind"]), str(o["metadata"]["name"])
    live = api.get(where, deadline) if where else None
    if live is None:  # a Job that has ended goes by itself, when its time to live is over
        return [] if kind == "Job" else [_Difference(kind, name)]
    asked = {"fieldManager": "cdlib-drift", "dryRun": "All", "force": "true"}
    wanted = api.patch(where, _pruned(o), deadline, APPLY, **asked)
    return [_Difference(kind, name, *each) for each in _differences(_own(live), _own(wanted), "")]


def _differences(live: Any, wanted: Any, field: str) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ, the deepest that can be named."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*wanted, *live]):
            yield from _differences(live.get(key), wanted.get(key), f"{field}.{key}" if field else key)
    elif isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        for number, (one, other) in enumerate(zip(live, wanted, strict=True)):
            name = other.get("name", number) if isinstance(other, dict) else number
            yield from _differences(one, other, f"{field}[{name}]")
    elif live != wanted:
        yield field, live, wanted


def _without_scaled(api: Api, namespace: str, found: list[_Difference], deadline: Deadline) -> list[_Difference]:
    """Leave out the replicas of what an autoscaler scales; where that cannot be seen, of everything."""
    if not any(each.field == "spec.replicas" for each in found):
        return found
    where = path("horizontalpodautoscalers", namespace, group="autoscaling/v2")
    try:
        items = (api.get(where, deadline) or {}).get("items") or []
    except NotAllowed:
        return [each for each in found if each.field != "spec.replicas"]
    targets = [(item.get("spec") or {}).get("scaleTargetRef") or {} for item in items]
    scaled = {(str(t.get("kind")), str(t.get("name"))) for t in targets}
    return [each for each in found if each.field != "spec.replicas" or (each.kind, each.name) not in scaled]


def _own(o: Object) -> Object:
    """An object without its status, and without what every write changes."""
    kept = {key: value for key, value in o.items() if key != "status"}
    return {**kept, "metadata": {k: v for k, v in o["metadata"].items() if k not in _OWN}}


def _pruned(value: Any) -> Any:
    """Without nulls: templates leave them where they have nothing to say, and an apply would believe them."""
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
