"""Durations, sizes and times as people write them in cd.yaml and targets.yaml."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?\Z")
_MEMORY = re.compile(r"(\d+)(Ki|Mi|Gi|k|M|G)?\Z")
_FACTOR = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


def seconds(text: str) -> float:
    """Seconds in a duration such as `90s`, `2m` or `1h30m`. Raises ValueError on anything else."""
    match = _DURATION.match(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is no duration; write it as 90s, 2m or 1h30m")
    hours, minutes, rest = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def memory(text: str) -> int:
    """Bytes in a Kubernetes-style quantity such as `256Mi`. Raises ValueError on anything else."""
    match = _MEMORY.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory; write it as 256Mi or 1Gi")
    return int(match[1]) * _FACTOR[match[2]]


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 in UTC with milliseconds, of `moment` or of now."""
    return (moment or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
