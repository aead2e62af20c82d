"""The lab's first process: it starts the servers, waits for each to serve, and says how they are.

It is process 1 of a pid namespace and a mount namespace of its own. When it goes, however it goes, the kernel
ends every process in there, shims and containers included, and drops every mount. It restarts nothing: a
server that died stays down, and `lab status` says so.

`lab up` runs it as `python -m lab.supervisor LAB_ROOT`; nobody calls it by hand.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.errors import CdError
from cdlib.units import timestamp
from lab import cgroups, network, processes, sandbox
from lab.layout import CLUSTER_CIDR, SERVICE_CIDR, Layout
from lab.loop.places import CLIENTS, STORES
from lab.plan import Plan, Server, has_containers, read, write_json
from lab.probes import serves

_TICK = 0.1  # seconds between two looks
_ORDERLY = 8.0  # seconds that servers get to write down what they hold; one is usual, four with Zuul
# The others keep nothing that they have not written.
_WRITERS = (CLIENTS, ("dockerd", "registry", "etcd", *STORES))


@dataclass
class _Entry:
    """One server as it goes through its states: waiting, starting, up (a job: done), failed, down."""

    server: Server
    state: str = "waiting"
    child: subprocess.Popen[bytes] | None = None
    started: datetime | None = None
    start: int = 0
    exit: int | None = None

    def describe(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "pid": self.child.pid if self.child else 0,
            "start": self.start,
            "since": timestamp(self.started) if self.started else "",
            "address": self.server.address,
            "exit": self.exit,
            "job": self.server.job,
        }


class Supervisor:
    """Starts a plan's servers in their order and watches over them."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        self._layout = layout
        self._entries = {server.name: _Entry(server) for server in plan.servers}
        self._ending = False
        self._shown: dict[str, Any] = {}
        self._problem = ""

    def prepare(self) -> None:
        """Set the stage: mounts, cgroups, links."""
        sandbox.enter(self._layout)
        cgroups.enter(self._layout.cgroup)
        if has_containers(self._entries):
            network.make(self._entries.keys())

    def serve(self) -> None:
        """Start and watch until a SIGTERM comes."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._end)
        while not self._ending:
            self._reap()
            self._heed_requests()
            for entry in self._entries.values():
                self._advance(entry)
            self.show()
            time.sleep(_TICK)

    def show(self, problem: str = "") -> None:
        """Write the status file where something has changed."""
        self._problem = problem or self._problem
        servers = {name: entry.describe() for name, entry in self._entries.items()}
        space = processes.namespace("self")
        status = {"namespace": space, "heeds_requests": True, "problem": self._problem, "servers": servers}
        if status != self._shown:
            # On a full disk the servers go on, and this is tried again with the next look.
            with contextlib.suppress(OSError):
                write_json(self._layout.status, status)
                self._shown = status

    def stop(self) -> None:
        """Let those that write end in order, each before what it writes to; the kernel ends the rest with us."""
        end = time.monotonic() + _ORDERLY
        for names in _WRITERS:
            writers = [e for name in names if (e := self._entries.get(name)) and e.state in ("up", "starting")]
            for entry in writers:
                if entry.child:
                    os.kill(entry.child.pid, signal.SIGTERM)
            while time.monotonic() < end and any(entry.exit is None for entry in writers):
                self._reap()
                time.sleep(0.05)

    def _end(self, *_: object) -> None:
        self._ending = True

    def _heed_requests(self) -> None:
        """Start the servers that somebody asks for: new ones of the plan, and those that are down."""
        for request in sorted(self._layout.requests.glob("*")):
            known = self._entries.get(request.name)
            if known is None or known.state in ("down", "failed", "done"):
                planned = {server.name: server for server in read(self._layout.plan).servers}
                if server := planned.get(request.name):
                    self._entries[request.name] = _Entry(server)
                    self.show()  # before the request goes, or who waits for it would take the old state for the new
            request.unlink(missing_ok=True)

    def _advance(self, entry: _Entry) -> None:
        if entry.state == "waiting" and all(self._served(name) for name in entry.server.after):
            self._start(entry)
        elif entry.state == "starting" and not entry.server.job:
            assert entry.started is not None
            if serves(entry.server, entry.started):
                entry.state = "up"

    def _served(self, name: str) -> bool:
        entry = self._entries.get(name)  # none while what was added to the plan is still being asked for
        return entry is not None and entry.state in ("up", "done")

    def _start(self, entry: _Entry) -> None:
        server = entry.server
        log = self._layout.log(server.name)
        if log.exists():
            log.replace(log.with_suffix(".old.log"))
        entry.started = datetime.now(UTC)
        try:
            entry.child = process.start(server.argv, log, env={**_environment(), **server.env})
        except CdError as problem:
            log.write_text(f"{problem.message}; {problem.hint}\n")
            entry.state = "failed"
            return
        found = processes.known(entry.child.pid)
        entry.start, entry.state = found.start if found else 0, "starting"

    def _reap(self) -> None:
        """Take note of every process that has ended; as process 1 we inherit the orphans too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for entry in self._entries.values():
                if entry.child and entry.child.pid == pid and entry.exit is None:
                    self._ended(entry, os.waitstatus_to_exitcode(status))

    @staticmethod
    def _ended(entry: _Entry, code: int) -> None:
        assert entry.child is not None
        entry.child.returncode = entry.exit = code
        if entry.server.job and code == 0:
            entry.state = "done"
        else:
            entry.state = "failed" if entry.state == "starting" else "down"


def _environment() -> dict[str, str]:
    """A proxy for the way out is not for the lab's own addresses."""
    own = f"localhost,127.0.0.1,{CLUSTER_CIDR},{SERVICE_CIDR},.svc"
    named = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    both = f"{named},{own}" if named else own
    return {"NO_PROXY": both, "no_proxy": both, "PATH": sandbox.path()}


def main(root: str) -> int:
    """Run the lab below `root` until SIGTERM, or until this process is killed."""
    if sys.stdin.readline().strip() != "go":
        return 1  # whoever started us died before it had written down who we are
    os.chdir("/")  # whoever started us may want to remove or unmount the folder it stood in
    layout = Layout(Path(root))
    supervisor = Supervisor(layout, read(layout.plan))
    try:
        supervisor.prepare()
    except (CdError, OSError, shutil.Error) as problem:
        details = "; ".join((str(problem), *getattr(problem, "details", ())))
        supervisor.show(problem=details)
        return 1
    try:
        supervisor.serve()
    finally:
        supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
