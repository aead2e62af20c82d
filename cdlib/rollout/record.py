"""The release record, which says what every revision was; records.py keeps it in the cluster.

Rollback targets, `unchanged`, holds and quarantine all come from here, and nothing else keeps state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# What becomes of a revision: `verified` means that it was seen healthy while it was live.
DEPLOYING, VERIFIED, FAILED, INTERRUPTED = "deploying", "verified", "failed", "interrupted"
UNJUDGED = "unjudged"  # a step in between, that nobody waited for


@dataclass
class Revision:
    """One Helm revision. `status` is one of the words above; `at` is RFC 3339."""

    revision: int
    commit: str
    image: str
    digest: str
    chart: str
    values: str
    status: str
    at: str
    by: str
    run: str
    change: str = ""
    url: str = ""
    rollback_of: int = 0
    reason: str = ""
    checks: list[dict[str, Any]] = field(default_factory=list)  # the HTTP checks that it was verified by
    workloads: list[list[str]] = field(default_factory=list)  # [kind, name] of each
    previous: str = ""  # the commit that was live before it
    helm_uid: str = ""  # of Helm's own record; empty until Helm has applied it
    templates: dict[str, str] = field(default_factory=dict)  # workload: the hash of the template that its pods had
    permit: str = ""  # the short name of the permit that it was made by
    committed: str = ""  # when the commit was made, RFC 3339
    verified_at: str = ""  # when it was seen healthy, RFC 3339

    @property
    def verified(self) -> bool:
        """Whether it was seen to be healthy while it was live."""
        return self.status == VERIFIED

    def same_as(self, other: Revision) -> bool:
        """Whether both put the same things into the cluster, for the same commit."""
        mine = (self.commit, self.image, self.digest, self.chart, self.values)
        return mine == (other.commit, other.image, other.digest, other.chart, other.values)


@dataclass
class Record:
    """All that is known of a release."""

    service: str
    release: str
    revisions: list[Revision] = field(default_factory=list)
    live: int = 0
    quarantine: dict[str, dict[str, str]] = field(default_factory=dict)
    hold: dict[str, str] | None = None
    permit_sequence: int = 0  # of the permit that was spent last
    permit_nonce: str = ""

    def find(self, revision: int) -> Revision | None:
        """The entry of a Helm revision, if it is recorded."""
        return next((entry for entry in self.revisions if entry.revision == revision), None)

    @property
    def live_revision(self) -> Revision | None:
        """What is live, as far as the record knows."""
        return self.find(self.live)

    def forget_former(self, present: dict[int, str]) -> None:
        """Leave out entries of an earlier life of the release: after an uninstall, Helm's numbers begin again.

        `present` are the revisions that Helm has, with the uid of each. A number above all of them can only be
        of an earlier life, or of a run that has not come to Helm yet.
        """
        newest = max(present, default=0)

        def former(entry: Revision) -> bool:
            if entry.revision > newest:
                return entry.status not in (DEPLOYING, INTERRUPTED)
            return bool(entry.helm_uid) and present.get(entry.revision, entry.helm_uid) != entry.helm_uid

        self.revisions = [entry for entry in self.revisions if not former(entry)]

    def presume_live(self) -> None:
        """Take what was begun last for live, as `Release.read` finds it by Helm's word: for who may not ask Helm."""
        begun = (e.revision for e in self.revisions if e.status in (DEPLOYING, INTERRUPTED, FAILED))
        self.live = max(self.live, *begun, 0)

    def put(self, entry: Revision) -> None:
        """Add an entry, or replace the one of the same Helm revision."""
        self.revisions = [*(e for e in self.revisions if e.revision != entry.revision), entry]
        self.revisions.sort(key=lambda e: e.revision)

    def drop(self, revision: int) -> None:
        """Leave out the entry of a Helm revision that came to nothing."""
        self.revisions = [entry for entry in self.revisions if entry.revision != revision]

    def rollback_targets(self, present: set[int]) -> Iterator[Revision]:
        """Where a person goes back to, the first choice first: as `good`, and other than what is live."""
        live = self.live_revision
        for entry in self.good(present):
            # Back means older than what is live came from: after a rollback, the next one never goes forward.
            if live is not None and (entry.revision >= (live.rollback_of or live.revision) or entry.same_as(live)):
                continue
            yield entry

    def good(self, present: set[int]) -> Iterator[Revision]:
        """Where a failed rollout goes back to: what was verified and is not quarantined, the newest first.

        `present` are the revisions that Helm still has.
        """
        for entry in reversed(self.revisions):
            if entry.verified and entry.digest not in self.quarantine and entry.revision in present:
                yield entry
