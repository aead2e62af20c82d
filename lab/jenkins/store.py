"""Jobs and builds as they lie in the home folder, so that a restart finds what Jenkins would find.

A build is written down when it has ended. One that ran when the server stopped is lost, and its number is spent.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab.jenkins.definition import Definition, define

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. @+-]*\Z")
Value = str | bool
BUILDING, FINISHING, DONE = "building", "finishing", "done"


@dataclass
class Build:
    """One build. Times are seconds since the epoch. `secret` names parameters whose values are not shown."""

    number: int
    queue_id: int
    parameters: dict[str, Value]
    secret: list[str]
    user: str
    node: str
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    result: str | None = None
    state: str = BUILDING
    artifacts: list[str] = field(default_factory=list)
    tests: dict[str, Any] | None = None


class Job:
    """One job: its definition, its builds, and its folder."""

    def __init__(self, name: str, folder: Path, config: bytes) -> None:
        self.name = name
        self.folder = folder
        self.builds: dict[int, Build] = {}
        self.configure(config)

    def configure(self, config: bytes) -> None:
        """Take a new definition. Raises Unknown, and keeps the old one, where it has what nobody knows here."""
        self.definition: Definition = define(config)
        self.config = config
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.xml").write_bytes(config)

    def disable(self, disabled: bool) -> None:
        """Switch the job off or on."""
        plain = re.sub(rb"\s*<disabled>\w*</disabled>", b"", self.config)
        word = b"true" if disabled else b"false"
        self.configure(plain.replace(b"</project>", b"<disabled>" + word + b"</disabled></project>"))

    @property
    def next_number(self) -> int:
        """The number of the next build."""
        file = self.folder / "nextBuildNumber"
        return int(file.read_text()) if file.exists() else 1

    def place(self, number: int) -> Path:
        """The folder of a build."""
        return self.folder / "builds" / str(number)

    def log(self, number: int) -> Path:
        """The log of a build."""
        return self.place(number) / "log"

    def archive(self, number: int) -> Path:
        """The folder of what a build has archived."""
        return self.place(number) / "archive"

    def begin(self, build: Build) -> None:
        """Spend the build's number, and make room for it."""
        (self.folder / "nextBuildNumber").write_text(str(build.number + 1))
        self.place(build.number).mkdir(parents=True, exist_ok=True)
        self.log(build.number).touch()
        self.builds[build.number] = build

    def keep(self, build: Build) -> None:
        """Write a build down that has ended, and discard what is too old."""
        build.state = DONE
        hidden = {**asdict(build), "parameters": {k: v for k, v in build.parameters.items() if k not in build.secret}}
        (self.place(build.number) / "build.json").write_text(json.dumps(hidden))
        self._discard()

    def delete(self, number: int) -> None:
        """Forget a build."""
        del self.builds[number]
        shutil.rmtree(self.place(number))

    def load(self) -> None:
        """Find the builds that were written down; what is left of others goes."""
        for place in (self.folder / "builds").glob("*"):
            file = place / "build.json"
            if file.exists():
                build = Build(**json.loads(file.read_text()))
                self.builds[build.number] = build
            else:
                shutil.rmtree(place)

    def _discard(self) -> None:
        """Discard as LogRotator does: the last good build stays, and what runs stays."""
        newest_first = sorted((b for b in self.builds.values() if b.state == DONE), key=lambda b: -b.number)
        good = next((b.number for b in newest_first if b.result == "SUCCESS"), 0)
        many, old = self.definition.keep_builds, time.time() - self.definition.keep_days * 86400
        for position, build in enumerate(newest_first):
            too_many = many >= 0 and position >= many
            too_old = self.definition.keep_days >= 0 and build.started < old
            if (too_many or too_old) and build.number != good:
                self.delete(build.number)


class Store:
    """All jobs below `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.jobs: dict[str, Job] = {}
        for config in sorted(home.glob("jobs/*/config.xml")):
            job = Job(config.parent.name, config.parent, config.read_bytes())
            job.load()
            self.jobs[job.name] = job

    def create(self, name: str, config: bytes) -> Job:
        """A new job. Raises ValueError for a bad name or one that is taken, Unknown for its definition."""
        if not NAME.match(name) or name in self.jobs:
            raise ValueError(f"A job already exists with the name ‘{name}’" if name in self.jobs else "Unsafe name")
        define(config)  # before anything is written
        self.jobs[name] = Job(name, self.home / "jobs" / name, config)
        return self.jobs[name]

    def delete(self, name: str) -> None:
        """Delete a job with all of its builds."""
        shutil.rmtree(self.jobs.pop(name).folder)
