"""What one release looks like to people: its state, made of its record, Helm's own records and its Lease."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdlib.errors import CdError, NotAllowed, OutOfTime, Unavailable, UsageProblem
from cdlib.rollout.api import Object
from cdlib.rollout.helm_answers import HelmRevision
from cdlib.rollout.holders import living_holder
from cdlib.rollout.record import DEPLOYING, FAILED, INTERRUPTED, VERIFIED, Record, Revision
from cdlib.rollout.records import parse
from cdlib.target import Environment, Target

# States beside those of the record.
IN_PROGRESS, STUCK = "in progress", "stuck"  # by whether a living run holds the release
NOT_DEPLOYED, UNRECORDED, UNKNOWN = "not deployed", "unrecorded", "unknown"
_NEEDS_PEOPLE = (STUCK, FAILED, INTERRUPTED, UNRECORDED, UNKNOWN)


@dataclass(frozen=True)
class Spot:
    """Where a service goes, as targets.yaml says."""

    service: str
    environment: Environment


def spots(targets: Sequence[Target], environment: str) -> list[Spot]:
    """Where the services of these targets go; with `environment`, only there. Raises UsageProblem for none."""
    found = [Spot(target.service, place) for target in targets for place in target.environments.values()]
    if environment and not any(spot.environment.name == environment for spot in found):
        known = ", ".join(sorted({spot.environment.name for spot in found})) or "none"
        raise UsageProblem(f"no service goes to an environment {environment!r}", hint=f"there are: {known}")
    chosen = [spot for spot in found if environment in ("", spot.environment.name)]
    return sorted(chosen, key=lambda s: (s.environment.name, s.environment.namespace, s.environment.release))


@dataclass(frozen=True)
class Seen:
    """What the cluster has of one release. `helm` and `leases_seen` say where the credentials may not look."""

    record: Object | None = None
    helm: Sequence[HelmRevision] | None = None  # without those that are superseded; None where we may not look
    lease: Object | None = None
    leases_seen: bool = True


@dataclass
class Row:
    """One release. `drift` is None where it was not looked for; `trouble` says why a state is unknown."""

    spot: Spot
    state: str
    revision: int = 0
    entry: Revision | None = None
    helm: HelmRevision | None = None
    before: Revision | None = None
    record: Record = field(default_factory=lambda: Record("", ""))
    holder: str = ""
    progress: str = ""
    drift: list[str] | None = None
    trouble: str = ""

    @property
    def quarantined(self) -> bool:
        """Whether what is live is what an automatic rollback once came from."""
        return self.entry is not None and self.entry.digest in self.record.quarantine

    @property
    def attention(self) -> bool:
        """Whether a person should look at it."""
        return self.state in _NEEDS_PEOPLE or self.quarantined or bool(self.drift)

    def as_dict(self) -> dict[str, Any]:
        """The row for --json, and for whatever shows it."""
        place, e = self.spot.environment, self.entry
        found: dict[str, Any] = {
            "service": self.spot.service, "environment": place.name, "namespace": place.namespace,
            "release": place.release, "url": place.url, "state": self.state, "attention": self.attention,
            "revision": self.revision, "helm_status": self.helm.status if self.helm else "",
            "commit": "", "image": "", "digest": "", "verified": False, "by": "", "permit": "", "change": "",
            "run_url": "", "reason": "", "rollback_of": 0, "since": self.helm.created if self.helm else "",
        }  # fmt: skip
        if e is not None:
            found |= {"commit": e.commit, "image": e.image, "digest": e.digest, "verified": e.verified,
                      "by": e.by, "permit": e.permit, "change": e.change, "run_url": e.url, "reason": e.reason,
                      "rollback_of": e.rollback_of, "since": e.at}  # fmt: skip
        b = self.before
        before = {"revision": b.revision, "commit": b.commit, "digest": b.digest, "status": b.status} if b else None
        return {**found, "before": before, "hold": self.record.hold, "quarantined": self.quarantined,
                "quarantine": sorted(self.record.quarantine), "holder": self.holder, "progress": self.progress,
                "drift": self.drift, "trouble": self.trouble}  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """How a cluster answered; `problem` is why it did not."""

    environments: tuple[str, ...]
    server: str
    releases: int
    problem: CdError | None = None

    def as_dict(self) -> dict[str, Any]:
        """The cluster for --json."""
        return {"environments": list(self.environments), "server": self.server, "releases": self.releases,
                "answers": self.problem is None, "trouble": self.problem.message if self.problem else ""}  # fmt: skip


@dataclass(frozen=True)
class Board:
    """What is live where, at one moment (`at`, RFC 3339)."""

    at: str
    rows: tuple[Row, ...]
    clusters: tuple[Cluster, ...]

    def as_dict(self) -> dict[str, Any]:
        """The board for --json, and for whatever shows it."""
        return {"at": self.at, "releases": [row.as_dict() for row in self.rows],
                "clusters": [cluster.as_dict() for cluster in self.clusters]}  # fmt: skip

    def problem(self) -> CdError | None:
        """The error to end with where a cluster could not be seen; the worst kind decides the exit code."""
        failed = [cluster for cluster in self.clusters if cluster.problem]
        if not failed:
            return None
        kinds = (Unavailable, OutOfTime, NotAllowed, UsageProblem)
        kind = next((k for k in kinds if any(isinstance(c.problem, k) for c in failed)), CdError)
        return kind(
            f"{len(failed)} of {len(self.clusters)} clusters cannot be seen",
            details=[f"{', '.join(c.environments)}: {c.problem}" for c in failed],
            hint="; ".join(dict.fromkeys(c.problem.hint for c in failed if c.problem)),
        )


def judge(spot: Spot, seen: Seen, now: datetime) -> Row:
    """How a release stands at `now`; what cannot be read makes its own row unknown, and no other."""
    try:
        return _judge(spot, seen, now)
    except UsageProblem as problem:
        return unknown(spot, problem)
    except (TypeError, ValueError, AttributeError, LookupError) as problem:  # whoever may write it, writes anything
        said = f"the release record cannot be read: {problem or type(problem).__name__}"
        return unknown(spot, UsageProblem(said, hint=f"look at the ConfigMap cd-{spot.environment.release}"))


def unknown(spot: Spot, problem: CdError) -> Row:
    """The row of a release that cannot be seen."""
    return Row(spot, UNKNOWN, trouble=problem.message)


def _judge(spot: Spot, seen: Seen, now: datetime) -> Row:
    record = parse(seen.record) if seen.record else Record(spot.service, spot.environment.release)
    helm, number = None, record.live
    if seen.helm is not None:
        helm = seen.helm[-1] if seen.helm and seen.helm[-1].status != "uninstalled" else None
        record.forget_former({each.revision: each.uid for each in seen.helm} if helm else {})
        number = helm.revision if helm else 0
    newest = record.revisions[-1] if record.revisions else None
    if newest and newest.status == DEPLOYING:  # Helm may not have come to it yet
        number = max(number, newest.revision)
    entry, holder = record.find(number), living_holder(seen.lease, now)
    earlier = [e for e in record.revisions if e.revision < number]
    return Row(spot, _state(seen, entry, helm, holder) if number else NOT_DEPLOYED, number, entry, helm,
               earlier[-1] if earlier else None, record, holder)  # fmt: skip


def _state(seen: Seen, entry: Revision | None, helm: HelmRevision | None, holder: str) -> str:
    if entry is None and not holder:
        return UNRECORDED  # also where somebody else's Helm is at work on it, which no run of ours clears up
    if (entry and entry.status == DEPLOYING) or (helm and helm.pending):
        if not seen.leases_seen:
            return DEPLOYING
        return IN_PROGRESS if holder else STUCK
    if entry is None:
        return UNRECORDED
    if entry.status == VERIFIED and helm and helm.status == FAILED:
        return FAILED  # by somebody who used Helm beside us
    return entry.status
