"""What tests need of the stand-in: one in this process, one in a process of its own, and small jobs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import requests
import yaml

from cdlib import process
from lab.jenkins.controller import Controller
from lab.jenkins.server import Server
from lab.jenkins.settings import Agent, Settings, User
from lab.testing import free_port

ADMIN = User("admin", password="admin-password", token="admin-token-1")
QUICK = Settings(
    users=(ADMIN,),
    agents=(Agent("one", frozenset({"one", "both"}), 4), Agent("two", frozenset({"two", "both"}), 1)),
    quiet_period=0.0,
    ending=0.0,
    kill_after=2.0,
)
_LIMIT = 60.0  # seconds for anything that a test waits for


def wait_for(what: Callable[[], Any], seconds: float = _LIMIT) -> Any:
    """What `what` returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"did not come true within {seconds:g} s"
        time.sleep(0.01)
    return found


def freestyle(
    *scripts: str,
    parameters: Sequence[str] = (),
    label: str = "",
    concurrent: bool = False,
    more: Mapping[str, str] | None = None,
) -> bytes:
    """The config.xml of a job that runs the scripts. A parameter `NAME=default`; `NAME=true` is a boolean, `NAME=a|b`
    a choice, `NAME!` a password. `more` gives XML for `publishers`, `buildWrappers` and `properties`."""
    declared = "".join(_parameter(entry) for entry in parameters)
    if declared:
        declared = _in("hudson.model.ParametersDefinitionProperty", _in("parameterDefinitions", declared))
    steps = "".join(_in("hudson.tasks.Shell", _in("command", escape(script))) for script in scripts)
    extra = dict(more or {})
    properties = declared + extra.pop("properties", "")
    sections = "".join(_in(name, inner) for name, inner in extra.items())
    node = f"<assignedNode>{label}</assignedNode>" if label else ""
    return (
        f"<project><description/><concurrentBuild>{str(concurrent).lower()}</concurrentBuild>{node}"
        f"<properties>{properties}</properties><builders>{steps}</builders>{sections}</project>"
    ).encode()


def _parameter(entry: str) -> str:
    name, _, default = entry.partition("=")
    named = _in("name", name.removesuffix("!"))
    if name.endswith("!"):
        return _in("hudson.model.PasswordParameterDefinition", named)
    if "|" in default:
        words = "".join(_in("string", word) for word in default.split("|"))
        return _in("hudson.model.ChoiceParameterDefinition", named + _in("choices", _in("a", words)))
    kind = "Boolean" if default in ("true", "false") else "String"
    return _in(f"hudson.model.{kind}ParameterDefinition", named + _in("defaultValue", escape(default)))


def _in(element: str, inner: str) -> str:
    return f"<{element}>{inner}</{element}>"


@dataclass
class StandIn:
    """A running stand-in, as its administrator sees it."""

    url: str
    home: Path
    user: User = ADMIN
    session: requests.Session = field(default_factory=requests.Session)

    def as_user(self, user: User, *, password: bool = False) -> StandIn:
        """The same server, seen by somebody else."""
        session = requests.Session()
        session.auth = (user.name, user.password if password else user.token)
        return replace(self, user=user, session=session)

    def get(self, path: str, **query: str) -> requests.Response:
        """GET, below the server's address."""
        return self.session.get(self.url + path, params=query, timeout=10)

    def post(self, path: str, data: Any = None, **headers: str) -> requests.Response:
        """POST, without following where it leads."""
        return self.session.post(self.url + path, data=data, headers=headers, timeout=10, allow_redirects=False)

    def json(self, path: str, tree: str = "") -> Any:
        """A document of the API."""
        answer = self.get(f"{path}/api/json" if path else "api/json", **({"tree": tree} if tree else {}))
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def create(self, name: str, config: bytes) -> None:
        """Create a job, or configure it."""
        there = self.get(f"job/{name}/api/json").status_code == 200
        answer = self.post(f"job/{name}/config.xml" if there else f"createItem?name={name}", config,
                           **{"Content-Type": "application/xml"})  # fmt: skip
        assert answer.status_code == 200, answer.text

    def trigger(self, name: str, **parameters: str) -> requests.Response:
        """Trigger a build, with parameters where the job has any."""
        declared = self.json(f"job/{name}", "property[parameterDefinitions[name]]")["property"]
        word = "buildWithParameters" if any("parameterDefinitions" in entry for entry in declared) else "build"
        return self.post(f"job/{name}/{word}?delay=0sec", parameters)

    def build(self, name: str, **parameters: str) -> dict[str, Any]:
        """Trigger a build, and return it once it has ended."""
        answer = self.trigger(name, **parameters)
        assert answer.status_code == 201, (answer.status_code, answer.text)
        return self.ended(name, self.number(answer))

    def number(self, answer: requests.Response) -> int:
        """The number of the build that a trigger's answer leads to."""
        item = answer.headers["Location"].removeprefix(self.url).rstrip("/")
        found = wait_for(lambda: self.json(item).get("executable"))
        return int(found["number"])

    def ended(self, name: str, number: int) -> dict[str, Any]:
        """A build, once it has ended."""
        found: dict[str, Any] = wait_for(lambda: self._unless_running(name, number))
        return found

    def log(self, name: str, number: int) -> str:
        """The whole log of a build."""
        return self.get(f"job/{name}/{number}/consoleText").text

    def _unless_running(self, name: str, number: int) -> Any:
        build = self.json(f"job/{name}/{number}")
        return None if build["inProgress"] else build


@contextmanager
def in_process(home: Path, settings: Settings = QUICK) -> Iterator[StandIn]:
    """A stand-in in this process, on a port of its own."""
    controller = Controller(home, settings, "")
    with Server(("127.0.0.1", 0), controller) as server:
        controller.url = f"http://127.0.0.1:{server.server_port}/"
        controller.start()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        stand_in = StandIn(controller.url, home)
        yield replace(stand_in.as_user(ADMIN))
        server.shutdown()
        controller.stop()


class OwnProcess:
    """A stand-in in a process of its own, which may be stopped, killed and started again on the same port."""

    def __init__(self, home: Path, settings: Settings = QUICK) -> None:
        self.home = home
        self.port = free_port()
        home.mkdir(parents=True, exist_ok=True)
        self.configure(settings)
        self._child: subprocess.Popen[bytes] | None = None

    def configure(self, settings: Settings) -> None:
        """Write its settings, for the next start."""
        document = json.loads(json.dumps(asdict(settings), default=sorted))
        (self.home / "lab.yaml").touch(mode=0o600)  # it has tokens
        (self.home / "lab.yaml").write_text(yaml.safe_dump(document))

    def start(self) -> StandIn:
        """Start it; returns once it listens, even if it only shows the starting page."""
        argv = [sys.executable, "-m", "lab.jenkins", "--home", str(self.home), "--port", str(self.port)]
        self._child = process.start(argv, self.home / "server.log", env={"PYTHONPATH": str(Path(__file__).parents[2])})
        wait_for(self._listens)
        return StandIn(f"http://127.0.0.1:{self.port}/", self.home).as_user(ADMIN)

    def stop(self) -> None:
        """A clean stop, as by SIGTERM."""
        if self._child:
            self._child.terminate()
            self._child.wait(_LIMIT)
            self._child = None

    def kill(self) -> None:
        """A crash."""
        if self._child:
            self._child.kill()
            self._child.wait(_LIMIT)
            self._child = None

    def pause(self) -> None:
        """Freeze it: it accepts connections, and answers nothing. Returns once each of its threads has halted."""
        if self._child:
            self._child.send_signal(signal.SIGSTOP)
            threads = Path(f"/proc/{self._child.pid}/task")
            wait_for(lambda: all(_state(each) == "T" for each in threads.iterdir()))

    def is_asked(self) -> bool:
        """Whether somebody's request waits to be read, as it does for as long as the server is frozen."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(int(row[1].partition(":")[2], 16) == self.port and int(row[4].partition(":")[2], 16) for row in rows)

    def go_on(self) -> None:
        """End a pause."""
        if self._child:
            self._child.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _state(thread: Path) -> str:
    """A thread's state by the kernel's letter; empty where it has ended."""
    with suppress(OSError):
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    return ""
