"""Permits: what the authorizer signs, a SLSA verification summary, and what a deploy or a rollback checks before it
writes anything.

Pure functions: what the release record and the cluster say comes in as plain values. A refusal says which link broke
and what would mend it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cdlib.errors import Refused
from cdlib.trust.encoding import Unsound
from cdlib.trust.evidence import CLOCKS
from cdlib.trust.keys import Keyring, PrivateKey
from cdlib.trust.statement import SUMMARY, make_statement, read_statement
from cdlib.trust.summary import DEPLOY, LONGEST, ROLLBACK, Permit, Place, Terms, read_permit, write_permit

BREAK_GLASS = "break-glass"
AGAIN = "run the authorize job again: it issues a new permit"
_ALIKE = "; targets.yaml and the values files beside it must be the same on the agents that authorize and deploy"
_BOUND = {"commit": "commit", "image": "repository", "digest": "image", "chart": "chart", "values": "values",
          "policy": "policy of targets.yaml"}  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """What the release record says of the permit that was used last: nothing where there was none.

    `unfinished` is true where the run that used it has not come to an end: it was killed, and may be gone on with.
    """

    sequence: int = 0
    nonce: str = ""
    unfinished: bool = False


@dataclass(frozen=True)
class Asked(Terms):
    """What is about to be done, as a permit must say it.

    `verified` and `quarantined` are digests in the release record, by which rollbacks are judged; `revision` is which
    one a rollback goes to, for messages.
    """

    verified: frozenset[str] = field(default=frozenset(), repr=False)
    quarantined: frozenset[str] = field(default=frozenset(), repr=False)
    revision: int = 0

    @property
    def about(self) -> str:
        """For messages: what is done to what."""
        change = f", change {self.change}" if self.change else ""
        to = f"{self.place.environment} ({self.place.namespace}/{self.place.release})"
        return f"{self.action} of {self.digest[:19]} (commit {self.commit[:12]}{change}) to {to}"

    @property
    def remedy(self) -> str:
        """How to come by the permit that this needs."""
        if self.action != ROLLBACK:
            return AGAIN
        by_hand, job = "authorize-deploy --rollback", "CD_ROLLBACK"
        if self.revision:
            by_hand, job = f"{by_hand} --to {self.revision}", f"{job} and CD_TO={self.revision}"
        return f"have a permit issued by: {by_hand} (the service's authorize job with {job})"


@dataclass(frozen=True)
class Granted:
    """A permit that holds for what was asked. With `loud` it was signed by a break-glass key, which must be told
    everywhere. With `again` it was spent before, and the run that it was spent by is gone on with."""

    permit: Permit
    loud: bool
    again: bool


def permit_for(asked: Asked, spent: Spent, *, by: str, reason: str = "", lifetime: timedelta = LONGEST) -> Permit:
    """The permit that `asked` needs next, from now on for `lifetime`, with a nonce of its own. Not signed."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Permit(asked.action, asked.place, asked.commit, asked.change, asked.image, asked.digest, asked.chart,
                  asked.values, asked.policy, spent.sequence + 1, secrets.token_hex(16), now, now + lifetime, by,
                  reason)  # fmt: skip


def issue(permit: Permit, key: PrivateKey) -> bytes:
    """The signed permit. Raises ValueError where no check would take it."""
    if not timedelta(0) < permit.expires - permit.issued <= LONGEST:
        raise ValueError(f"a permit lasts {LONGEST} at most")
    return make_statement(permit.image, permit.digest, SUMMARY, write_permit(permit), key)


def check(raw: bytes, asked: Asked, spent: Spent, ring: Keyring, now: datetime | None = None) -> Granted:
    """The permit in `raw`, where it allows what is asked, once and now. Raises Refused otherwise."""
    try:
        statement = read_statement(raw, ring)
        permit = read_permit(statement)
    except Unsound as problem:
        raise Refused(
            f"no permit for the {asked.about}: what was given is none, {problem}",
            hint=f"{asked.remedy}; only keys that targets.yaml lists under keys.permit count",
        ) from problem
    loud = "permit" not in statement.purposes
    _require_same(permit, asked)
    _require_now(permit, asked, now or datetime.now(UTC))
    again = _require_unspent(permit, asked, spent)
    if loud:
        _require_reason(permit, asked)
    elif asked.action == ROLLBACK:
        require_returnable(asked)
    return Granted(permit, loud, again)


def read_for_publishing(raw: bytes, commit: str, image: str, ring: Keyring, now: datetime | None = None) -> Permit:
    """The permit in `raw`, where it is for a deploy of `commit` from the repository `image`, and lasts. Raises Refused.

    It lets that very digest be published; the deploy checks all of it, against the cluster and the release record.
    """
    moment, hint = now or datetime.now(UTC), "have one issued for this commit: authorize-deploy --break-glass"
    try:
        permit = read_permit(read_statement(raw, ring))
    except Unsound as problem:
        raise Refused(f"what was given is no permit: {problem}", hint=hint) from problem
    said = {"action": permit.action, "commit": permit.commit, "repository": permit.image}
    wanted = {"action": DEPLOY, "commit": commit, "repository": image}
    if other := [f"its {name} is {said[name]}, and not {wanted[name]}" for name in said if said[name] != wanted[name]]:
        raise Refused("the permit is not for publishing this", details=other, hint=hint)
    if not permit.issued - CLOCKS <= moment <= permit.expires + CLOCKS:
        raise Refused(f"the permit is from {permit.issued:%H:%M:%S} to {permit.expires:%H:%M:%S} UTC", hint=hint)
    return permit


def require_returnable(asked: Asked) -> None:
    """Raise Refused unless the digest was verified before, and is not quarantined."""
    known = asked.digest in asked.verified
    if known and asked.digest not in asked.quarantined:
        return
    why = "it is quarantined" if known else "it was never seen healthy there"
    raise Refused(
        f"no {asked.about}: {why}",
        hint="choose a revision that helm-rollback --list shows as verified; a break-glass permit is not held to this",
    )


def _require_same(permit: Permit, asked: Asked) -> None:
    """Everything that the permit binds is what is at hand; all differences are told at once."""
    if permit.action != asked.action:
        raise Refused(f"the permit is for a {permit.action}, and this is the {asked.about}", hint=asked.remedy)
    differing = [
        f"{name}: the permit says {said}, and this is {here}"
        for name, said, here in (
            *((name, getattr(permit.place, name), getattr(asked.place, name)) for name in Place.NAMES),
            *((name, getattr(permit, attribute), getattr(asked, attribute)) for attribute, name in _BOUND.items()),
        )
        if said != here
    ]
    if differing:
        names = ", ".join(line.partition(":")[0] for line in differing)
        operators = (permit.policy, permit.values) != (asked.policy, asked.values)
        raise Refused(
            f"the permit does not cover the {asked.about}: it is for another {names}",
            details=differing,
            hint=f"{asked.remedy}, for what is there now{_ALIKE if operators else ''}",
        )


def _require_now(permit: Permit, asked: Asked, now: datetime) -> None:
    """Within its time, as far as two clocks can agree."""
    if permit.issued > now + CLOCKS:
        ahead = (permit.issued - now).total_seconds()
        raise Refused(
            f"the permit for the {asked.about} was made in the future: its issuer's clock is {ahead:.0f} s ahead",
            hint=f"set both clocks by NTP; then {asked.remedy}",
        )
    if now > permit.expires + CLOCKS:
        late = (now - permit.expires).total_seconds()
        raise Refused(f"the permit for the {asked.about} expired {late:.0f} s ago", hint=asked.remedy)


def _require_unspent(permit: Permit, asked: Asked, spent: Spent) -> bool:
    """Whether the permit was spent before, by a run that was killed. Any other spent permit is refused.

    The next permit bears the next number exactly: one that was issued before the release changed was decided on
    what is no longer true.
    """
    if permit.sequence == spent.sequence + 1:
        return False
    if (permit.sequence, permit.nonce) == (spent.sequence, spent.nonce) and spent.unfinished:
        return True
    if permit.sequence <= spent.sequence:
        why = f"permit {permit.sequence} was used or overtaken: the release has spent number {spent.sequence}"
    else:
        why = f"permit {permit.sequence} is not the next one: the release has spent number {spent.sequence} only"
    raise Refused(f"no {asked.about}: {why}", hint=asked.remedy)


def _require_reason(permit: Permit, asked: Asked) -> None:
    if not permit.reason.strip():
        raise Refused(
            f"the break-glass permit for the {asked.about} gives no reason",
            hint="say in it why the usual way was not taken; everybody will read it",
        )


def told(granted: Granted) -> Mapping[str, str]:
    """What the record, the events and the change are told of a permit."""
    permit = granted.permit
    kind = BREAK_GLASS if granted.loud else "permit"
    return {"kind": kind, "permit": f"{permit.sequence}-{permit.nonce[:8]}", "by": permit.by, "reason": permit.reason}
