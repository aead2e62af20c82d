"""Permits among what lies beside an image: the one that allows what is asked, and what others have allowed before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from cdlib.errors import Refused
from cdlib.trust.encoding import Unsound
from cdlib.trust.keys import Keyring
from cdlib.trust.permit import Asked, Granted, Spent, check
from cdlib.trust.statement import SUMMARY, read_statement
from cdlib.trust.summary import DEPLOY, Permit, Place, read_permit


def find(envelopes: Iterable[bytes], asked: Asked, spent: Spent, ring: Keyring, now: datetime | None = None) -> Granted:
    """The permit among the envelopes beside an image that allows what is asked. Raises Refused where none does.

    What is no permit is passed over, for anybody who may push can put it there. Of those for this place the newest is
    tried first, and says why where none will do; a break-glass permit is used only where there is no other.
    """
    permits = [(loud, permit, raw) for raw in envelopes for loud, permit in _permits(raw, ring)]
    permits.sort(key=lambda each: (_is_here(each[1], asked), not each[0], each[1].issued), reverse=True)
    refusals: list[Refused] = []
    for _, _, raw in permits:
        try:
            return check(raw, asked, spent, ring, now)
        except Refused as problem:
            refusals.append(problem)
    if refusals:
        raise refusals[0]
    raise Refused(
        f"there is no permit for the {asked.about}",
        hint=f"{asked.remedy}; only keys that targets.yaml lists under keys.permit count",
    )


def authorized(envelopes: Iterable[bytes], place: Place, image: str, ring: Keyring) -> frozenset[str]:
    """The commits for which the authorizer has permitted deploys of `image` there, whenever that was.

    With each, all before it were authorized: a permit is issued only once every commit that it brings was judged. The
    cluster may be another by now. Break-glass permits prove nothing of the kind, nor do rollbacks.
    """
    same = replace(place, cluster="")
    return frozenset(
        permit.commit
        for raw in envelopes
        for loud, permit in _permits(raw, ring)
        if not loud and permit.action == DEPLOY and permit.image == image and replace(permit.place, cluster="") == same
    )


def _permits(raw: bytes, ring: Keyring) -> Iterator[tuple[bool, Permit]]:
    """The permit in an envelope, and whether it is a break-glass one; nothing where there is none that counts."""
    with suppress(Unsound):
        statement = read_statement(raw, ring)
        if statement.predicate_type == SUMMARY:
            yield "permit" not in statement.purposes, read_permit(statement)


def _is_here(permit: Permit, asked: Asked) -> bool:
    return permit.place == asked.place and permit.action == asked.action
