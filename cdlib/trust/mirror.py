"""A mirror of a project with everything that Gerrit knows of its changes. What it has seen once, it keeps.

Refs of changes are never forced: Gerrit only ever adds to them. Every tip is logged, nothing is pruned.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdlib import fetching, process
from cdlib.deadline import Deadline
from cdlib.errors import CdError, Unavailable, UsageProblem, from_os_error
from cdlib.retry import retrying
from cdlib.trust import tampering
from cdlib.trust.notedb import Server, read_refs
from cdlib.trust.objects import Repository
from cdlib.trust.tampering import Alarm

_OURS = "cd.mirror"  # in the repository's configuration: its address, which tells that it is one of ours
_SETTINGS = """\
[core]
	logAllRefUpdates = always
[gc]
	auto = 0
	pruneExpire = never
	reflogExpire = never
	reflogExpireUnreachable = never
[maintenance]
	auto = false
"""
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=15"
# A server that accepts a connection and then says nothing for half a minute is away.
_NETWORK = {"GIT_ALLOW_PROTOCOL": "git:https:http:ssh:file", "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": "30"}  # fmt: skip
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules",
          "--no-prune")  # fmt: skip
_HINTS = {
    fetching.DENIED: "check this account's key, and its access to every branch",
    fetching.NO_REPOSITORY: "check gerrit.url and the service's project in targets.yaml",
}
_PACK = 500  # refs; more than that one file each is slow to list
_POLL = 0.1  # seconds between two looks at a lock


@dataclass(frozen=True)
class Mirror:
    """The mirror of one project, in a folder of its own below `mirrors`."""

    mirrors: Path
    url: str
    project: str
    deadline: Deadline

    @property
    def address(self) -> str:
        """Where git reaches the project."""
        return f"{self.url}/{self.project}"

    @property
    def folder(self) -> Path:
        """Where the mirror lies; its name has nothing of the project's that could lead elsewhere."""
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.project)
        return self.mirrors / f"{name[:80]}-{hashlib.sha256(self.address.encode()).hexdigest()[:12]}.git"

    @property
    def repository(self) -> Repository:
        """The mirror, to be read."""
        return Repository(self.folder, self.deadline)

    def update(self, branches: Iterable[str], server: Server) -> list[Alarm]:
        """Bring it up to date, and return what has changed that never does.

        Raises Unavailable where Gerrit cannot be reached: what the mirror has is then not enough to go by. NotAllowed
        and UsageProblem where the project cannot be read, or has no such branch.
        """
        wanted = [f"refs/heads/{branch}" for branch in branches]
        with self._alone():
            self._prepare()
            listed = retrying(lambda: self._list(wanted), self.deadline, attempts=3)
            if missing := [ref for ref in wanted if ref not in listed]:
                raise UsageProblem(f"{self.address} has no {missing[0]}", hint="see review.branch in targets.yaml")
            before = self.repository.refs("refs/heads/", "refs/changes/")
            if any(before.get(ref) != tip for ref, tip in listed.items()):
                retrying(lambda: self._fetch(wanted, listed, before), self.deadline, attempts=3)
            return self._alarms(listed, before, server)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else writes into this mirror while the block lasts."""
        try:
            self.mirrors.mkdir(parents=True, exist_ok=True)
            lock = self.folder.with_suffix(".lock").open("w")
        except OSError as problem:
            raise from_os_error(problem) from problem
        with lock:
            while True:
                self.deadline.require(f"waiting for another run to be done with {self.folder}")
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_POLL)
            yield

    def _prepare(self) -> None:
        """Make the mirror where there is none; clear away what a run that was killed has left of it."""
        if not self.folder.exists():
            self._make()
        found = self.repository.ask("config", "--local", "--get", _OURS)
        if found.stdout.strip() != self.address:
            raise UsageProblem(f"{self.folder} is no mirror of {self.address}", hint="move it away; a new one is made")
        if (self.folder / "shallow").exists():
            raise UsageProblem(f"the mirror {self.folder} lacks history", hint="move it away; a new one is made")
        for lock in (*self.folder.glob("*.lock"), *(self.folder / "refs").rglob("*.lock")):
            lock.unlink()

    def _make(self) -> None:
        """Make an empty mirror, which is there once it is whole."""
        made = self.folder.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        self._require("init", "--quiet", "--bare", "--template=", "--initial-branch=none", str(made))
        with (made / "config").open("a") as config:
            config.write(_SETTINGS)
        self._require("config", "--file", str(made / "config"), _OURS, self.address)
        made.rename(self.folder)

    def _list(self, branches: list[str]) -> dict[str, str]:
        """The server's refs."""
        done = self._remote("ls-remote", "--", self.address, *branches, "refs/changes/*")
        if not done.ok:
            raise self._problem(done)
        pairs = (line.split("\t") for line in done.stdout.split("\n") if line)
        return {name: tip for tip, name in pairs if name in branches or name.startswith("refs/changes/")}

    def _fetch(self, branches: list[str], listed: Mapping[str, str], before: Mapping[str, str]) -> None:
        specs = [*(f"+{ref}:{ref}" for ref in branches), "refs/changes/*:refs/changes/*"]
        done = self._remote(*_FETCH, "--", self.address, *specs)
        if done.returncode not in (0, 1) or (done.returncode == 1 and not self._stuck(listed, before)):
            raise self._problem(done)
        if sum(before.get(ref) != tip for ref, tip in listed.items()) > _PACK:
            self.repository.git("pack-refs", "--all")

    def _stuck(self, listed: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
        """Refs that the server has elsewhere than the mirror, and that did not follow by a fetch."""
        after = self.repository.refs("refs/changes/")
        return [ref for ref, tip in listed.items() if ref in before and after.get(ref) == before[ref] != tip]

    def _alarms(self, listed: Mapping[str, str], before: Mapping[str, str], server: Server) -> list[Alarm]:
        after = self.repository.refs("refs/heads/", "refs/changes/")
        if lost := [ref for ref in listed if ref not in after]:
            raise Unavailable(f"{lost[0]} did not come from {self.address}", hint="run this again")
        stuck = self._stuck(listed, before)
        metas = {change: f"refs/changes/{change % 100:02}/{change}/meta"
                 for change in read_refs({ref: listed[ref] for ref in stuck}).metas}  # fmt: skip
        if metas:
            specs = [f"+{ref}:{tampering.ASIDE}{change}" for change, ref in metas.items()]
            done = self._remote(*_FETCH, "--", self.address, *specs)
            if not done.ok:
                raise self._problem(done)
        # What went on between listing and fetching is the server's newest word, not a difference.
        seen = {ref: listed[ref] if ref in stuck else after[ref] for ref in listed}
        return tampering.find(self.repository, {r: t for r, t in after.items() if r in before}, seen, server)

    def _remote(self, *args: str) -> process.Finished:
        ssh = {"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", _SSH)}
        return self.repository.ask(*args, env={**_NETWORK, **ssh})

    def _require(self, *args: str) -> None:
        done = process.run(["git", *args], self.deadline, env={"LC_ALL": "C"})
        if not done.ok:
            raise UsageProblem(
                f"the mirror {self.folder} cannot be made", details=done.stderr[-3:], hint="check the folder"
            )

    def _problem(self, done: process.Finished) -> CdError:
        return fetching.problem(done.stderr, self.address, "it", _HINTS) or Unavailable(
            f"{self.address} cannot be reached, and without it nothing is proved",
            details=done.stderr[-3:],
            hint="run this again later",
        )
