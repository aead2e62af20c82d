"""What is judged of a merged change, by what law, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdlib.review_policy import ReviewPolicy
from cdlib.trust.history import History
from cdlib.trust.identity import People
from cdlib.trust.notedb import Server
from cdlib.trust.objects import Commit, Malformed
from cdlib.trust.replay import Question
from cdlib.trust.signed import Approvals, Signing

ANSWER = "look at it, and answer for it by adding the commit to the service's review.accept in targets.yaml"


@dataclass(frozen=True)
class Problem:
    """A link that broke: which, in what way, and what would satisfy it."""

    link: str
    text: str
    remedy: str = ANSWER


@dataclass(frozen=True)
class Law:
    """What a change is judged by. With `signing` it needs an approver's signature as well."""

    policy: ReviewPolicy
    people: People
    server: Server
    signing: Signing | None = None


@dataclass(frozen=True)
class Case:
    """A change that merged as `history.merged`.

    `commits` has the patchsets that are compared, `outlines` every one up to the reviewed one, without its message;
    `trees` what replays must give, and `results` what Gerrit wrote of its submit requirements, None where it wrote
    nothing. `approvals` are those that were signed.
    """

    history: History
    commits: Mapping[str, Commit]
    outlines: Mapping[str, Commit]
    trees: Mapping[Question, str]
    results: Sequence[Mapping[str, Any]] | Malformed | None = None
    approvals: Approvals = field(default_factory=dict)


@dataclass
class Finding:
    """What a judgement found."""

    voters: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
