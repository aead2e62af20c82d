"""Why git could not fetch, by its own words."""

from __future__ import annotations

import re
from collections.abc import Sequence

NO_REF, DENIED, NO_REPOSITORY, UNREACHABLE, UNKNOWN = "no ref", "denied", "no repository", "unreachable", "unknown"
_SAID = (
    (NO_REF, r"couldn't find remote ref|not our ref"),
    (DENIED, r"permission denied|authentication failed|could not read (username|password)|\b40[13]\b"),
    (NO_REPOSITORY, r"not found|does not (exist|appear)|not appear to be a git|not exported|invalid .*ref"),
    (UNREACHABLE, r"resolve|connect|timed out|refused|disconnect|hung up|early EOF|\b50\d\b"),
)


def reason(stderr: Sequence[str]) -> str:
    """One of the words above."""
    said = "\n".join(stderr)
    return next((word for word, pattern in _SAID if re.search(pattern, said, re.IGNORECASE)), UNKNOWN)
