"""Why git could not fetch, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdlib import fetching
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem

HINTS = {
    fetching.NO_REF: "check the ref",
    fetching.DENIED: "check the key",
    fetching.NO_REPOSITORY: "check the address",
    fetching.UNREACHABLE: "run this again later",
}


@pytest.mark.parametrize(
    ("said", "kind", "message", "why"),
    [
        ("fatal: couldn't find remote ref refs/x{}", UsageProblem, "git.test has no refs/x{}", fetching.NO_REF),
        ("git@git.test: Permission denied (publickey).", NotAllowed, "git.test does not let us read refs/x{}",
         fetching.DENIED),
        ("fatal: repository 'git.test' not found", UsageProblem, "git.test is no repository that we can read",
         fetching.NO_REPOSITORY),
        ("fatal: unable to connect to git.test", Unavailable, "git.test cannot be reached", fetching.UNREACHABLE),
    ],
)  # fmt: skip
def test_each_reason_has_an_error_of_its_own(said: str, kind: type[CdError], message: str, why: str) -> None:
    lines = ["one", "two", "three", said]
    problem = fetching.problem(lines, "git.test", "refs/x{}", HINTS)
    assert type(problem) is kind and problem.message == message
    assert problem.hint == HINTS[why] and problem.details == ("two", "three", said)
    others = {key: hint for key, hint in HINTS.items() if key != why}
    assert fetching.problem(lines, "git.test", "refs/x{}", others) is None


@pytest.mark.parametrize("place", ["/ws/connector-deploy", "/ws/it's refused", "/ws/403", "/ws/not found"])
def test_places_are_no_reasons(place: str) -> None:
    """What git quotes is a path or an address, and says nothing of what went wrong."""
    lock = f"error: cannot lock ref 'refs/cd/checkout': Unable to create '{place}/.git/refs/cd/checkout.lock': File exists."
    assert fetching.problem([lock], "git.test", "refs/x", HINTS, Path(place)) is None
    assert fetching.reason([lock]) == fetching.UNKNOWN or "'" in place  # such as a folder that a link leads to
    plain = f"fatal: cannot write {place}/x to ssh://resolve.test/{place}"
    assert fetching.problem([plain], f"ssh://resolve.test/{place}", "refs/x", HINTS, Path(place)) is None
    for said, why in (("fatal: couldn't find remote ref refs/connect", fetching.NO_REF),
                      (f"fatal: unable to access '{place}': Could not resolve host: x", fetching.UNREACHABLE),
                      (f"fatal: repository '{place}' does not exist", fetching.NO_REPOSITORY)):  # fmt: skip
        assert fetching.reason([said], (place,)) == why


def test_what_nobody_knows_is_the_callers_to_explain() -> None:
    assert fetching.problem(["fatal: bad object"], "git.test", "refs/x", HINTS) is None
