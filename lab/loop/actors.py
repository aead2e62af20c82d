"""The people of the loop and what they see: projects, changes, votes and builds.

Everything is looked at from outside, as a developer's browser and Zuul's dashboard do. The story and the tests of
the loop are made of these.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import requests

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.jenkins.follow import Log
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import Job
from lab.loop import config, identity, projects
from lab.loop.places import CHECKOUT, GERRIT_URL, PRODUCTION, TENANT, ZUUL_URL, Places
from lab.loop.rest import Rest, rest

T = TypeVar("T")
_PATIENCE = 240.0  # seconds for what Zuul does; a few are usual
_BIN = CHECKOUT / ".venv" / "bin"


def until(found: Callable[[], T], what: str, seconds: float = _PATIENCE) -> T:
    """What `found` returns once it is something. Raises CdError after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > end:
            raise CdError(f"{what}: not within {seconds:g} s", hint=f"look at {ZUUL_URL}, and at the logs of the lab")
        time.sleep(0.1)
    return value


def build_log(jenkins: Server, job: Job, number: int) -> str:
    """A Jenkins build's log, as far as there is one."""
    lines: list[str] = []
    log = Log(jenkins, job, number, lines.append)
    log.advance(Deadline(30, "reading a log"))
    log.end()
    return "\n".join(lines)


@dataclass(frozen=True)
class Change:
    """A change in Gerrit, as alice sees it."""

    number: int
    places: Places

    def detail(self) -> dict[str, Any]:
        """Gerrit's record of the change, with votes and messages."""
        found: dict[str, Any] = rest(self.places, "alice").get(f"changes/{self.number}/detail")
        return found

    @property
    def status(self) -> str:
        """NEW, MERGED or ABANDONED."""
        return str(self.detail()["status"])

    @property
    def patchset(self) -> int:
        """The newest patchset."""
        return int(self.detail()["current_revision_number"])

    @property
    def verified(self) -> int:
        """Zuul's vote; 0 where it has none."""
        votes = self.detail()["labels"]["Verified"].get("all", [])
        return next((int(vote["value"]) for vote in votes if vote.get("username") == "zuul"), 0)

    def messages(self, author: str = "Zuul") -> list[str]:
        """What an account has said, by its full name."""
        said = self.detail()["messages"]
        return [entry["message"] for entry in said if entry.get("author", {}).get("name") == author]

    def comment(self, text: str, user: str = "alice") -> None:
        """Say something, as `recheck`."""
        self._review(user, {"message": text})

    def vote(self, value: int, user: str = "bob") -> None:
        """Vote on Code-Review. A bare +2 merges, and goes nowhere that asks for a signature."""
        self._review(user, {"labels": {"Code-Review": value}})

    def sign(self, user: str = "bob", environment: str = PRODUCTION) -> str:
        """Approve it by cd-approve: a signature, and Code-Review +2 where it is open. Returns what was said.

        Raises CdError.
        """
        project = self.detail()["project"]
        where = ("--project", project, "--remote", projects.url(user, project), "-e", environment)
        options = (*where, "--key", str(self.places.ssh_key(user)), "--out", ".cd", "--yes")
        env = {
            **projects.environment(self.places, user),
            "CD_GERRIT_URL": GERRIT_URL,
            "CD_GERRIT_USER": user,
            "CD_GERRIT_PASSWORD": identity.password(self.places, user),
            "CD_DRY_RUN": "",
        }
        with tempfile.TemporaryDirectory(prefix="cdlab-") as clone:
            git = projects.Git(self.places, user, Path(clone))
            git("init", "--quiet", "--template=")
            words = [str(Path(sys.prefix) / "bin" / "cd-approve"), str(self.number), *options]
            done = process.run(words, Deadline(_PATIENCE, "cd-approve"), cwd=git.folder, env=env)
        if not done.ok:
            raise CdError(f"cd-approve ended with status {done.returncode}", details=done.stderr[-8:])
        return done.stdout.strip()

    def abandon(self) -> None:
        """Give it up."""
        rest(self.places, "alice").post(f"changes/{self.number}/abandon", {})

    def wait_vote(self, vote: int, seconds: float = _PATIENCE) -> None:
        """Wait for Zuul's vote. Raises CdError at once where it is another one than `vote`."""

        def voted() -> int:
            found = self.verified
            if found not in (0, vote):
                raise CdError(f"Verified {found:+d} instead of {vote:+d}", details=self.messages()[-1].splitlines())
            return found

        until(voted, f"Verified {vote:+d} on change {self.number}", seconds)

    def wait_merged(self, seconds: float = _PATIENCE) -> str:
        """Wait until it is merged; returns the branch's commit."""
        until(lambda: self.status == "MERGED", f"change {self.number} merged", seconds)
        return projects.head(self.places, self.detail()["project"])

    def _review(self, user: str, body: Mapping[str, object]) -> None:
        rest(self.places, user).post(f"changes/{self.number}/revisions/current/review", body)


@dataclass(frozen=True)
class Author:
    """Somebody's clone of a project."""

    git: projects.Git
    places: Places
    project: str

    def push(self, message: str, files: Mapping[str, str], *, base: str = "origin/master", topic: str = "") -> Change:
        """Push a new change with these files, on top of `base`."""
        self.git("fetch", "--quiet", "origin")
        self.git("checkout", "--quiet", "--detach", base)
        change_id = f"I{hashlib.sha1(secrets.token_bytes(20)).hexdigest()}"
        return self._push(f"{message}\n\nChange-Id: {change_id}", files, topic)

    def amend(self, files: Mapping[str, str]) -> Change:
        """Push another patchset of the change that was pushed last."""
        return self._push("", files)

    def _push(self, message: str, files: Mapping[str, str], topic: str = "") -> Change:
        for name, text in files.items():
            path = self.git.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", *(["--message", message] if message else ["--amend", "--no-edit"]))
        self.git("push", "--quiet", "origin", "HEAD:refs/for/master" + (f"%topic={topic}" if topic else ""))
        commit = self.git("rev-parse", "HEAD")
        found = rest(self.places, "alice").get("changes/", q=f"commit:{commit}")
        return Change(int(found[0]["_number"]), self.places)


class Lab(Protocol):
    """The lab while it is up: what a program needs to use it is in `env`."""

    @property
    def env(self) -> Mapping[str, str]:
        """To be added to the environment."""
        ...


@dataclass(frozen=True)
class Loop:
    """The lab with its loop while it is up."""

    lab: Lab
    places: Places
    added: list[str] = field(default_factory=list)

    def gerrit(self, user: str = "alice") -> Rest:
        """Gerrit, as one of the lab's accounts."""
        return rest(self.places, user)

    def add_project(self, folder: Path, name: str = "", environment: str = PRODUCTION) -> str:
        """Make a project that starts with the files in `folder`, and let Zuul work for it; returns its name.

        One with a cd.yaml is a service, which must have the project's name; `environment` is where it is deployed to.
        """
        name = name or f"t-{secrets.token_hex(4)}"
        config.add_project(self.places, name, folder, environment)
        self.added.append(name)
        return name

    def clone(self, project: str, folder: Path, user: str = "alice") -> Author:
        """Clone a project into `folder`, as `user`."""
        folder.mkdir(parents=True)
        git = projects.Git(self.places, user, folder)
        git("clone", "--quiet", projects.url(user, project), ".")
        return Author(git, self.places, project)

    def builds(self, **wanted: object) -> list[dict[str, Any]]:
        """Zuul's builds, the newest first: those that have ended, or run, as its dashboard lists them."""
        answer = requests.get(f"{ZUUL_URL}/api/tenant/{TENANT}/builds", params=wanted, timeout=30)  # type: ignore[arg-type]
        answer.raise_for_status()
        return list(answer.json())

    def wait_build(self, seconds: float = _PATIENCE, **wanted: object) -> dict[str, Any]:
        """The newest build of these, once it has a result."""

        def ended() -> dict[str, Any] | None:
            return next((build for build in self.builds(**wanted) if build["result"]), None)

        return until(ended, f"a build of {wanted}", seconds) or {}

    def config_errors(self) -> list[dict[str, Any]]:
        """What Zuul finds wrong with the tenant's configuration."""
        answer = requests.get(f"{ZUUL_URL}/api/tenant/{TENANT}/config-errors", timeout=30)
        answer.raise_for_status()
        return list(answer.json())

    def command(self, *argv: str, out: Path, deadline: Deadline) -> process.Finished:
        """Run one of cdlib's commands as an operator does: its files are left in `out`, its result on stdout."""
        words = [str(_BIN / argv[0]), "--json", "--out", str(out), *argv[1:]]
        env = {**self.lab.env, **self.operator, "CD_TARGETS": str(self.places.targets)}
        return process.run(words, deadline, env=env)

    @property
    def operator(self) -> dict[str, str]:
        """How an operator reaches Jenkins: the variables that jenkins-run reads."""
        env = {**os.environ, **self.lab.env}
        names = ("JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN", "JENKINS_TOKEN_FILE")
        return {name: env[name] for name in names if name in env}

    def jenkins(self) -> dict[str, Any]:
        """The same as url, user and token."""
        env = self.operator
        file = env.get("JENKINS_TOKEN_FILE")
        token = Path(file).read_text().strip() if file else env.get("JENKINS_TOKEN", "")
        return {"url": env["JENKINS_URL"], "user": env.get("JENKINS_USER", ""), "token": token}
