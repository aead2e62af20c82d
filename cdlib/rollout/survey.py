"""All releases of targets.yaml at once: three lists a cluster, clusters side by side.

Where the credentials may not list a whole cluster, the same lists are asked of each namespace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable
from cdlib.rollout.api import METADATA_ONLY, Api, Object, path
from cdlib.rollout.board import IN_PROGRESS, STUCK, UNKNOWN, Board, Cluster, Row, Seen, Spot, judge, unknown
from cdlib.rollout.drift import find_drift
from cdlib.rollout.helm import Helm
from cdlib.rollout.helm_answers import HelmRevision, revisions
from cdlib.rollout.holders import GROUP, living_holder
from cdlib.rollout.images import Images
from cdlib.rollout.record import DEPLOYING
from cdlib.rollout.records import SELECTOR, Records, name_of
from cdlib.rollout.release import Release
from cdlib.rollout.workloads import look
from cdlib.run import Run
from cdlib.sidebyside import side_by_side
from cdlib.target import Environment
from cdlib.trigger import read_trigger
from cdlib.units import timestamp

PATIENCE = 5.0  # seconds for one cluster, which must not make all others wait
_AT_ONCE = 8  # requests to one cluster
_HELM = "owner=helm,name,version,status!=superseded"  # the newest revision of a release is never superseded
_NO_NODES = "metadata.namespace!=kube-node-lease"  # each node has a Lease there
_PATHS = {"configmaps": "", "secrets": "", "leases": GROUP}

Objects = Mapping[tuple[str, str], Object]  # by namespace and name


class Survey:
    """Looks at many releases again and again, as a context manager that keeps the connections."""

    def __init__(self, run: Run, wanted: Sequence[Spot], *, drift: bool = False) -> None:
        by_cluster = defaultdict[tuple[Path | None, str | None], list[Spot]](list)
        for spot in wanted:
            by_cluster[(spot.environment.kubeconfig, spot.environment.context)].append(spot)
        self._order = {id(spot): number for number, spot in enumerate(wanted)}
        self._clusters = [_Looker(run, found, drift) for found in by_cluster.values()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None) -> None:
        for cluster in self._clusters:
            cluster.close()

    def look(self, deadline: Deadline) -> Board:
        """How everything stands now. Raises nothing for a cluster that does not answer: the board says so."""
        found = side_by_side(lambda cluster: cluster.look(deadline), self._clusters, len(self._clusters))
        rows = sorted((row for rows, _ in found for row in rows), key=lambda row: self._order[id(row.spot)])
        return Board(timestamp(), tuple(rows), tuple(cluster for _, cluster in found))


class _Looker:
    """One cluster, and what is wanted of it."""

    def __init__(self, run: Run, wanted: Sequence[Spot], drift: bool) -> None:
        self._run, self._wanted, self._drift = run, wanted, drift
        self._environments = tuple(dict.fromkeys(spot.environment.name for spot in wanted))
        self._namespaces = sorted({spot.environment.namespace for spot in wanted})
        self._whole = len(self._namespaces) > 1  # until the cluster says that we may not
        self._api: Api | None = None

    def close(self) -> None:
        if self._api is not None:
            self._api.close()

    def look(self, deadline: Deadline) -> tuple[list[Row], Cluster]:
        """The rows of this cluster's releases, and how it answered."""
        try:
            api = self._open()
            rows = self._judged(api, deadline.part(PATIENCE, "a cluster's answer"))
            side_by_side(lambda row: self._look_closer(api, row, deadline), rows, _AT_ONCE)
        except CdError as problem:
            said = self._slow() if isinstance(problem, OutOfTime) and not deadline.over else problem
            return [unknown(spot, said) for spot in self._wanted], self._cluster(said)
        return rows, self._cluster(None)

    def _slow(self) -> Unavailable:
        server = self._api.server if self._api else "the cluster"
        return Unavailable(f"{server} does not answer within {PATIENCE:g} s", hint="see that the cluster runs")

    def _cluster(self, problem: CdError | None) -> Cluster:
        return Cluster(self._environments, self._api.server if self._api else "", len(self._wanted), problem)

    def _open(self) -> Api:
        if self._api is None:
            place = self._wanted[0].environment
            self._api = Api(place.kubeconfig, place.context, self._run.redactor.hide)
        return self._api

    def _judged(self, api: Api, deadline: Deadline) -> list[Row]:
        """All rows, from three lists. What is listed first is older: a run may begin or end in between.

        So a record is never older than what Helm has; and nobody is called dead who holds a lease before or after.
        """
        leases = self._leases(api, deadline)
        helm = self._helm(api, deadline)
        records = {_key(o): o for o in self._list(api, "configmaps", deadline, labelSelector=SELECTOR)}

        def judged() -> list[Row]:
            now = datetime.now(UTC)
            return [judge(spot, _seen(spot.environment, records, helm, leases), now) for spot in self._wanted]

        rows = judged()
        if any(row.state == STUCK for row in rows):
            again, now = self._leases(api, deadline) or {}, datetime.now(UTC)
            leases = {**again, **{key: o for key, o in (leases or {}).items() if living_holder(o, now)}}
            rows = judged()
        return rows

    def _leases(self, api: Api, deadline: Deadline) -> Objects | None:
        found = self._list_if_allowed(api, "leases", deadline, fieldSelector=_NO_NODES)
        return None if found is None else {_key(o): o for o in found}

    def _helm(self, api: Api, deadline: Deadline) -> Mapping[tuple[str, str], list[HelmRevision]] | None:
        """Helm's revisions by namespace and release, without those that are superseded."""
        secrets = self._list_if_allowed(api, "secrets", deadline, accept=METADATA_ONLY, labelSelector=_HELM)
        if secrets is None:
            return None
        stored = defaultdict[tuple[str, str], list[Object]](list)
        for meta in (o["metadata"] for o in secrets):
            if str(meta["labels"]["version"]).isdecimal():
                stored[meta["namespace"], meta["labels"]["name"]].append({"metadata": meta})
        return {key: revisions(found) for key, found in stored.items()}

    def _list_if_allowed(self, api: Api, kind: str, deadline: Deadline, **params: str) -> list[Object] | None:
        try:
            return self._list(api, kind, deadline, **params)
        except NotAllowed:  # the record alone says what is live, and nobody knows whether a run holds it
            return None

    def _list(self, api: Api, kind: str, deadline: Deadline, **params: str) -> list[Object]:
        group = _PATHS[kind]
        if self._whole:
            with suppress(NotAllowed):
                root = f"/apis/{group}" if group else "/api/v1"
                return _items(api.get(f"{root}/{kind}", deadline, **params))
            self._whole = False
        listed = side_by_side(
            lambda namespace: _items(api.get(path(kind, namespace, group=group), deadline, **params)),
            self._namespaces, _AT_ONCE,
        )  # fmt: skip
        return [o for items in listed for o in items]

    def _look_closer(self, api: Api, row: Row, deadline: Deadline) -> None:
        """How far a rollout is, and what has been changed beside the release, where that is asked for."""
        place = row.spot.environment
        if row.state == IN_PROGRESS and row.entry and row.entry.workloads:
            workloads = tuple((kind, name) for kind, name in row.entry.workloads)
            with suppress(CdError, LookupError):
                row.progress = look(api, place.namespace, workloads, deadline.part(PATIENCE, "a look at pods")).summary
        elif self._drift and row.helm and row.state not in (IN_PROGRESS, STUCK, DEPLOYING, UNKNOWN):
            try:
                row.drift = find_drift(self._release(api, row.spot), row.revision, deadline)
            except CdError as problem:
                row.trouble = f"drift cannot be seen: {problem.message}"

    def _release(self, api: Api, spot: Spot) -> Release:
        run, place = self._run, spot.environment
        records = Records(api, place.namespace, spot.service, place.release, run.redactor)
        images = Images(lambda _image, _deadline: True, run.warn)
        return Release(run, place, read_trigger(), api, Helm(run, place), records, images)


def _seen(place: Environment, records: Objects, helm: Mapping[tuple[str, str], list[HelmRevision]] | None,
          leases: Objects | None) -> Seen:  # fmt: skip
    name = (place.namespace, name_of(place.release))
    known = None if helm is None else helm.get((place.namespace, place.release), [])
    return Seen(records.get(name), known, (leases or {}).get(name), leases is not None)


def _items(listed: Object | None) -> list[Object]:
    return list((listed or {}).get("items") or [])


def _key(o: Object) -> tuple[str, str]:
    return str(o["metadata"]["namespace"]), str(o["metadata"]["name"])
