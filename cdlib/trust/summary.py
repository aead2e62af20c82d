"""A permit as a SLSA verification summary (VSA v1), written and read to the letter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from cdlib.reference import DIGEST
from cdlib.trust.encoding import LARGEST_INTEGER, Unsound, read_time, require_fields, text_of
from cdlib.trust.statement import SUMMARY, Statement
from cdlib.units import timestamp

PERMIT = "https://cdlib.org/permit/v1"  # our own field in a summary
POLICY = "https://cdlib.org/targets/v1"
LONGEST = timedelta(minutes=15)
LONGEST_TEXT = 1000  # characters of any text in a permit
DEPLOY, ROLLBACK = "deploy", "rollback"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_NONCE = re.compile(r"[0-9a-f]{32}\Z")
_TEXTS = ("action", "environment", "cluster", "namespace", "release", "commit", "change", "image", "chart", "values",
          "nonce", "expires", "reason")  # fmt: skip
_SUMMARY = ("verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels", PERMIT)


@dataclass(frozen=True)
class Place:
    """Where a release is: `cluster` is a name that no other cluster bears, such as its kube-system's uid."""

    NAMES: ClassVar = ("environment", "cluster", "namespace", "release")
    environment: str
    cluster: str
    namespace: str
    release: str


@dataclass(frozen=True)
class Terms:
    """One deploy or rollback: all that a permit binds. `image` is a repository; digests are `sha256:…`."""

    action: str
    place: Place
    commit: str
    change: str
    image: str
    digest: str
    chart: str
    values: str
    policy: str


@dataclass(frozen=True)
class Permit(Terms):
    """A deploy or rollback that may be done, once, until it expires; `by` is the issuer."""

    sequence: int
    nonce: str
    issued: datetime
    expires: datetime
    by: str
    reason: str = ""


def write_permit(permit: Permit) -> dict[str, Any]:
    """The summary's predicate."""
    bound = {
        **{name: getattr(permit.place, name) for name in Place.NAMES},
        "action": permit.action,
        "commit": permit.commit,
        "change": permit.change,
        "image": permit.image,
        "chart": permit.chart,
        "values": permit.values,
        "sequence": permit.sequence,
        "nonce": permit.nonce,
        "expires": timestamp(permit.expires),
        "reason": permit.reason,
    }
    return {
        "verifier": {"id": permit.by},
        "timeVerified": timestamp(permit.issued),
        "resourceUri": f"oci://{permit.image}@{permit.digest}",
        "policy": {"uri": POLICY, "digest": {"sha256": permit.policy.removeprefix("sha256:")}},
        "verificationResult": "PASSED",
        "verifiedLevels": [_level(permit.action)],
        PERMIT: bound,
    }


def read_permit(statement: Statement) -> Permit:
    """The permit in a statement. Raises Unsound unless all of it is there, nothing else, and nothing contradicts."""
    if statement.predicate_type != SUMMARY:
        raise Unsound(f"it is a {statement.predicate_type}, and no permit")
    said = require_fields(statement.predicate, _SUMMARY)
    bound = require_fields(said[PERMIT], (*_TEXTS, "sequence"))
    texts = {name: text_of(bound, name, longest=LONGEST_TEXT) for name in _TEXTS}
    place = Place(*(texts[name] for name in Place.NAMES))
    if len(statement.digests) != 1:
        raise Unsound("it is about several images")
    policy = require_fields(said["policy"], ("uri", "digest"))
    permit = Permit(
        action=texts["action"],
        place=place,
        digest=statement.digests[0],
        policy=f"sha256:{require_fields(policy['digest'], ('sha256',))['sha256']}",
        sequence=bound["sequence"],
        issued=read_time(said["timeVerified"]),
        expires=read_time(texts["expires"]),
        by=text_of(require_fields(said["verifier"], ("id",)), "id", longest=LONGEST_TEXT),
        **{name: texts[name] for name in ("commit", "change", "image", "chart", "values", "nonce", "reason")},
    )
    _require_sound(permit)
    if {**said, PERMIT: None} != {**write_permit(permit), PERMIT: None}:
        raise Unsound("it contradicts itself, or did not pass")
    return permit


def _require_sound(permit: Permit) -> None:
    """Raise Unsound where a field is none of its kind: an empty one would match what is empty elsewhere."""
    digests = (permit.digest, permit.chart, permit.values, permit.policy)
    number = type(permit.sequence) is int and 0 < permit.sequence <= LARGEST_INTEGER
    named = all(getattr(permit.place, name) for name in Place.NAMES) and permit.image and permit.by
    if permit.action not in (DEPLOY, ROLLBACK):
        raise Unsound(f"it is for {permit.action!r:.40}, which is no action")
    if not (number and named and _NONCE.match(permit.nonce) and _COMMIT.match(permit.commit)):
        raise Unsound("it lacks a sequence, a nonce, a commit, or a name")
    if not all(DIGEST.match(digest) for digest in digests):
        raise Unsound("it has no digests")
    if not timedelta(0) < permit.expires - permit.issued <= LONGEST:
        raise Unsound(f"it lasts {permit.expires - permit.issued}, and {LONGEST} is the most")


def _level(action: str) -> str:
    return f"CD_{action.upper()}"
