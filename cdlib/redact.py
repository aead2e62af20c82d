"""Secrets out of everything that is shown or written.

Two ways at once: values that this process was given (environment variables whose name says so, and what
`Redactor.hide` is told), and shapes that are secret wherever they turn up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

HIDDEN = "[hidden]"
# AUTH is in AUTHKEY and OAUTH; GIT_AUTHOR_NAME and CHANGE_AUTHOR name people, and SSL_AUTHORITY a file.
_SECRET_NAME = re.compile(
    r"(TOKEN|PASS(?:$|_|W|PHRASE)|SECRET|CREDENTIAL|PRIVATE_KEY|API_KEY|AUTH(?!OR)|AUTHORIZATION|_PAT$"
    r"|OTLP_(?:TRACES_)?HEADERS$)",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(r"(SOCK|FILE|PATH|DIR|URL|HOST)\Z", re.IGNORECASE)
# Each is tried on logs that anybody may write, a quarter of a megabyte at a time, while a rollback waits: what repeats
# is bounded, or begins where nothing like it goes before, so that no text takes more than a time that grows as it does.
_SHAPES = (
    (
        re.compile(r"(?i)\b((?:proxy-)?authorization\s{0,8}[:=]\s{0,8}(?:(?:basic|bearer)\s{1,8})?)[^\s\"',;]+"),
        r"\1" + HIDDEN,
    ),
    (re.compile(r"(?i)\b(bearer\s{1,8})[A-Za-z0-9._~+/=-]{16,}"), r"\1" + HIDDEN),
    (re.compile(r"(?i)([a-z0-9+.-]://)[^/\s@:]*:[^/\s]+@"), r"\1" + HIDDEN + "@"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
    (
        re.compile(
            # Not of a name such as JENKINS_TOKEN_FILE: a path is no secret, and the reader of an error needs it.
            r"(?i)((?:password|passwd|secret|api[_-]?key|token)[\w-]{0,32}(?<![_-]file)(?<![_-]path)"
            r"[\"']?\s{0,8}[=:]\s{0,8}[\"']?)[^\s\"',;&]{4,}"
        ),
        r"\1" + HIDDEN,
    ),
)
_SHORTEST = 6  # shorter values occur by chance, and hiding them would garble ordinary text


class Redactor:
    """Replaces known secrets and secret shapes in text."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._values: set[str] = set()
        self.hide(v for k, v in environment.items() if _SECRET_NAME.search(k) and not _NOT_SECRET.search(k))

    def hide(self, values: Iterable[str]) -> None:
        """Add values that must never be shown."""
        for value in values:  # a log has a secret of many lines line by line
            self._values.update(part for part in (value, *value.splitlines()) if len(part) >= _SHORTEST)

    def text(self, text: str) -> str:
        """`text` without secrets."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        for shape, replacement in _SHAPES:
            text = shape.sub(replacement, text)
        return text

    def value(self, value: object) -> object:
        """The same JSON-like value, with every string in it redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value
