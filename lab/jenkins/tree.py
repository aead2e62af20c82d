"""The `tree=` of Jenkins' API: which members of a document are wanted, such as `builds[number]{0,10}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"[A-Za-z_*][A-Za-z0-9_]*|\[|\]|,|\{\d*,?\d*\}")


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one member; `first` and `last` cut a list."""

    members: dict[str, Wanted]
    first: int = 0
    last: int | None = None


def parse(text: str) -> dict[str, Wanted]:
    """The members that `text` names. Raises ValueError where it is malformed."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise ValueError(f"cannot parse tree: {text}")
    members, rest = _members(tokens)
    if rest:
        raise ValueError(f"cannot parse tree: {text}")
    return members


def _members(tokens: list[str]) -> tuple[dict[str, Wanted], list[str]]:
    found: dict[str, Wanted] = {}
    while tokens and tokens[0] != "]":
        name, tokens = tokens[0], tokens[1:]
        members: dict[str, Wanted] = {}
        if tokens[:1] == ["["]:
            members, tokens = _members(tokens[1:])
            if tokens[:1] != ["]"]:
                raise ValueError("missing ]")
            tokens = tokens[1:]
        first, last = 0, None
        if tokens and tokens[0].startswith("{"):
            low, comma, high = tokens[0][1:-1].partition(",")
            first, last = int(low or 0), int(high) if high else None if comma else int(low) + 1
            tokens = tokens[1:]
        found[name] = Wanted(members, first, last)
        if tokens[:1] == [","]:
            tokens = tokens[1:]
    return found, tokens


def prune(document: Any, wanted: dict[str, Wanted]) -> Any:
    """The document with what is wanted of it. An object of which nothing is named shows its class only."""
    if isinstance(document, list):
        return [prune(entry, wanted) for entry in document]
    if not isinstance(document, dict):
        return document
    found = {"_class": document["_class"]} if "_class" in document else {}
    for name, value in document.items():
        member = wanted.get(name) or wanted.get("*")
        if member:
            cut = value[member.first : member.last] if isinstance(value, list) else value
            found[name] = prune(cut, member.members)
    return found
