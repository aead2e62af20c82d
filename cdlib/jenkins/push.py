"""A speculative commit made reachable: Zuul's merges exist on its executor alone, and builds run elsewhere."""

from __future__ import annotations

import os
import re
import time
import urllib.parse
import uuid
from dataclasses import dataclass
from pathlib import Path

from cdlib.borrowed import Borrowed, borrowed
from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem
from cdlib.run import Run

WEEK = 7 * 86400.0  # seconds
_CLEANING = 120.0  # seconds for what may be left undone
_REF = re.compile(r"refs/zuul/.+/Z([0-9a-f]{32})\Z")
_ENV = {
    "GIT_ALLOW_PROTOCOL": "git:https:http:ssh:file",
    # Without the user's configuration of ssh, which may start programs and lies in a job's home.
    "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -F none -o BatchMode=yes"),
}


@dataclass(frozen=True)
class Pushed:
    """Where the commit is now, as ZUUL_URL, ZUUL_REF and ZUUL_COMMIT say it."""

    url: str
    ref: str
    commit: str

    def parameters(self) -> dict[str, str]:
        """The parameters for a job."""
        return {"ZUUL_URL": self.url, "ZUUL_REF": self.ref, "ZUUL_COMMIT": self.commit}


def push(run: Run, folder: Path, url: str, project: str, branch: str) -> Pushed:
    """Push the commit in `folder` to `url`/`project`, as refs/zuul/<branch>/Z<uuid>, as Zuul's mergers did.

    The uuid holds the time (version 7), by which refs older than a week are found and removed; refs that somebody
    else named otherwise are left alone. Nothing is read of the clone but its objects and refs: on Zuul's executor
    others have written there, and the token of Jenkins is beside it.
    """
    for name, value in (("CD_SOURCE_URL", url), ("ZUUL_PROJECT", project), ("ZUUL_BRANCH", branch)):
        if not value:
            how = "--source-url" if name == "CD_SOURCE_URL" else f"--param {name}=…"
            raise UsageProblem(f"{name} is missing: the pushed commit's place is made of it", hint=f"give it by {how}")
    _require_no_credentials(url)
    now = time.time()
    address = f"{url.rstrip('/')}/{project}"
    ref = f"refs/zuul/{branch}/Z{_uuid7(now).hex}"
    with run.stage("push", ref), borrowed(folder) as repository:
        commit = repository.head(run.deadline)
        if not commit:
            raise UsageProblem(f"the repository of {folder} has no commit", hint="commit the service first")
        # A first push takes the whole history along, so that it has as long as the run has.
        _git(repository, run.deadline, "push", "--quiet", "--no-verify", "--", address, f"{commit}:{ref}")
        _clean(run, repository, address, now)
    return Pushed(url.rstrip("/"), ref, commit)


def _require_no_credentials(url: str) -> None:
    """Raise UsageProblem where the address has a secret in it: it becomes a parameter, and argv of git.

    A user is no secret for ssh; over HTTP it may be a token.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        secret = parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https"))
    except ValueError:
        raise UsageProblem("CD_SOURCE_URL is no address", hint="write it as ssh://git.example.org") from None
    if secret:
        raise UsageProblem(
            "CD_SOURCE_URL has a user or a password in it, and whoever may read the job's builds would read it",
            hint="give it without, and let git log in by ssh or by a credential helper",
        )


def _clean(run: Run, repository: Borrowed, address: str, now: float) -> None:
    """Remove refs of ours that are older than a week. What fails here is worth a warning, no more."""
    limit = run.deadline.part(_CLEANING, "removing old refs")
    try:
        listed = _git(repository, limit, "ls-remote", "--quiet", "--", address, "refs/zuul/*")
        old = [ref for line in listed.splitlines() if _age(ref := line.partition("\t")[2], now) > WEEK]
        if old:
            _git(repository, limit, "push", "--quiet", "--no-verify", "--", address, *(f":{ref}" for ref in old[:100]))
            run.note(f"{min(len(old), 100)} refs older than a week were removed from {address}")
    except CdError as problem:
        run.warn(f"old refs could not be cleaned up: {problem.message}")


def _age(ref: str, now: float) -> float:
    """Seconds since the ref was made; 0 where its name does not hold the time."""
    found = _REF.match(ref)
    identity = uuid.UUID(found[1]) if found else None
    return now - (identity.int >> 80) / 1000 if identity and identity.version == 7 else 0.0


def _uuid7(now: float) -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): milliseconds since the epoch, and chance."""
    bits = (int(now * 1000) & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=bits & ~(3 << 62) | 2 << 62)


def _git(repository: Borrowed, limit: Deadline, *args: str) -> str:
    done = repository.run(limit, *args, env=_ENV)
    if done.ok:
        return done.stdout
    said = "\n".join(done.stderr)
    address = args[args.index("--") + 1]
    if re.search(r"could not resolve|unable to connect|timed out|refused|unexpected disconnect", said, re.IGNORECASE):
        raise Unavailable(f"{address} cannot be reached by git {args[0]}", details=done.stderr[-3:],
                          hint="check --source-url, and that the git server runs")  # fmt: skip
    if re.search(r"permission denied|authentication failed|access denied|\b403\b", said, re.IGNORECASE):
        raise NotAllowed(f"{address} does not let us {args[0]}", details=done.stderr[-3:],
                         hint="this account must be allowed to push below refs/zuul/")  # fmt: skip
    raise UsageProblem(f"git {args[0]} failed for {address}", details=done.stderr[-5:],
                       hint="check --source-url, the project's repository there, and the branch's name")  # fmt: skip
