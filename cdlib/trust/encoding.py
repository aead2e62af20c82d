"""JSON and base64 read strictly: what two programs could read differently is not read at all.

Go matches field names case-blind and takes the last of two, Python matches them exactly; either would let an
envelope mean one thing to a signer's tool and another here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

LARGEST = 512 * 1024  # bytes of an envelope, or of what is in it; ours have two or three kilobytes
LARGEST_INTEGER = 2**53  # beyond it cosign, and every reader that takes numbers for floats, changes them
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z\Z", re.ASCII)


class Unsound(Exception):
    """What was read does not prove what it should; the message says why. Callers skip it, or refuse."""


def read_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises Unsound for other types, duplicate keys, NaN, huge numbers, halves of surrogate
    pairs, which cannot be written again, and what follows."""
    if len(raw) > LARGEST:
        raise Unsound(f"it is larger than {LARGEST} bytes")
    try:
        text = raw.decode("utf-8")
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_small)
        write_json(found)
    except (ValueError, RecursionError) as problem:
        raise Unsound(f"it is no JSON that may be read: {problem}") from problem
    if not isinstance(found, dict):
        raise Unsound("it is no JSON object")
    return found


def write_json(document: object) -> bytes:
    """`document` in compact UTF-8, keys in order."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def require_fields(document: object, needed: Collection[str], allowed: Collection[str] = ()) -> dict[str, Any]:
    """`document`, an object that has all of `needed` and beside them nothing but `allowed`. Names are exact."""
    if not isinstance(document, dict):
        raise Unsound(f"there is no object with {', '.join(needed)}")
    missing, unknown = set(needed) - set(document), set(document) - set(needed) - set(allowed)
    if missing or unknown:
        told = [f"no {name}" for name in sorted(missing)] + [f"an unknown {name!r:.60}" for name in sorted(unknown)]
        raise Unsound(f"it has {', '.join(told)}")
    return document


def text_of(document: dict[str, Any], name: str, *, longest: int = 4096) -> str:
    """The text at `name`."""
    value = document.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise Unsound(f"its {name} is no text of at most {longest} characters")
    return value


def read_base64(text: object) -> bytes:
    """The bytes in canonical standard base64. Raises Unsound for everything that decodes to the same by leniency."""
    try:
        found = base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, TypeError, ValueError) as problem:
        raise Unsound("its base64 is none") from problem
    if base64.b64encode(found).decode() != text:
        raise Unsound("its base64 is not canonical")
    return found


def write_base64(data: bytes) -> str:
    """Standard base64, padded."""
    return base64.b64encode(data).decode()


def read_time(text: object) -> datetime:
    """The moment in an RFC 3339 time in UTC, which ends in Z."""
    if not isinstance(text, str) or not _TIME.match(text):
        raise Unsound(f"{text!r:.60} is no time in UTC")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as problem:
        raise Unsound(f"{text!r:.60} is no time in UTC") from problem


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _small(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > LARGEST_INTEGER:
        raise ValueError("a number is too large")
    return int(digits)
