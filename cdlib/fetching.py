"""Why git could not fetch, by its own words, and the error for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem

NO_REF, DENIED, NO_REPOSITORY, UNREACHABLE, UNKNOWN = "no ref", "denied", "no repository", "unreachable", "unknown"
_SAID = (
    (NO_REF, r"couldn't find remote ref|not our ref"),
    (DENIED, r"permission denied|authentication failed|could not read (username|password)|\b40[13]\b"),
    (NO_REPOSITORY, r"not found|does not (exist|appear)|not appear to be a git|not exported|invalid .*ref"),
    (UNREACHABLE, r"resolve|connect|timed out|refused|disconnect|hung up|early EOF|\b50\d\b"),
)
_QUOTED = re.compile(r"(?<!\w)'[^'\n]*'")  # not from the apostrophe of "couldn't" on
_ERRORS: dict[str, tuple[type[CdError], str]] = {
    NO_REF: (UsageProblem, "has no {}"),
    DENIED: (NotAllowed, "does not let us read {}"),
    NO_REPOSITORY: (UsageProblem, "is no repository that we can read"),
    UNREACHABLE: (Unavailable, "cannot be reached"),
}


def problem(
    stderr: Sequence[str], address: str, what: str, hints: Mapping[str, str], folder: Path | None = None
) -> CdError | None:
    """The error for a git that could not fetch `what` from `address`, which has no password in it, into `folder`.

    `hints` says what to do by reason. None where it has nothing for the reason, which is the caller's to explain.
    """
    why = reason(stderr, (*((str(folder.absolute()), str(folder.resolve())) if folder else ()), address))
    if why not in hints:
        return None
    error, said = _ERRORS[why]
    return error(f"{address} {said.format(what)}", details=stderr[-3:], hint=hints[why])


def reason(stderr: Sequence[str], named: Sequence[str] = ()) -> str:
    """One of the words above, by what git says itself: not by what it quotes, nor by the places that are `named`."""
    said = "\n".join(stderr)
    for name in sorted(filter(None, named), key=len, reverse=True):
        said = said.replace(name, "")
    said = _QUOTED.sub("", said)
    return next((word for word, pattern in _SAID if re.search(pattern, said, re.IGNORECASE)), UNKNOWN)
