"""Every revision of many releases, as their records and the archives of those have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.board import Spot
from cdlib.rollout.dora import figures
from cdlib.rollout.record import Revision
from cdlib.rollout.records import ARCHIVE, EVERYTHING, RELEASE, parse, parse_archive
from cdlib.run import Run

PATIENCE = 15.0  # seconds for one cluster, which must not keep the others from being shown


@dataclass(frozen=True)
class History:
    """What is known of one release, in no order; `problem` says why it cannot be read."""

    spot: Spot
    revisions: Sequence[Revision] = ()
    problem: CdError | None = None

    def dora(self, now: datetime, days: float) -> dict[str, Any]:
        """The DORA figures of the last `days` days before `now`, for --json."""
        place = self.spot.environment
        return {"service": self.spot.service, "environment": place.name, "namespace": place.namespace,
                "release": place.release, **figures(self.revisions, now, days).as_dict(),
                "trouble": self.problem.message if self.problem else ""}  # fmt: skip


def histories(run: Run, wanted: Sequence[Spot], deadline: Deadline) -> list[History]:
    """The histories of these releases, in their order, by one list a namespace. A cluster that is away is a problem."""
    by_cluster = defaultdict[tuple[Path | None, str | None], list[Spot]](list)
    for spot in wanted:
        by_cluster[(spot.environment.kubeconfig, spot.environment.context)].append(spot)
    found = {id(each.spot): each for spots in by_cluster.values() for each in _of_cluster(run, spots, deadline)}
    return [found[id(spot)] for spot in wanted]


def _of_cluster(run: Run, wanted: Sequence[Spot], deadline: Deadline) -> list[History]:
    place = wanted[0].environment
    try:
        with closing(Api(place.kubeconfig, place.context, run.redactor.hide)) as api:
            share = deadline.part(PATIENCE, "a cluster's answer")
            listed = {name: _listed(api, name, share) for name in {spot.environment.namespace for spot in wanted}}
    except CdError as problem:
        return [History(spot, problem=problem) for spot in wanted]
    return [_history(spot, listed[spot.environment.namespace]) for spot in wanted]


def _listed(api: Api, namespace: str, deadline: Deadline) -> list[Object] | CdError:
    """The records and archives in a namespace, or why they cannot be had."""
    try:
        answer = api.get(path("configmaps", namespace), deadline, labelSelector=EVERYTHING)
    except CdError as problem:
        return problem
    return list((answer or {}).get("items") or [])


def _history(spot: Spot, listed: list[Object] | CdError) -> History:
    if isinstance(listed, CdError):
        return History(spot, problem=listed)
    mine = [found for found in listed if _labels(found).get(RELEASE) == spot.environment.release]
    try:
        return History(spot, [entry for found in mine for entry in _revisions(found)])
    except CdError as problem:
        return History(spot, problem=problem)


def _revisions(found: Object) -> Sequence[Revision]:
    return parse_archive(found) if ARCHIVE in _labels(found) else parse(found).revisions


def _labels(found: Object) -> dict[str, str]:
    return found["metadata"].get("labels") or {}
