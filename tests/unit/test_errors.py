"""Every way to end badly has its own exit code, and says what to do next."""

from __future__ import annotations

import errno

import pytest

from cdlib import errors
from cdlib.errors import CdError, Interrupted, Unavailable, UsageProblem, disk_full, from_os_error

CODES = {
    "CdError": 1, "UsageProblem": 2, "BuildFailed": 3, "TestsFailed": 4, "RegistryRefused": 5, "Refused": 6,
    "RolledBack": 7, "NeedsPerson": 8, "Held": 9, "Inconclusive": 10, "BuildLost": 11, "Unavailable": 69,
    "OutOfTime": 70, "NotAllowed": 77,
}  # fmt: skip


def test_the_codes_are_the_contract() -> None:
    kinds = {n: k for n, k in vars(errors).items() if isinstance(k, type) and issubclass(k, CdError)}
    assert kinds.pop("Unsettled").exit_code == CODES["RegistryRefused"], "one that is worth another try"
    assert {name: kind.exit_code for name, kind in kinds.items()} == CODES
    assert len({kind.outcome for kind in kinds.values()}) == len(kinds)


def test_an_error_carries_what_people_need() -> None:
    problem = UsageProblem("wrong", hint="mend it", details=["line"])
    assert (str(problem), problem.hint, problem.details, problem.made) == ("wrong", "mend it", ("line",), {})
    assert Unavailable("x", retry_after=3).retryable and not disk_full("/x").retryable


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143), (1, 143)])
def test_an_interruption_is_swallowed_by_nobody(signum: int, code: int) -> None:
    problem = Interrupted(signum)
    assert problem.exit_code == code and not isinstance(problem, Exception)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.ENOSPC, 69, "disk is full"), (errno.EDQUOT, 69, "disk is full"), (errno.EACCES, 2, "Permission denied"),
        (errno.ENOENT, 2, "/there"), (errno.EROFS, 2, "/there"),
    ],
)  # fmt: skip
def test_errors_of_the_operating_system(number: int, code: int, said: str) -> None:
    import os

    problem = from_os_error(OSError(number, os.strerror(number), "/there"))
    assert problem.exit_code == code and said in problem.message and problem.hint
