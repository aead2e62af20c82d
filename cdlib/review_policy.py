"""What targets.yaml says of reviews: where Gerrit is, who is who there, and whose votes a deploy needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdlib.errors import UsageProblem

DEFAULT_MIRRORS = "/var/lib/cd/mirrors"


@dataclass(frozen=True)
class Gerrit:
    """The Gerrit whose records are believed. `accounts` are exported tables, `mirrors` the folder for mirrors.

    `allowed_signers` says whose signatures count, where any are asked for.
    """

    url: str
    server_id: str
    mail: str
    accounts: tuple[Path, ...]
    same_person: tuple[tuple[str, ...], ...]
    mirrors: Path
    allowed_signers: Path | None = None


@dataclass(frozen=True)
class ReviewPolicy:
    """What the commits of a service must prove.

    `approvals` and `verifications` are labels with the value that each needs, by somebody of `approvers` and of
    `verifiers`. Commits up to `since`, and those in `accept`, are answered for by the operators.
    """

    branch: str = "master"
    merged_from: tuple[str, ...] = ()
    approvals: Mapping[str, int] = field(default_factory=lambda: {"Code-Review": 2})
    approvers: frozenset[str] = frozenset()
    verifications: Mapping[str, int] = field(default_factory=lambda: {"Verified": 2})
    verifiers: frozenset[str] = frozenset()
    since: str = ""
    accept: frozenset[str] = frozenset()

    @property
    def votes(self) -> dict[str, int]:
        """Every label that is asked for, with the value that it needs."""
        return {**self.approvals, **self.verifications}

    def voters(self, label: str) -> frozenset[str]:
        """Whose votes on a label count: the usernames on the list of each kind that it belongs to."""
        if label in self.approvals and label in self.verifications:
            return self.approvers & self.verifiers
        return self.approvers if label in self.approvals else self.verifiers


def parse_gerrit(entry: Mapping[str, Any] | None, folder: Path) -> Gerrit | None:
    """The `gerrit` of targets.yaml, which lies in `folder`; None where it has none."""
    if entry is None:
        return None
    if ":" in entry["url"].partition("://")[2].rpartition("@")[0]:
        raise UsageProblem("gerrit.url in targets.yaml has a password", hint="let git's credential helper have it")
    return Gerrit(
        url=entry["url"].rstrip("/"),
        server_id=entry["server_id"],
        mail=entry["mail"],
        accounts=tuple(folder / os.path.expanduser(path) for path in entry["accounts"]),
        same_person=tuple(tuple(names) for names in entry.get("same_person", ())),
        mirrors=folder / os.path.expanduser(entry.get("mirrors", DEFAULT_MIRRORS)),
        allowed_signers=folder / os.path.expanduser(entry["allowed_signers"]) if "allowed_signers" in entry else None,
    )


def parse_review(entry: Mapping[str, Any] | None) -> ReviewPolicy | None:
    """A service's `review`; None where it has none."""
    if entry is None:
        return None
    default = ReviewPolicy()
    return ReviewPolicy(
        branch=entry.get("branch", default.branch),
        merged_from=tuple(entry.get("merged_from", ())),
        approvals=entry.get("approvals", default.approvals),
        approvers=frozenset(entry["approvers"]),
        verifications=entry.get("verifications", default.verifications),
        verifiers=frozenset(entry.get("verifiers", ())),
        since=entry.get("since", ""),
        accept=frozenset(entry.get("accept", ())),
    )
