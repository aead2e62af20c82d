"""What a caller gives and gets: the server's address and token, parameters by words or by file, and the result."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdlib.errors import UsageProblem
from cdlib.given import given_text
from cdlib.jenkins.abort import Aborted
from cdlib.jenkins.http import Server
from cdlib.jenkins.session import Ended
from cdlib.run import Run


def open_server(
    run: Run, url: str, user: str, token_file: Path | None, patience: float, environment: Mapping[str, str] = os.environ
) -> Server:
    """The server at `url`, as `user` with the token in JENKINS_TOKEN or in a file; without a user, as nobody."""
    if not url:
        raise UsageProblem("JENKINS_URL is missing: which Jenkins server?", hint="set JENKINS_URL, or give --url")
    token = environment.get("JENKINS_TOKEN", "")
    if token_file:
        token = given_text(token_file, "JENKINS_TOKEN_FILE").strip()
    if user and not token:
        raise UsageProblem(
            f"JENKINS_TOKEN is missing: what proves that we are {user}?",
            hint="set JENKINS_TOKEN to an API token of that user, or JENKINS_TOKEN_FILE to a file with it",
        )
    run.redactor.hide([token])
    return Server(url, user, token, patience=patience, on_trouble=run.warn)


def read_parameters(words: Iterable[str], file: Path | None) -> dict[str, str]:
    """Parameters from NAME=VALUE words and from a JSON file; words win."""
    found: dict[str, str] = {}
    if file:
        try:
            document = json.loads(given_text(file, "--params-file"))
        except ValueError as problem:
            raise UsageProblem(f"{file} is no JSON: {problem}", hint="write an object of strings") from problem
        if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
            raise UsageProblem(f"{file} is no object of strings", hint='write {"NAME": "VALUE"}; booleans are "true"')
        found.update(document)
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageProblem(f"--param {word!r} has no NAME=VALUE", hint="write --param NAME=VALUE")
        found[name] = value
    return found


def shown(outcome: Ended | Aborted | None) -> dict[str, Any]:
    """The members of the result; of a dry run there are none."""
    if outcome is None:
        return {}
    if isinstance(outcome, Aborted):
        ended = [{"number": b.number, "url": b.url, "result": b.result} for b in outcome.builds]
        what = f"{len(ended)} builds stopped, {outcome.cancelled} taken out of the queue"
        nothing = not ended and not outcome.cancelled
        return {"outcome": "unchanged" if nothing else "done", "aborted": ended, "cancelled": outcome.cancelled,
                "text": "nothing was queued or running" if nothing else what}  # fmt: skip
    build = outcome.build
    inner = str((outcome.result or {}).get("outcome") or "done")
    return {"outcome": inner if inner in ("unchanged", "planned") else "done", **outcome.as_dict(),
            "text": f"{outcome.job.name} #{build.number} {build.result} {build.url}"}  # fmt: skip
