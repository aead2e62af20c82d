"""The source that a build is about, fetched by ZUUL_REF and seen to be ZUUL_COMMIT, with all of its history."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cdlib import fetching, process
from cdlib.errors import CdError, UsageProblem
from cdlib.git import AS_REVIEWED, without_credentials
from cdlib.retry import retrying
from cdlib.run import Run

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_OURS = "cd.checkout"  # in the repository's configuration: what lies in the folder may be cleaned away
_FETCHED = "refs/cd/checkout"
# Nothing of a repository may start a program here, or ask for a password.
_SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0")
_ENV = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ALLOW_PROTOCOL": "git:https:http:ssh:file",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}
_HINTS = {
    fetching.NO_REF: "check ZUUL_REF; Zuul's own refs are removed after a week",
    fetching.DENIED: "check this account's access, and ZUUL_URL",
    fetching.NO_REPOSITORY: "check ZUUL_URL and ZUUL_PROJECT",
    fetching.UNREACHABLE: "run this again later",
}


@dataclass(frozen=True)
class Wanted:
    """What to fetch, as Zuul says it: `ref` of the repository `url`/`project`, at `commit` where that is given."""

    url: str
    project: str
    ref: str
    commit: str = ""

    @property
    def address(self) -> str:
        """Where the repository is."""
        return f"{self.url.rstrip('/')}/{self.project}"

    @property
    def full_ref(self) -> str:
        """The ref as git wants it; a bare name is a branch."""
        return self.ref if self.ref.startswith("refs/") else f"refs/heads/{self.ref}"

    def require_whole(self) -> None:
        """Raise UsageProblem, which names the variable, where something is missing or malformed."""
        for name, value in (("ZUUL_URL", self.url), ("ZUUL_PROJECT", self.project), ("ZUUL_REF", self.ref)):
            if not value:
                raise UsageProblem(f"{name} is missing: there is nothing to fetch without it", hint=f"set {name}")
        if not self.commit and self.full_ref.startswith("refs/zuul/"):
            raise UsageProblem(
                "ZUUL_COMMIT is missing: what Zuul has merged is checked against it", hint="set ZUUL_COMMIT"
            )
        if self.commit and not _COMMIT.match(self.commit):
            raise UsageProblem(f"ZUUL_COMMIT is no whole commit id: {self.commit!r}", hint="give all of its characters")


def check_out(run: Run, folder: Path, wanted: Wanted) -> str:
    """Make `folder` hold the files of the commit and nothing else (--out stays); returns the commit.

    The folder is empty, or one that this function has filled before: what else lies in it is cleaned away. Raises
    UsageProblem where the ref does not have the commit.
    """
    wanted.require_whole()
    repository = _Repository(run, folder)
    fresh = repository.prepare()
    try:
        return repository.fill(wanted)
    except _Broken:
        if fresh:
            raise
        run.note("what an earlier run has left cannot be used; fetching all of it again")
        shutil.rmtree(folder / ".git")
        repository.begin()
        return repository.fill(wanted)


class _Broken(UsageProblem):
    """git failed for a reason that may lie in the folder."""


@dataclass(frozen=True)
class _Repository:
    run: Run
    folder: Path

    def prepare(self) -> bool:
        """Make a repository where there is none; whether it is a new one. Raises UsageProblem in a foreign folder."""
        if (self.folder / ".git").exists():
            if self._git("config", "--local", "--get", _OURS, check=False).stdout.strip() != "true":
                raise self._foreign()
            for lock in _locks(self.folder / ".git"):  # a build that was killed leaves them
                lock.unlink()
            return False
        if any(entry.name != self._kept for entry in self.folder.iterdir()):
            raise self._foreign()
        self.begin()
        return True

    def begin(self) -> None:
        """Make a repository of ours, whatever else lies in the folder."""
        self._git("init", "--quiet", "--initial-branch=none")
        self._git("config", "--local", _OURS, "true")

    def fill(self, wanted: Wanted) -> str:
        """Fetch, check, and write the files."""
        with self.run.stage("fetch", wanted.full_ref):
            retrying(lambda: self._fetch(wanted), self.run.deadline)
        head = self._git("rev-parse", "--verify", f"{_FETCHED}^{{commit}}").stdout.strip()
        commit = self._agreed(wanted, head)
        if self._git("ls-tree", "--full-tree", commit, "--", self._kept).stdout:
            raise UsageProblem(
                f"the commit {commit[:12]} holds {self._kept}, where commands leave their results",
                hint=f"remove {self._kept} from the repository",
            )
        attributes = self.folder / ".git" / "info" / "attributes"
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text(AS_REVIEWED, encoding="ascii")
        with self.run.stage("checkout", commit[:12]):
            self._git("checkout", "--quiet", "--force", "--detach", commit)
            self._git("clean", "--quiet", "-ffdx", "--exclude", f"/{self._kept}")
        self._git("config", "--local", "remote.origin.url", without_credentials(wanted.address))
        return commit

    def _fetch(self, wanted: Wanted) -> None:
        argv = ("fetch", "--quiet", "--force", "--no-tags", "--no-recurse-submodules", "--")
        done = self._git(*argv, wanted.address, f"{wanted.full_ref}:{_FETCHED}", check=False)
        if not done.ok:
            raise _fetch_problem(wanted, done, self.folder)

    def _agreed(self, wanted: Wanted, head: str) -> str:
        """The commit to use. Only a branch may have gone on from it meanwhile."""
        if wanted.commit in ("", head):
            return head
        if wanted.full_ref.startswith("refs/heads/"):
            argv = ("merge-base", "--is-ancestor", wanted.commit, head)
            if self._git(*argv, check=False).returncode == 0:
                self.run.note(f"{wanted.ref} has gone on to {head[:12]}; taking {wanted.commit[:12]} as asked")
                return wanted.commit
        raise UsageProblem(
            f"ZUUL_COMMIT contradicts ZUUL_REF: {wanted.full_ref} is {head[:12]}, not {wanted.commit[:12]}",
            hint="the ref was moved, or one of the two is wrong; let Zuul start the job again",
        )

    @property
    def _kept(self) -> str:
        """The name in the folder below which --out lies, or that of its default."""
        try:
            return self.run.out.resolve().relative_to(self.folder.resolve()).parts[0]
        except (ValueError, IndexError):
            return ".cd"

    def _foreign(self) -> UsageProblem:
        return UsageProblem(
            f"{self.folder} is neither empty nor made by cd-checkout, which would clean it",
            hint="name an empty folder by -C DIR",
        )

    def _git(self, *args: str, check: bool = True) -> process.Finished:
        argv = ["git", *_SAFE, "-C", str(self.folder), *args]
        ssh = {"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}
        done = process.run(argv, self.run.deadline, env={**_ENV, **ssh})
        if check and not done.ok:
            raise _Broken(f"git {args[0]} failed in {self.folder}", details=done.stderr[-5:], hint="see git fsck")
        return done


def _locks(git_folder: Path) -> Iterator[Path]:
    """The locks in a repository at which nobody else works."""
    objects = str(git_folder / "objects")
    for place, folders, files in os.walk(git_folder):
        if place == objects:
            folders[:] = [name for name in folders if name in ("info", "pack")]  # loose ones are many, without locks
        yield from (Path(place, name) for name in files if name.endswith(".lock"))


def _fetch_problem(wanted: Wanted, done: process.Finished, folder: Path) -> CdError:
    address = without_credentials(wanted.address)
    return fetching.problem(done.stderr, address, wanted.full_ref, _HINTS, folder) or _Broken(
        f"{wanted.full_ref} cannot be fetched from {address}", details=done.stderr[-3:], hint="see git's own words"
    )
