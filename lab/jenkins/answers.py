"""What a request is, and what is answered to it."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from lab.jenkins import documents, tree
from lab.jenkins.rights import Caller, Denied


@dataclass(frozen=True)
class Request:
    """One request, its query and form taken apart."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    body: bytes
    caller: Caller

    def require_post(self) -> None:
        """Raise Denied (405) for any other method."""
        if self.method != "POST":
            raise Denied(405, "Must be POST", {"Allow": "POST"})


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def shown(request: Request, document: Any, headers: dict[str, str] | None = None) -> Answer:
    """A document as api/json shows it, by the request's `tree`."""
    wanted = request.query.get("tree")
    try:
        cut = tree.prune(document, tree.parse(wanted)) if wanted else documents.shallow(document)
    except ValueError as problem:
        raise Denied(400, str(problem)) from problem
    return Answer(200, json.dumps(cut).encode(), {"Content-Type": "application/json;charset=utf-8", **(headers or {})})


def pairs(text: str) -> dict[str, str]:
    """A query or a form; of a name that stands twice, the first."""
    found: dict[str, str] = {}
    for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        found.setdefault(name, value)
    return found
