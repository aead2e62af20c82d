"""blubber.yaml made a Dockerfile: by a Blubberoid, or by a BuildKit frontend that the operators allow."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from typing import Any

from cdlib.answers import Answer
from cdlib.deadline import Deadline
from cdlib.documents import read_foreign_yaml
from cdlib.errors import UsageProblem
from cdlib.registry.answers import LARGEST, connection_errors, problem_of, read_answer
from cdlib.registry.connection import Connections, authority
from cdlib.retry import retrying
from cdlib.run import Run

VARIABLE = "CD_BLUBBEROID_URL"


def from_blubberoid(run: Run, blubber: str, path: str, variant: str, url: str) -> str:
    """The Dockerfile of `variant`, which the Blubberoid at `url` makes of the text `blubber`.

    Raises UsageProblem with Blubberoid's reason where the file is at fault, Unavailable where the server is.
    """
    doing = f"turning {path} into a Dockerfile"
    answer = retrying(lambda: _ask(run.deadline, blubber, variant, url, doing), run.deadline)
    return answer.body.decode("utf-8", "replace")


def _ask(deadline: Deadline, blubber: str, variant: str, url: str, doing: str) -> Answer:
    host = urllib.parse.urlsplit(url).netloc
    address = f"{url.rstrip('/')}/v1/{urllib.parse.quote(variant, safe='')}"
    # With text/yaml, or none, Blubberoid answers 415 or reads it as JSON.
    headers = {"Content-Type": "application/yaml"}
    connections = Connections(authority(), direct=True)
    try:
        with connection_errors(host, doing):
            response = connections.open("POST", address, headers, blubber.encode(), deadline, doing)
        answer = read_answer(response, host, doing, deadline)
    finally:
        connections.close()
    if answer.status == 200:
        return answer
    reason = answer.body[:LARGEST].decode("utf-8", "replace").strip()
    if answer.status in (400, 422):
        raise UsageProblem(
            f"blubber does not accept the variant {variant!r}: {reason.splitlines()[0] if reason else answer.status}",
            details=reason.splitlines()[1:20],
            hint="mend blubber.yaml, or the variant's name in cd.yaml",
        )
    if answer.status in (404, 405, 415) or answer.status < 400:
        raise UsageProblem(
            f"{url} answers {answer.status}: that is no Blubberoid", hint=f"set {VARIABLE} to http://HOST:8748"
        )
    raise problem_of(answer, host, doing)


def blubberoid_url() -> str:
    """The Blubberoid to ask; empty where none is set. Raises UsageProblem where it is no address."""
    url = os.environ.get(VARIABLE, "")
    if url and urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageProblem(f"{VARIABLE} is no address: {url!r}", hint=f"set {VARIABLE}=http://HOST:8748")
    return url


def base_images(blubber: str, path: str, variant: str) -> tuple[str, ...]:
    """The images that `variant` is made from, its own first, for a frontend that reads blubber.yaml by itself."""
    document = read_foreign_yaml(blubber, path)
    variants = document.get("variants") if isinstance(document, dict) else None
    if not isinstance(variants, dict):
        raise _unreadable(path, "it has no variants")
    chosen, waiting, found = list[str](), [variant], list[str]()
    while waiting:
        name = waiting.pop(0)
        if name in chosen or not isinstance(variants.get(name), dict):
            continue
        chosen.append(name)
        section = variants[name]
        copied = [c["from"] for c in _list(section, "copies", path) if isinstance(c, dict) and c.get("from")]
        waiting += _names([*_list(section, "includes", path), *copied], path)
        found += _base(section, path)
    if variant not in chosen:
        raise UsageProblem(f"{path} has no variant {variant!r}", hint=f"it has {', '.join(sorted(map(str, variants)))}")
    return tuple(dict.fromkeys([*found, *_base(document, path)]))


def _base(section: Mapping[str, Any], path: str) -> list[str]:
    return _names([section["base"]] if section.get("base") else [], path)


def _list(section: Mapping[str, Any], key: str, path: str) -> list[Any]:
    value = section.get(key) or []
    if not isinstance(value, list):
        raise _unreadable(path, f"{key} is no list")
    return value


def _names(values: list[Any], path: str) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise _unreadable(path, "a name of an image or a variant is no text")
    return values


def _unreadable(path: str, why: str) -> UsageProblem:
    return UsageProblem(f"{path} is no blubber.yaml that can be read: {why}", hint="mend it, or put the name in quotes")
