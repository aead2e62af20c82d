"""A service in the loop: made for a test, changed by alice, and looked at in Jenkins, Zuul, the registry and the cluster."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.jenkins.artifacts import RESULT
from cdlib.jenkins.builds import Build, recent
from cdlib.jenkins.http import Server
from cdlib.jenkins.jobs import Job, read_job
from lab.loop.actors import build_log
from lab.loop.places import CHECKOUT, NODES, PRODUCTION
from lab.loop.testing import Author, Loop, until

STAGES = ("check", "gate", "authorize", "deploy")
SLOW = "import time\n\n\ndef test_slow() -> None:\n    time.sleep({seconds})\n"
BAD = "def test_sum() -> None:\n    assert 1 + 1 == 3\n"


@dataclass(frozen=True)
class Service:
    """A service of the tests' own, whose name is that of its project, its release and its namespace."""

    loop: Loop
    name: str

    @classmethod
    def add(cls, loop: Loop, scratch: Path, template: str = "cd-service") -> Service:
        """A service made of the sample service, with one of Zuul's templates."""
        name = f"s-{secrets.token_hex(4)}"
        folder = scratch / name
        left_out = shutil.ignore_patterns("__pycache__", ".cd", ".pytest_cache")
        shutil.copytree(CHECKOUT / "examples" / "hello", folder, ignore=left_out)
        edits = (("cd.yaml", "service: hello", f"service: {name}"), (".zuul.yaml", "cd-service", template))
        for file, was, now in edits:
            (folder / file).write_text((folder / file).read_text().replace(was, now))
        nodes = template == "cd-service-on-nodes"
        return cls(loop, loop.add_project(folder, name, NODES if nodes else PRODUCTION))

    def clone(self, folder: Path) -> Author:
        """alice's clone of it."""
        return self.loop.clone(self.name, folder)

    def file(self, name: str, was: str, now: str) -> dict[str, str]:
        """One of the sample service's files, changed, for a push."""
        text = (CHECKOUT / "examples" / "hello" / name).read_text().replace("service: hello", f"service: {self.name}")
        assert was in text, f"{name} has no {was!r}"
        return {name: text.replace(was, now)}

    def kubectl(self, *words: str) -> str:
        """What kubectl prints."""
        argv = ["kubectl", "--namespace", self.name, *words]
        done = process.run(argv, Deadline(30, "kubectl"), env=self.loop.lab.env)
        if not done.ok:
            raise CdError(f"kubectl {words[0]} failed", details=done.stderr[-4:])
        return done.stdout

    def answer(self) -> dict[str, str]:
        """What it answers."""
        where = f"/api/v1/namespaces/{self.name}/services/{self.name}:80/proxy/"
        return dict(json.loads(self.kubectl("get", "--raw", where)))

    def record(self) -> list[dict[str, Any]]:
        """The revisions in its release record, oldest first; none where nothing was deployed."""
        found = json.loads(
            self.kubectl("get", "configmap", f"cd-{self.name}", "--ignore-not-found", "-o", "json") or "{}"
        )
        return list(json.loads(found["data"]["record.json"])["revisions"]) if found else []

    def builds(self, stage: str) -> list[Build]:
        """The builds of one of its Jenkins jobs, the newest first."""
        deadline = Deadline(60, "asking Jenkins")
        return recent(self.jenkins, self.job(stage), deadline)

    def started(self, stage: str, after: int = 0) -> int:
        """The number of the first build after `after`, once there is one."""

        def begun() -> int:
            return min((build.number for build in self.builds(stage) if build.number > after), default=0)

        return until(begun, f"a build of {self.name}-{stage} after #{after}")

    def last(self, stage: str) -> int:
        """The number of the newest build; 0 where there is none."""
        return next((build.number for build in self.builds(stage)), 0)

    def log(self, stage: str, number: int) -> str:
        """A build's log, as far as there is one."""
        return build_log(self.jenkins, self.job(stage), number)

    def says(self, stage: str, number: int, text: str) -> None:
        """Wait until a build's log has `text`: the moment for a fault."""
        what = f"{text!r} in the log of {self.name}-{stage} #{number}"
        until(lambda: text in self.log(stage, number), what)

    def result(self, stage: str, number: int, path: str = f".cd/{RESULT}") -> dict[str, Any]:
        """A JSON file that a build has archived."""
        where = f"{self.job(stage).path}/{number}/artifact/{path}"
        return self.jenkins.read(where, "reading an artifact", Deadline(30, "reading an artifact")) or {}

    def operate(self, stage: str, code: int = 0, /, **parameters: str) -> dict[str, Any]:
        """Have one of its Jenkins jobs run, as an operator does, to its end with `code`.

        What its command made, or why it failed.
        """
        words = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        argv = ["jenkins-run", "--job", f"{self.name}-{stage}", *words]
        with tempfile.TemporaryDirectory() as out:
            done = self.loop.command(*argv, out=Path(out), deadline=Deadline(240, "jenkins-run"))
        assert done.returncode == code, done.stderr[-20:]
        made: dict[str, Any] = json.loads(done.stdout)
        return made["job_result"] if done.ok else made

    def busy(self) -> list[str]:
        """What of it runs or waits in Jenkins."""
        queue = self.jenkins.read("queue/api/json", "looking at the queue", Deadline(30, "asking Jenkins")) or {}
        waiting = [item["task"]["name"] for item in queue.get("items", ()) if self.name in item["task"]["name"]]
        running = [(stage, build.number) for stage in STAGES for build in self.builds(stage) if build.running]
        return [*(f"{name} waits" for name in waiting), *(f"{stage} #{number} runs" for stage, number in running)]

    @property
    def jenkins(self) -> Server:
        """The lab's Jenkins, as an operator sees it."""
        return Server(**self.loop.jenkins())

    def job(self, stage: str) -> Job:
        """One of its Jenkins jobs."""
        return read_job(self.jenkins, f"{self.name}-{stage}", Deadline(60, "asking Jenkins"))
