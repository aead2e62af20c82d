"""What authorize-deploy, helm-deploy and helm-rollback share: permits, and the audit record of what became of them.

Here the library's parts meet that know nothing of each other: rollouts, registries, and trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdlib.given import given_bytes
from cdlib.promotion.auditing import note
from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.deadline import Deadline
    from cdlib.reference import Reference
    from cdlib.registry.repository import Repository
    from cdlib.rollout.permit import Use
    from cdlib.rollout.planning import Plan
    from cdlib.rollout.record import Record, Revision
    from cdlib.rollout.release import Release
    from cdlib.run import Run
    from cdlib.target import Environment, Target
    from cdlib.trust.keys import Keyring
    from cdlib.trust.permit import Asked, Granted, Spent
    from cdlib.trust.summary import Place

LARGEST = 512 * 1024  # bytes of a permit's file


@dataclass
class Permits:
    """The permits of one release. `file` is one that was given; `used` the one that was spent.

    `limit` is by when it has to be known what is permitted; until a guard is given one, the run's own.
    """

    release: Release
    target: Target
    audit: Path | None = None
    file: Path | None = None
    used: Use | None = None
    limit: Deadline | None = None

    @property
    def run(self) -> Run:
        """The run that this is for."""
        return self.release.run

    @property
    def deadline(self) -> Deadline:
        """By when servers have to have answered."""
        return self.limit or self.run.deadline

    @property
    def place(self) -> Environment:
        """The environment that the release is in."""
        return self.release.environment

    @property
    def asked_for(self) -> bool:
        """Whether anything is to be permitted at all."""
        return self.place.policy != "none"

    @cached_property
    def ring(self) -> Keyring:
        """The keys that count."""
        from cdlib.trust.keys import read_keyring

        return read_keyring(self.target.keys)

    def envelopes(self, digest: str, image: Reference | None = None) -> list[bytes]:
        """What lies beside the digest, in the repository of `image` or the service's own."""
        from cdlib.trust.attached import fetch

        return fetch(self._repository(image or self.target.image, self.deadline), digest, self.ring)

    def authorized(self, digest: str, image: Reference) -> frozenset[str]:
        """The commits whose deploy here as `digest` the authorizer has permitted, by what lies beside it."""
        from cdlib.trust.lookup import authorized

        return authorized(self.envelopes(digest, image), self.here, image.repository, self.ring)

    @cached_property
    def here(self) -> Place:
        """Where the release is, as permits name it."""
        from cdlib.rollout.permit import name_of_cluster
        from cdlib.trust.summary import Place

        place = self.place
        cluster = name_of_cluster(self.release.api, place.namespace, self.deadline)
        return Place(place.name, cluster, place.namespace, place.release)

    def asked(self, action: str, record: Record, *, commit: str, digest: str, chart: str, values: str,
              change: str = "") -> Asked:  # fmt: skip
        """What a permit for `action` has to say, here and now."""
        from cdlib.trust.permit import Asked
        from cdlib.trust.policy import policy_digest

        return Asked(
            action,
            self.here,
            commit,
            change,
            self.target.image.repository,
            digest,
            chart,
            values,
            policy_digest(self.target, self.place.name, self.ring),
            verified=frozenset(entry.digest for entry in record.revisions if entry.verified),
            quarantined=frozenset(record.quarantine),
        )

    def guard_deploy(self, plan: Plan, record: Record, deadline: Deadline) -> Use | None:
        """The permit for the plan. Raises Refused where none holds, or the image is not proved any more."""
        if not self.asked_for:
            return None
        self.limit = deadline
        from cdlib.trust.evidence import Wanted, prove
        from cdlib.trust.summary import DEPLOY

        wish, chart = plan.wish, plan.chart
        asked = self.asked(DEPLOY, record, commit=wish.source.commit, digest=wish.image.digest, chart=chart.digest,
                           values=chart.values_digest, change=self.release.trigger.change)  # fmt: skip
        with self.run.stage("permit", asked.about):
            granted, envelopes = self._granted(asked, record, proofs=True)
            if not granted.loud:
                prove(envelopes, Wanted.of(wish.source, wish.service, asked.digest, change=asked.change), self.ring)
        return self._use(granted)

    def guard_rollback(self, to: Revision, record: Record, deadline: Deadline) -> Use | None:
        """The permit for going back to a revision. Raises Refused where none holds."""
        if not self.asked_for:
            return None
        self.limit = deadline
        asked = self.asked_back(to, record)
        with self.run.stage("permit", asked.about):
            granted, _ = self._granted(asked, record)
        return self._use(granted)

    def _granted(self, asked: Asked, record: Record, *, proofs: bool = False) -> tuple[Granted, list[bytes]]:
        """The permit that holds for what is asked, and what it was found among. Raises Refused.

        A permit that was handed over is there for when the registry is not, or what lies beside the image is spoilt.
        With `proofs` an ordinary one is nothing without it: an image that cannot be proved is never a pass.
        """
        from cdlib.errors import CdError
        from cdlib.trust.lookup import find

        given = [read_given(self.file)] if self.file else []
        try:
            envelopes = [*given, *self.envelopes(asked.digest)]
        except CdError as problem:
            if not given:
                raise
            granted = find(given, asked, spent(record), self.ring)
            if proofs and not granted.loud:
                raise
            self.run.warn(f"only the permit that was given is looked at: {problem.message}")
            return granted, given
        return find(envelopes, asked, spent(record), self.ring), envelopes

    def asked_back(self, to: Revision, record: Record) -> Asked:
        """What a permit for going back to a revision has to say."""
        from cdlib.trust.summary import ROLLBACK

        asked = self.asked(ROLLBACK, record, commit=to.commit, digest=to.digest, chart=to.chart, values=to.values,
                           change=to.change)  # fmt: skip
        return replace(asked, revision=to.revision)

    def _use(self, granted: Granted) -> Use:
        """The permit as the rollout knows it; in the audit record before it is spent."""
        from cdlib.rollout.permit import Use
        from cdlib.trust.permit import told

        permit, said = granted.permit, told(granted)
        self.used = Use(permit.sequence, permit.nonce, said["kind"], permit.by, permit.reason, granted.again,
                        self._aliases)  # fmt: skip
        self.note("spent", digest=permit.digest, commit=permit.commit, action=permit.action, **said)
        return self.used

    def _aliases(self, image: Reference, deadline: Deadline) -> frozenset[str]:
        """Other digests by which a node may know the image: of its platforms, and of configurations."""
        repository = self._repository(image, deadline)
        whole = repository.manifest(image.digest)
        children = whole.children if whole and whole.is_index else ()
        manifests = [whole, *(repository.manifest(child) for child in children)]
        configs = [manifest.config.digest for manifest in manifests if manifest and not manifest.is_index]
        return frozenset([*children, *configs])

    def _repository(self, image: Reference, deadline: Deadline) -> Repository:
        from cdlib.registry.repository import Registries

        return Registries(replace(self.run, deadline=deadline), self.target.plain_http).repository(image)

    @contextmanager
    def audited(self) -> Iterator[None]:
        """Refusals and rollbacks in the block are added to the audit record; errors say which permit was spent."""
        from cdlib.errors import CdError, NeedsPerson, Refused, RolledBack
        from cdlib.rollout.permit import BREAK_GLASS

        if self.asked_for and self.audit is None:
            self.run.warn("nothing of this is added to an audit record: name one by --audit (CD_AUDIT)")
        try:
            yield
        except CdError as problem:
            if self.used and self.used.kind == BREAK_GLASS:
                problem.made = {"permit": self.used.told(), **problem.made}
            if isinstance(problem, Refused | RolledBack | NeedsPerson):
                self.note_afterwards(problem.outcome, message=problem.message, details=list(problem.details[:20]))
            raise

    def note_afterwards(self, event: str, **facts: Any) -> None:
        """As `note`, of what has happened: that stays what it is, whatever becomes of the record."""
        from cdlib.errors import CdError

        try:
            self.note(event, **facts)
        except CdError as trouble:
            self.run.warn(f"this is not in the audit record: {trouble.message}")

    def note(self, event: str, **facts: Any) -> None:
        """Add to the audit record, where there is one. Raises what stands in the way."""
        note(self.release, self.audit, event, **facts)

    def shown(self) -> Result:
        """The permit that was spent, for the result."""
        return {"permit": self.used.told()} if self.used else {}


def spent(record: Record) -> Spent:
    """What the release record says of the permit that was used last."""
    from cdlib.rollout.permit import unfinished
    from cdlib.trust.permit import Spent

    if not record.permit_sequence:
        return Spent()
    return Spent(record.permit_sequence, record.permit_nonce, unfinished(record))


def read_given(file: Path) -> bytes:
    """What is in the file of a permit that was handed over. Raises UsageProblem."""
    return given_bytes(file, "the permit", hint="check --permit", most=LARGEST).rstrip(b"\n")
