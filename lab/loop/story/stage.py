"""What the scenes share: the people, what they see of the servers, and how it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cdlib import process
from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.jenkins.builds import Build, recent
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import read_job
from lab.loop.actors import Author, Change, Loop, build_log, until
from lab.loop.places import PRODUCTION

T = TypeVar("T")
SERVICE = "hello"
PATIENCE = 180.0  # seconds for any one thing that is waited for


@dataclass(frozen=True)
class Taken:
    """A time that was taken: of what, from when to when, in seconds since the epoch."""

    what: str
    start: float
    end: float


@dataclass
class Story:
    """The lab with its loop, alice's clone of the service, and the times that were taken."""

    loop: Loop
    alice: Author
    jenkins: Server
    console: Console
    folder: Path
    deadline: Deadline
    started: float = field(default_factory=time.monotonic)
    times: list[Taken] = field(default_factory=list)
    versions: int = 0
    newest: Change = field(default=None)  # type: ignore[assignment]

    def version(self) -> str:
        """A version that no run before this had: everything is really built."""
        self.versions += 1
        return f"{int(time.time()) % 10_000_000}.{self.versions}"

    def title(self, text: str) -> None:
        """Begin a scene."""
        self.console.line("", "", "")
        self.console.line("bold", text, "")

    def tell(self, text: str) -> None:
        """Say what has happened, with the seconds since the beginning."""
        self.console.line("", f"{time.monotonic() - self.started:6.1f} s  ", text)

    def quote(self, text: str, most: int = 8) -> None:
        """Show the first lines of a comment."""
        lines = [line for line in text.splitlines() if line.strip()]
        for line in [*lines[:most], *(["…"] if len(lines) > most else [])]:
            self.console.line("dim", " " * 12, line)

    def took(self, what: str, began: float) -> None:
        """Note and tell the seconds since `began`, a time.monotonic(), of something that people wait for."""
        seconds, now = time.monotonic() - began, time.time()
        self.times.append(Taken(what, now - seconds, now))
        self.tell(f"{what}: {seconds:.1f} s")

    def require(self, holds: object, surprise: str) -> None:
        """End the story where something is not as it should be."""
        if not holds:
            raise CdError(surprise, hint="look at the change, at Zuul's builds, and at: python -m lab logs jenkins")

    def push(self, message: str, files: Mapping[str, str]) -> Change:
        """alice pushes a change."""
        change = self.alice.push(message, files)
        self.tell(f"alice pushes change {change.number}: {message}")
        return change

    def approve(self, change: Change) -> None:
        """bob approves a change: the one thing that a person does."""
        self.console.line("bold", "$ ", f"cd-approve {change.number} -e {PRODUCTION}")
        self.tell(f"bob: {change.sign()}")

    def deploy_again(self) -> None:
        """An operator has what the branch has by now authorized and deployed."""
        for stage in ("authorize", "deploy"):
            self.command("jenkins-run", "--job", f"{SERVICE}-{stage}", "--param", "ZUUL_PIPELINE=postmerge")

    def builds(self, stage: str) -> list[Build]:
        """The newest builds of one of the service's Jenkins jobs, the newest first."""
        job = read_job(self.jenkins, f"{SERVICE}-{stage}", self.deadline)
        return recent(self.jenkins, job, self.deadline)

    def last(self, stage: str) -> int:
        """The number of the newest build of one of the service's Jenkins jobs; 0 where it has none."""
        return next((build.number for build in self.builds(stage)), 0)

    def started_after(self, stage: str, number: int) -> Build:
        """The first build after `number`, once there is one."""

        def begun() -> Build | None:
            return next((build for build in reversed(self.builds(stage)) if build.number > number), None)

        found = self.until(begun, f"a build of {SERVICE}-{stage} after #{number}")
        assert found is not None
        return found

    def ended(self, stage: str, number: int) -> Build:
        """A build, once it has ended."""

        def over() -> Build | None:
            return next((b for b in self.builds(stage) if b.number == number and not b.running and b.result), None)

        found = self.until(over, f"the end of {SERVICE}-{stage} #{number}")
        assert found is not None
        return found

    def says(self, stage: str, number: int, text: str) -> None:
        """Wait until a build's log has `text`."""
        job = read_job(self.jenkins, f"{SERVICE}-{stage}", self.deadline)
        self.until(lambda: text in build_log(self.jenkins, job, number), f"{text!r} from {SERVICE}-{stage} #{number}")

    def result(self, build: Build) -> dict[str, Any]:
        """The cd-result.json that a build left behind; empty where it has none."""
        path = next((each for each in build.artifacts if each.endswith("cd-result.json")), "")
        if not path:
            return {}
        where = build.url.removeprefix(self.jenkins.url) + f"artifact/{path}"
        found: dict[str, Any] = self.jenkins.read(where, "reading a build's result", self.deadline) or {}
        return found

    def comment(self, change: Change, *parts: str, author: str = "Deploys") -> str:
        """The comment of `author` that has all `parts`, once it is there."""

        def said() -> str:
            return next((m for m in reversed(change.messages(author)) if all(part in m for part in parts)), "")

        return until(said, f"a comment on change {change.number} with {' and '.join(parts)}", PATIENCE)

    def kubectl(self, *words: str) -> str:
        """What kubectl prints. Raises CdError."""
        done = process.run(("kubectl", *words), self.deadline, env=self.loop.lab.env)
        if not done.ok:
            raise CdError(f"kubectl {words[0]} failed", details=done.stderr[-4:])
        return done.stdout

    def serving(self) -> dict[str, str]:
        """What the service answers right now; empty where it does not."""
        try:
            said = self.kubectl("get", "--raw", f"/api/v1/namespaces/{SERVICE}/services/{SERVICE}:80/proxy/")
            found: dict[str, str] = json.loads(said)
        except CdError:
            return {}
        except ValueError:
            return {}
        return found

    def wait_serving(self, commit: str) -> None:
        """Wait until the service answers with this commit."""
        until(lambda: self.serving().get("revision") == commit, f"{SERVICE} serving {commit[:12]}", PATIENCE)

    def command(self, *argv: str, expect: int = 0) -> dict[str, Any]:
        """Run one of cdlib's commands as an operator does, printed as typed, and return its result."""
        self.console.line("bold", "$ ", " ".join(argv))
        done = self.loop.command(*argv, out=self.folder / "operator", deadline=self.deadline)
        if done.returncode != expect:
            raise CdError(
                f"{argv[0]} ended with status {done.returncode}, and not with {expect}", details=done.stderr[-15:]
            )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def until(self, found: Callable[[], T], what: str) -> T:
        """What `found` returns once it is something."""
        return until(found, what, PATIENCE)
