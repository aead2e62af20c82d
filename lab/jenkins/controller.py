"""The server's state and its scheduler: jobs, queue, executors, and what a stop or a kill leaves of them."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from pathlib import Path

from lab.jenkins import processes
from lab.jenkins.execution import Execution, Place
from lab.jenkins.queue import BLOCKED, BUILDABLE, WAITING, Item, Queue
from lab.jenkins.settings import Agent, Settings
from lab.jenkins.store import Build, Job, Store, Value


class Controller:
    """One server over one home folder. `lock` guards all of it."""

    def __init__(self, home: Path, settings: Settings, url: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.settings, self.url = home, settings, url
        self.lock = threading.Condition(threading.RLock())
        self.session = uuid.uuid4().hex[:8]
        self.store = Store(home)
        self.queue = Queue(settings.queue_memory)
        self.running: dict[tuple[str, int], Execution] = {}
        self.quieting = False
        self.ready_at = time.monotonic() + settings.starting
        self._stopping = False
        self._cookie = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:32]

    def start(self) -> None:
        """End what an earlier life left running, find its queue, and begin to build."""
        processes.end(processes.SERVER_COOKIE, self._cookie, self.settings.kill_after)
        self.queue.load(self.home / "queue.json")
        threading.Thread(target=self._schedule, daemon=True).start()

    def stop(self) -> None:
        """A clean stop: what runs is lost, what waits is kept."""
        with self.lock:
            self._stopping = True
            self.queue.save(self.home / "queue.json")
            lost = list(self.running.values())
            for execution in lost:
                execution.lost = True
            self.lock.notify_all()
        for execution in lost:
            execution.lose()

    @property
    def ready(self) -> bool:
        """Whether it has started; until then it shows a page that says so."""
        return time.monotonic() >= self.ready_at

    def trigger(self, job: Job, parameters: dict[str, Value], user: str, delay: float) -> tuple[Item, bool]:
        """An item for a build of `job`, and whether it was there already."""
        with self.lock:
            before = {item.id for item in self.queue.waiting()}
            secret = [p.name for p in job.definition.parameters if p.kind == "Password"]
            item = self.queue.add(job.name, parameters, secret, user, delay)
            self.lock.notify_all()
            return item, item.id in before

    def cancel(self, item: Item) -> bool:
        """Cancel an item; false where it has left already."""
        with self.lock:
            if item not in list(self.queue.waiting()):
                return False
            self.queue.leave(item, None)
            return True

    def interrupt(self, job: str, number: int, user: str) -> None:
        """Ask a build to stop, if it runs."""
        with self.lock:
            execution = self.running.get((job, number))
        if execution:
            execution.interrupt("ABORTED", "Build was aborted", f"Aborted by {user}")

    def wake(self) -> None:
        """Look at the queue again."""
        with self.lock:
            self.lock.notify_all()

    def _schedule(self) -> None:
        with self.lock:
            while not self._stopping:
                for item in self.queue.waiting():
                    self._advance(item)
                due = [item.due - time.time() for item in self.queue.waiting() if item.state == WAITING]
                self.lock.wait(max(0.001, min([1.0, *due])))

    def _advance(self, item: Item) -> None:
        """Move one item as far as it can go."""
        job = self.store.jobs.get(item.job)
        if job is None:
            self.queue.leave(item, None)
            return
        wait = item.due - time.time()
        if wait > 0:
            item.why = f"In the quiet period. Expires in {wait:.1f} sec"
            return
        busy = [number for name, number in self.running if name == job.name]
        if busy and not job.definition.concurrent:
            item.state, item.why = BLOCKED, f"Build #{busy[0]} is already in progress (ETA: N/A)"
            return
        item.state = BUILDABLE
        label = job.definition.label
        fitting = [a for a in self.settings.agents if not label or label == a.name or label in a.labels]
        free = next((agent for agent in fitting if self._free(agent)), None)
        item.stuck = not fitting
        if self.quieting:
            item.why = "Jenkins is about to shut down"
        elif not fitting:
            item.why = f"There are no nodes with the label ‘{label}’"
        elif free is None:
            item.why = f"Waiting for next available executor on ‘{label}’"
        else:
            self._run(item, job, free)

    def _free(self, agent: Agent) -> list[int]:
        taken = {e.place.executor for e in self.running.values() if e.place.agent == agent}
        return [number for number in range(agent.executors) if number not in taken]

    def _run(self, item: Item, job: Job, agent: Agent) -> None:
        build = Build(job.next_number, item.id, item.parameters, item.secret, item.user, agent.name)
        job.begin(build)
        place = Place(agent, self._free(agent)[0], self._workspace(agent, job), self.url, self._cookie)
        execution = Execution(self.settings, job, build, place, self._ended)
        self.running[job.name, build.number] = execution
        self.queue.leave(item, build.number)
        execution.start()

    def _workspace(self, agent: Agent, job: Job) -> Path:
        """A folder that no other running build has; the second of a job gets `@2`, as in Jenkins."""
        taken = {e.place.workspace for e in self.running.values()}
        folder, number = self.home / "agents" / agent.name / "workspace" / job.name, 1
        while folder in taken:
            number += 1
            folder = folder.with_name(f"{job.name}@{number}")
        return folder

    def _ended(self, execution: Execution) -> None:
        with self.lock:
            self.running.pop((execution.job.name, execution.build.number), None)
            if not execution.lost and execution.build.number in execution.job.builds:
                execution.job.keep(execution.build)
            self.lock.notify_all()
