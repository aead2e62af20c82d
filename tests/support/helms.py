"""A release on a stand-in for Helm, which keeps revisions as Helm does, and fails as it was seen to fail."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from clusters import OneObject

from cdlib.deadline import Deadline
from cdlib.process import Finished
from cdlib.rollout.api import Object
from cdlib.rollout.helm import Helm
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.images import Images
from cdlib.rollout.lease import Lease
from cdlib.rollout.record import Record, Revision
from cdlib.rollout.records import Records
from cdlib.rollout.release import Release
from cdlib.run import Run
from cdlib.service import Verify
from cdlib.target import Environment
from cdlib.trigger import Trigger
from cdlib.units import timestamp

# As Helm 4.3 says it of a webhook that does not answer in time.
WEBHOOK = (
    'UPGRADE FAILED: Internal error occurred: failed calling webhook "w.test": failed to call webhook: '
    'Post "https://127.0.0.1:1/": context deadline exceeded'
)
BUSY = "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"


@dataclass
class End:
    """How a call of Helm ends: with these words, its revision in this status, empty for none, or with an exception."""

    said: str = ""
    status: str = "deployed"
    raises: BaseException | None = None
    manifest: str = ""


@dataclass
class StandInHelm:
    """A Helm with these revisions. `ends` are for the calls that write, one each; what is not said ends well."""

    revisions: list[HelmRevision]
    ends: deque[End] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    manifests: dict[int, list[Object] | Exception] = field(default_factory=dict)
    away: deque[Exception] = field(default_factory=deque)  # raised in place of the next answers to `helm get`
    before: Callable[[int], None] = lambda _number: None  # called before each call that takes a number
    lease: Any = None
    of_hooks: list[Object] | Exception = field(default_factory=list)
    late: HelmRevision | None = None  # comes to be once the history was looked at after a call

    def history(self, _api: Any, _deadline: Deadline) -> list[HelmRevision]:
        found = list(self.revisions)
        if self.late and self.calls:
            self.revisions, self.late = [*self.revisions, self.late], None
        return found

    def upgrade(self, _chart: Path, _values: Sequence[Path], _deadline: Deadline, _stop: Any = None, *,
                insist: bool = False) -> Finished:  # fmt: skip
        return self._write("upgrade" + (" --force-conflicts" if insist else ""), "pending-upgrade")

    def rollback(self, revision: int, _deadline: Deadline, _stop: Any = None, *, insist: bool = False) -> Finished:
        return self._write(f"rollback {revision}" + (" --force-conflicts" if insist else ""), "pending-rollback")

    def uninstall(self, _deadline: Deadline) -> Finished:
        self.calls.append("uninstall")
        self.revisions = []
        return Finished(("helm",), 0, "", (), 0.1)

    def manifest(self, revision: int, _deadline: Deadline) -> list[Object]:
        if self.away:
            raise self.away.popleft()
        found = self.manifests.get(revision, [])
        if isinstance(found, Exception):
            raise found
        return found

    def hooks(self, _revision: int, _deadline: Deadline) -> list[Object]:
        if isinstance(self.of_hooks, Exception):
            raise self.of_hooks
        return self.of_hooks

    def _write(self, call: str, pending: str) -> Finished:
        self.calls.append(call)
        number, end = self.revisions[-1].revision + 1 if self.revisions else 1, End()
        self.before(number)
        if self.ends:
            end = self.ends.popleft()
        status = end.status if end.raises is None or end.status != "deployed" else pending
        if status:
            if status == "deployed":
                self.revisions = [replace(r, status="superseded") if r.status == "deployed" else r
                                  for r in self.revisions]  # fmt: skip
            self.revisions.append(HelmRevision(number, status, f"uid-{number}", timestamp()))
        if end.raises is not None:
            raise end.raises
        answer = json.dumps({"version": number, "manifest": end.manifest})
        return Finished(("helm",), 1 if end.said else 0, answer, (f"Error: {end.said}",) if end.said else (), 0.1)


def made(folder: Path, helm: StandInHelm, *entries: Revision, gone: Sequence[str] = (), inconclusive: str = "rollback",
         **more: Any) -> Release:  # fmt: skip
    """A release with these entries in its record; the registry has every image that is not `gone`."""
    place = Environment("test", "ns", "web", (), "", None, None, "none", 60.0, inconclusive, Verify(), False)
    run = Run("helm-deploy", Deadline(60.0), out=folder)
    api = cast(Any, OneObject())
    records = Records(api, "ns", "web", "web", run.redactor)

    def fill(record: Record) -> None:
        record.revisions, record.quarantine = list(entries), dict(more.pop("quarantine", {}))

    records.update(fill, Deadline(5.0))
    trigger = cast(Trigger, SimpleNamespace(url="", build="", who="me", change="", patchset=""))
    images = Images(lambda name, _deadline: name not in gone, run.warn)
    return Release(run, replace(place, **more), trigger, api, cast(Helm, helm), records, images)


def warnings(release: Release) -> list[str]:
    """What the run warns of and notes from now on."""
    told: list[str] = []
    release.run.events.listen(lambda e: told.append(e["text"]) if e["event"] in ("warning", "note") else None)
    return told


def a_lease() -> Lease:
    """A lease that is held."""
    held = SimpleNamespace(require=lambda: False, lost=threading.Event(), deadline=Deadline(60.0), waited=False)
    return cast(Lease, held)


def statuses(release: Release) -> list[tuple[int, str]]:
    """Revision and status of each entry of the record."""
    return [(e.revision, e.status) for e in release.records.read(Deadline(5.0)).revisions]


def helms(*statuses: str, created: str = "") -> list[HelmRevision]:
    """Helm's revisions of these statuses, from 1 on."""
    return [HelmRevision(n, status, f"uid-{n}", created or timestamp()) for n, status in enumerate(statuses, 1)]
