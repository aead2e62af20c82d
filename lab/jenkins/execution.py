"""One build while it runs: its workspace, its shell steps, what it leaves, and how it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.files import replace_file
from lab.jenkins import processes
from lab.jenkins.credentials import Bound, MissingCredential, bind
from lab.jenkins.publish import Stepped, publish
from lab.jenkins.settings import Agent, Settings
from lab.jenkins.store import FINISHING, Build, Job

_FOR_EVER = 10 * 86400.0  # seconds; the job's own time limit ends a build, or nothing does


@dataclass(frozen=True)
class Place:
    """Where a build runs."""

    agent: Agent
    executor: int
    workspace: Path
    url: str
    server_cookie: str


class Execution(threading.Thread):
    """Runs a build to its end, and calls `ended` with whether it may be kept: what a stop catches is lost."""

    def __init__(
        self, settings: Settings, job: Job, build: Build, place: Place, ended: Callable[[Execution], None]
    ) -> None:
        super().__init__(name=f"{job.name}#{build.number}", daemon=True)
        self.job, self.build, self.place = job, build, place
        self.lost = False
        self._definition = job.definition
        self._settings = settings
        self._ended = ended
        self._cookie = uuid.uuid4().hex
        self._interrupted = ""  # the result that an interruption asks for
        self._told: list[str] = []
        self._interrupt = threading.Lock()
        self._hide: tuple[str, ...] = ()
        self._stepped = threading.Event()

    def run(self) -> None:
        """What the executor does."""
        with self.job.log(self.build.number).open("ab", buffering=0) as self._log:
            try:
                result = self._work()
            except Exception as problem:  # a defect of the stand-in ends the build, as one of Jenkins would
                self.say(f"FATAL: {type(problem).__name__}: {problem}")
                result = "FAILURE"
            self.build.seconds = time.time() - self.build.started
            self.build.result = result
            self.build.state = FINISHING
            time.sleep(self._settings.ending)
            self.say(f"Finished: {result}")
        self._ended(self)

    def interrupt(self, result: str, *told: str) -> None:
        """Ask it to end with `result`; returns at once."""
        with self._interrupt:
            if self._interrupted or self.build.result:
                return
            self._interrupted, self._told = result, list(told)
        threading.Thread(target=self._end, daemon=True).start()

    def lose(self) -> None:
        """The server stops: end the processes, and leave nothing."""
        self.lost = True
        processes.end(processes.COOKIE, self._cookie, 1.0)

    def say(self, line: str) -> None:
        """Add a line to the log, without what is secret."""
        for value in self._hide:
            line = line.replace(value, "****")
        self._log.write(line.encode("utf-8", "replace") + b"\n")

    def _end(self) -> None:
        processes.end(processes.COOKIE, self._cookie, self._settings.kill_after, gone=self._stepped.is_set)

    def _work(self) -> str:
        labels = " ".join(sorted(self.place.agent.labels))
        self.say(f"Started by user {self.build.user}")
        self.say("Running as SYSTEM")
        self.say(f"Building remotely on {self.place.agent.name} ({labels}) in workspace {self.place.workspace}")
        self.place.workspace.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=f"{self.place.workspace.name}@tmp-", dir=self.place.workspace.parent))
        timer = self._timer()
        try:
            result = self._steps(private)
        finally:
            self._stepped.set()
            if timer:
                timer.cancel()
            shutil.rmtree(private, ignore_errors=True)
        stepped = Stepped(self.build, self.place.workspace, self.job.archive(self.build.number), self.say)
        return publish(stepped, self._definition.publishers, result)

    def _steps(self, private: Path) -> str:
        try:
            bound = bind(self._definition.bindings, self._settings.credentials, private)
        except MissingCredential as problem:
            self.say(f"ERROR: {problem}")
            return "FAILURE"
        self._hide = bound.hidden
        for number, step in enumerate(self._definition.steps):
            status = self._shell(step, private / f"jenkins{number}.sh", bound)
            processes.end(processes.COOKIE, self._cookie, self._settings.kill_after)  # what the step left running
            with self._interrupt:
                if self._interrupted:
                    for line in self._told:
                        self.say(line)
                    return self._interrupted
            if status != 0:
                self.say("Build step 'Execute shell' marked build as failure")
                return "FAILURE"
        return "SUCCESS"

    def _shell(self, script: str, file: Path, bound: Bound) -> int:
        """Run one step as Jenkins does: by the interpreter that it names, or `/bin/sh -xe`."""
        replace_file(file, (script if script.startswith("#!") else script + "\n").encode(), 0o700)
        command = [str(file)] if script.startswith("#!") else ["/bin/sh", "-xe", str(file)]
        self.say(f"[{self.place.workspace.name}] $ {' '.join(command)}")
        # One pipe for both, as an agent has it: the trace of the shell stays beside the output that it announces.
        merged = ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *command]
        if self._interrupted:
            return 1
        try:
            done = process.run(merged, Deadline(_FOR_EVER), cwd=self.place.workspace,
                               env={**self._environment(), **bound.environment}, on_line=self.say)  # fmt: skip
        except CdError as problem:
            self.say(f"ERROR: {problem.message}")
            return 1
        return done.returncode

    def _environment(self) -> dict[str, str]:
        build, job, place = self.build, self.job, self.place
        job_url = f"{place.url}job/{job.name}/"
        return {
            **self._settings.environment,
            **place.agent.env,
            "CI": "true",
            "BUILD_NUMBER": str(build.number),
            "BUILD_ID": str(build.number),
            "BUILD_DISPLAY_NAME": f"#{build.number}",
            "BUILD_TAG": f"jenkins-{job.name}-{build.number}",
            "BUILD_URL": f"{job_url}{build.number}/",
            "JOB_NAME": job.name,
            "JOB_BASE_NAME": job.name,
            "JOB_URL": job_url,
            "JENKINS_URL": place.url,
            "NODE_NAME": place.agent.name,
            "NODE_LABELS": " ".join(sorted({place.agent.name, *place.agent.labels})),
            "EXECUTOR_NUMBER": str(place.executor),
            "WORKSPACE": str(place.workspace),
            "PWD": str(place.workspace),
            processes.COOKIE: self._cookie,
            processes.SERVER_COOKIE: place.server_cookie,
            **{name: str(v).lower() if isinstance(v, bool) else v for name, v in build.parameters.items()},
        }

    def _timer(self) -> threading.Timer | None:
        minutes = self._definition.timeout
        if not minutes:
            return None
        result, word = ("FAILURE", "failed") if self._definition.timeout_fails else ("ABORTED", "aborted")
        told = f"Build timed out (after {minutes} minutes). Marking the build as {word}."
        timer = threading.Timer(minutes * self._settings.minute, self.interrupt, (result, told, "Build was aborted"))
        timer.daemon = True
        timer.start()
        return timer


def plain_environment() -> None:
    """Leave of this process's environment what an agent's own would have; the rest is for settings to give."""
    kept = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    for name in [name for name in os.environ if name not in kept]:
        del os.environ[name]
