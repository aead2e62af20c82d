"""git, as a service's source is read by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import DISK_FULL, UsageProblem, disk_full
from cdlib.process import Finished

_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")  # to the last @ of the host's part, as git takes it
_QUICK = 60.0  # seconds for a git command that only reads, where no run's deadline is at hand
_READING = ("show", "config", "ls-tree", "rev-parse")  # what ends by itself, and leaves nothing behind
# Nothing that git reads here may start a program of the repository's choosing, or ask for a password.
# Nor may it name one object and give another.
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}  # fmt: skip
_SAFE = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "log.showSignature=false")

# For a repository's info/attributes, which win over a tree's own: files are written as they were reviewed. An encoding
# makes other characters of them, quotes of what only looks like quotes; ident drops what stands in `$Id:…$`.
AS_REVIEWED = "* -ident !working-tree-encoding\n"
BRANCHES = "refs/cd/branches/"  # where another repository's are fetched to


def _limit(deadline: Deadline | None) -> Deadline:
    return deadline or Deadline(_QUICK, "git")


def started(
    folder: Path, *args: str, deadline: Deadline | None = None
) -> AbstractContextManager[Callable[[], Finished]]:
    """A git command that only reads, at work while the block is."""
    return process.asked(["git", *_SAFE, "-C", folder, *args], _limit(deadline), env=_ENV)


def ask(folder: Path, *args: str, deadline: Deadline | None = None) -> Finished:
    """A git command that only reads, and may fail."""
    return process.run(["git", *_SAFE, "-C", folder, *args], _limit(deadline), env=_ENV, tied=False)


def run(
    folder: Path,
    *args: str,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    deadline: Deadline | None = None,
) -> str:
    """What a git command prints; without `check`, also where it fails. Raises as `answer`."""
    tied = args[0] not in _READING
    done = process.run(["git", *_SAFE, "-C", folder, *args], _limit(deadline), env={**_ENV, **(env or {})}, tied=tied)
    return answer(done, folder, *args) if check else done.stdout.strip("\n")


def answer(done: Finished, folder: Path, *args: str) -> str:
    """What git printed. Raises UsageProblem where it failed, Unavailable where the disk is full."""
    if not done.ok:
        said = "\n".join(done.stderr).lower()
        if DISK_FULL in said or "unable to write" in said:  # of a file that it cannot write git says no reason
            raise disk_full(str(folder))
        if "must be run in a work tree" in said:
            raise UsageProblem(f"{folder} has no files of a service: it is git's own folder, or a bare repository",
                               hint="name a clone with a work tree by -C DIR")  # fmt: skip
        verb = next(word for word in args if not word.startswith(("-", "/")))
        raise UsageProblem(f"git {verb} failed in {folder}", details=done.stderr[-5:], hint="see git fsck")
    return done.stdout.strip("\n")


def without_credentials(address: str) -> str:
    """A repository's address as it may be shown and kept."""
    return _CREDENTIALS.sub("", address)


def fetch(folder: Path, repository: str, commit: str, deadline: Deadline) -> Finished:
    """Fetch one commit of another repository. Only protocols that cannot start a program are spoken."""
    return _fetch(folder, "--depth=1", "--", repository, commit, deadline=deadline)


def fetch_branches(folder: Path, repository: str, deadline: Deadline) -> Finished:
    """Fetch the history of another repository's branches, without files where its server can leave them out."""
    return _fetch(folder, "--filter=tree:0", "--", repository, f"+refs/heads/*:{BRANCHES}*", deadline=deadline)


def _fetch(folder: Path, *args: str, deadline: Deadline) -> Finished:
    argv = ["git", *_SAFE, "-C", str(folder), "fetch", "--quiet", "--no-tags", *args]
    return process.run(argv, deadline, env={**_ENV, "GIT_ALLOW_PROTOCOL": "https:ssh:file"})
