"""What Jenkins makes of the parameters that a trigger sends."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.jenkins.definition import Definition, Parameter
from lab.jenkins.rights import Denied
from lab.jenkins.store import Value


def values(definition: Definition, sent: Mapping[str, str]) -> dict[str, Value]:
    """The parameters of a build: declared ones only, the rest is dropped without a word (SECURITY-170)."""
    return {p.name: _value(p, sent.get(p.name, p.default)) for p in definition.parameters}


def delay(text: str, usual: float) -> float:
    """Seconds until the build may start: `0sec`, `5`, or the usual where nothing is said."""
    if not text:
        return usual
    found = re.fullmatch(r"(\d+)\s*(?:s|sec|secs)?", text)
    if not found:
        raise Denied(400, f"Not a valid delay: {text}")
    return float(found[1])


def _value(parameter: Parameter, text: str) -> Value:
    if parameter.kind == "Boolean":
        return text.lower() == "true"  # anything else is false, and nobody is told
    if parameter.kind == "Choice" and text not in parameter.choices:
        raise Denied(500, f"Illegal choice for parameter {parameter.name}: {text}")
    return text.strip() if parameter.trim else text
