"""What a command's cd-result.json says, as far as a comment needs it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cdlib.documents import schema_mistakes
from cdlib.errors import UsageProblem
from cdlib.given import given_text

CHECKS = ("build-image", "run-tests")
ROLLBACK = "helm-rollback"
DEPLOYS = ("helm-deploy", ROLLBACK)
JENKINS_RUN = "jenkins-run"
KILLED = "killed"  # the outcome of a step that left no result; the Jenkins job writes it
# What a deploy job does before it deploys. That it went well is nothing to tell: what comes next will.
STEPS = ("cd-checkout", "publish-tag", "authorize-deploy", JENKINS_RUN)
_LARGEST = 4 * 2**20  # bytes
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")


@dataclass(frozen=True)
class Report:
    """How a run ended. `seconds` is its duration, and `ended` when its result was written, in seconds since 1970.

    What it does not say is empty, or 0.
    """

    command: str
    outcome: str
    exit_code: int
    seconds: float
    service: str = ""
    environment: str = ""
    release: str = ""
    revision: int = 0
    commit: str = ""
    previous: str = ""
    failed_commit: str = ""
    rolled_back_to: int = 0
    held: bool = False  # by the rollback that this run did, or found done
    held_for: str = ""  # the reason
    image: str = ""
    digest: str = ""
    broken_glass: str = ""  # why the authorizer was passed by, and by whom
    tests: Mapping[str, int] | None = None
    cause: str = ""
    message: str = ""
    hint: str = ""
    details: tuple[str, ...] = ()
    ended: float = 0.0

    @property
    def is_check(self) -> bool:
        """Whether it is of a change that waits for its vote, not of one that is deployed."""
        return self.command in CHECKS

    @property
    def good(self) -> bool:
        """Whether all went well."""
        return self.exit_code == 0

    @property
    def worth_telling(self) -> bool:
        """Whether anybody waits to hear of it."""
        if self.outcome == "planned" or (self.is_check and self.outcome == "interrupted"):
            return False  # what was only tried, or was ended because a newer patchset is there
        if self.command == ROLLBACK and self.good and not self.held:
            return False  # `unchanged`, and not by a rollback of ours: nothing went back
        return not self.good or self.command not in STEPS


def read_report(path: Path, environment: str = "") -> Report:
    """The report in `path`, of `environment` where it does not say.

    Raises UsageProblem where it is none, or of a command that concerns no change.
    """
    text = given_text(path, "result file", hint="check --result", most=_LARGEST)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageProblem(f"result file {path} is no JSON", hint="check --result") from problem
    mistakes = schema_mistakes(document, "result")
    if mistakes:
        raise UsageProblem(f"{path} is no result of a command", details=mistakes[:5], hint="check --result")
    if document["command"] not in (*CHECKS, *DEPLOYS, *STEPS):
        known = ", ".join((*CHECKS, *DEPLOYS, *STEPS))
        raise UsageProblem(f"{path} is of {document['command'][:50]!r}", hint=f"changes are told of: {known}")
    return replace(
        _report({**document, "environment": document.get("environment") or environment}), ended=path.stat().st_mtime
    )


def commit_of(value: object) -> str:
    """`value` where it is a whole commit id, else nothing: it becomes an argument of git."""
    return value if isinstance(value, str) and _COMMIT.match(value) else ""


def _report(document: Mapping[str, Any]) -> Report:
    error, hold = document.get("error") or {}, document.get("hold") or {}
    permit = document.get("permit") or {}

    def text(key: str) -> str:
        value = document.get(key, "")
        return value if isinstance(value, str) else ""

    def number(key: str) -> int:
        value = document.get(key, 0)
        return value if isinstance(value, int) else 0

    return Report(
        command=document["command"],
        outcome=document["outcome"],
        exit_code=document["exit_code"],
        seconds=document["duration_s"],
        service=text("service"),
        environment=text("environment"),
        release=text("release"),
        image=text("image"),
        digest=text("digest"),
        cause=text("cause"),
        commit=commit_of(document.get("commit")),
        previous=commit_of(document.get("previous")),
        failed_commit=commit_of(document.get("failed_commit")),
        revision=number("revision"),
        rolled_back_to=number("rolled_back_to"),
        held=bool(hold.get("to")) and str(hold["to"]) == str(document.get("rolled_back_to")),
        held_for=str(hold.get("reason", "")),
        broken_glass=f"{permit.get('reason', '')} ({permit.get('by', '')})"
        if permit.get("kind") == "break-glass"
        else "",
        tests=document.get("tests"),
        message=error.get("message", ""),
        hint=error.get("hint", ""),
        details=tuple(error.get("details", ())),
    )
