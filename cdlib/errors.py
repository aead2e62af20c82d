"""Every way in which a run can end badly, each with its exit code.

The codes are the contract of docs/reference.md. The library raises; `jobs.executing` alone turns an
error into a message, a result and an exit status.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from typing import Any, ClassVar


class CdError(Exception):
    """A run that cannot go on.

    `message` says what is wrong in one sentence, `hint` what to do next, and `details` are lines that prove
    it: the failing step, the tests that failed, each mistake in a file. `made` is what the run had achieved by
    then; it becomes part of the result.
    """

    exit_code: ClassVar[int] = 1
    outcome: ClassVar[str] = "defect"

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)
        self.made: dict[str, Any] = {}


class UsageProblem(CdError):
    """Wrong use or configuration: the caller, cd.yaml or targets.yaml must change."""

    exit_code = 2
    outcome = "misconfigured"


class BuildFailed(CdError):
    """The image does not build."""

    exit_code = 3
    outcome = "build-failed"


class TestsFailed(CdError):
    """Tests failed, did not end in time, or none ran."""

    __test__ = False  # pytest would take the name for a test class
    exit_code = 4
    outcome = "tests-failed"


class RegistryRefused(CdError):
    """The registry has no such thing, or a published tag would have to move."""

    exit_code = 5
    outcome = "registry-refused"


class Refused(CdError):
    """Policy says no: a hold, a quarantine, a pipeline that may not publish, a step backwards."""

    exit_code = 6
    outcome = "refused"


class RolledBack(CdError):
    """The rollout failed, and the release is back on its last verified revision."""

    exit_code = 7
    outcome = "rolled-back"


class NeedsPerson(CdError):
    """The rollout failed and could not be rolled back."""

    exit_code = 8
    outcome = "needs-person"


class Held(CdError):
    """Another run holds the release."""

    exit_code = 9
    outcome = "held"


class Inconclusive(CdError):
    """There is no data to judge by."""

    exit_code = 10
    outcome = "inconclusive"


class BuildLost(CdError):
    """The Jenkins build was lost or aborted.

    `gone` is true where nobody wanted its end: Jenkins does not know the build any more.
    """

    exit_code = 11
    outcome = "build-lost"

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = (), gone: bool = False) -> None:
        super().__init__(message, hint=hint, details=details)
        self.gone = gone


class Unavailable(CdError):
    """A server cannot be reached, or answers 5xx or 429; also a full disk.

    `retry_after` is the server's own wish in seconds, 0 where it has none; `retryable` is false where trying
    again cannot help, as with a full disk.
    """

    exit_code = 69
    outcome = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        details: Sequence[str] = (),
        retry_after: float = 0.0,
        retryable: bool = True,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.retry_after = retry_after
        self.retryable = retryable


class Unsettled(RegistryRefused, Unavailable):
    """A registry does not know what was just written to it. Worth another try, and refused when that did not help."""


class OutOfTime(CdError):
    """The run's own time limit has passed."""

    exit_code = 70
    outcome = "out-of-time"


class NotAllowed(CdError):
    """A server says that we may not: 401 or 403."""

    exit_code = 77
    outcome = "not-allowed"


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived. No `except Exception` swallows it; exit status is 130, or 143 for the others.

    Who waits for a run has to tell one that was ended from outside, and not how: a hang-up has no status of its own.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.exit_code = 128 + (signal.SIGTERM if signum == signal.SIGHUP else signum)
        self.outcome = "interrupted"


DISK_FULL = "no space left on device"


def disk_full(where: str) -> Unavailable:
    """The one message for a full disk; `where` is the file or the server that has run out of space."""
    return Unavailable(
        f"the disk is full: {where}",
        hint="free some space (docker system prune helps on a build host), then run this again",
        retryable=False,
    )


def from_os_error(problem: OSError) -> CdError:
    """The error of this hierarchy for an error of the operating system that nobody nearer has explained."""
    where = str(problem.filename or problem)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(where)
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageProblem(f"{where}: {problem.strerror}", hint="check the file's owner and mode")
    return UsageProblem(f"{where}: {problem.strerror or problem}", hint="check the path")
