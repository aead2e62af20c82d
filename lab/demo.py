"""The demo: a service from a commit to serving traffic and back, by the commands that a person would type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.console import Console
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.table import table
from lab.given import CLUSTER

NAMESPACE = "hello-demo"
PATIENCE = 15.0  # seconds for the service to answer as it should
LIMIT = 600.0  # seconds for all of it; it takes about a minute
CHECKOUT = Path(__file__).resolve().parents[1]
_BIN = CHECKOUT / ".venv" / "bin"

TARGETS = """\
version: 1
environments:
  production:
    policy: none
    budget: 120s
    verify: {{http: [{{path: /healthz, status: 200}}]}}
services:
  hello:
    candidates: {registry}/candidates/hello
    image: {registry}/hello
    moving_tags: [latest]
    environments:
      production: {{namespace: {namespace}, release: hello}}
"""

# What a developer may well do: the tests set the variable, production does not.
CRASH = ("def main() -> None:\n", "def main() -> None:\n    print('greeting from', os.environ['HELLO_GREETING'])\n")


@dataclass
class Row:
    """One line of the closing table."""

    stage: str
    seconds: float
    digest: str = ""
    revision: str = ""
    answer: str = ""


@dataclass
class Demo:
    """The demo's folder, what its commands see of the environment, and what they brought."""

    folder: Path
    environment: Mapping[str, str]
    console: Console
    deadline: Deadline
    rows: list[Row] = field(default_factory=list)
    stamp: int = field(default_factory=lambda: int(time.time()) % 100000)

    @property
    def service(self) -> Path:
        """The sample service's work tree."""
        return self.folder / "hello"

    def run(self, *argv: str, expect: int = 0, shown: bool = True) -> process.Finished:
        """Run a command in the service's folder, printed as typed; any exit status but `expect` ends the demo."""
        if shown:
            self.console.line("bold", "$ ", shlex.join(argv))
        words = (str(_BIN / argv[0]) if (_BIN / argv[0]).exists() else argv[0], *argv[1:])
        on_line = (lambda line: self.console.line("", "  ", line)) if shown else None
        done = process.run(words, self.deadline, cwd=self.service, env=self.environment, on_line=on_line)
        if done.returncode != expect:
            raise CdError(
                f"{argv[0]} ended with status {done.returncode}, and the demo expects {expect}",
                details=done.stderr[-15:] if not shown else (),
                hint=f"look at {self.service / '.cd' / 'events.jsonl'}, and at: python -m lab status",
            )
        if shown:
            self.console.line("dim", "  ", f"({done.seconds:.1f} s)")
        return done

    def step(self, stage: str, *argv: str, expect: int = 0) -> dict[str, Any]:
        """Run one of the five commands, and note what it brought."""
        done = self.run(*argv, expect=expect)
        result: dict[str, Any] = json.loads((self.service / ".cd" / "cd-result.json").read_text(encoding="utf-8"))
        digest = str(result.get("digest", ""))
        row = Row(f"{stage}: {argv[0]}", done.seconds, digest[7:19], str(result.get("revision", "")))
        self.rows.append(row)
        return result

    def page(self, name: str) -> None:
        """Make the page of what the last command ended, under a name of its own."""
        self.run("cd-report", "--page", f".cd/{name}.html")

    def ask(self, expect: str) -> None:
        """Ask the running service for its version over HTTP, and insist on the answer.

        The cluster's proxies hear of new pods a second or so after they are ready, so it may take a second try.
        """
        question, patience = _question(self), Deadline(PATIENCE, "the service's answer")
        self.console.line("bold", "$ ", shlex.join(question))
        answer: dict[str, str] = {}
        while answer.get("version") != expect:
            if patience.over:
                raise CdError(f"the service answers {answer or 'nothing'}, expected {expect}", hint="look at the pods")
            done = process.run(question, self.deadline, cwd=self.service, env=self.environment)
            answer = json.loads(done.stdout) if done.ok else {}
            time.sleep(0 if answer.get("version") == expect else 0.2)
        self.console.line("", "  ", json.dumps(answer))
        self.rows[-1].answer = f"version {answer['version']} ({answer['revision'][:7]})"

    def commit(self, message: str) -> None:
        """Commit all changes, as a developer would."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)


def play(root: Path, environment: Mapping[str, str]) -> Demo:
    """The whole demo, below `root`, against the servers that `environment` names. Raises at the first surprise."""
    started, console = time.monotonic(), Console(sys.stdout)
    demo = _prepare(root / "demo", environment, console)
    _good_version(demo, 1, "The first version", "1. The first version, from a commit to serving")
    _good_version(demo, 2, "The second version", "2. A second version, the same way")
    _crashing_version(demo)
    _back_to_the_first(demo)
    _table(demo)
    console.line("bold", "", f"The pages of it are in {demo.service / '.cd'}; v3.html is the crash.")
    console.line("ok", "", f"demo: ok in {time.monotonic() - started:.0f} s")
    return demo


def _prepare(folder: Path, environment: Mapping[str, str], console: Console) -> Demo:
    """A fresh copy of the sample service in a repository of its own, and an empty namespace."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    registry = environment.get("LAB_REGISTRY") or os.environ.get("LAB_REGISTRY") or "localhost:5000"
    (folder / "targets.yaml").write_text(TARGETS.format(registry=registry, namespace=NAMESPACE), encoding="utf-8")
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "Demo"), ("EMAIL", "demo@example.org"))}  # fmt: skip
    env = {**environment, **who, "CD_TARGETS": str(folder / "targets.yaml"), "CD_ENVIRONMENT": "production"}
    demo = Demo(folder, env, console, Deadline(LIMIT, "the demo"))
    shutil.copytree(CHECKOUT / "examples" / "hello", demo.service, ignore=shutil.ignore_patterns("__pycache__", ".cd"))
    console.line("bold", "", f"The sample service, in {demo.service}; its targets.yaml lies beside it.")
    console.line("bold", "$ ", f"cd {demo.service}; export CD_TARGETS={env['CD_TARGETS']}")
    demo.run("git", "init", "--quiet", "--initial-branch=master")
    demo.run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", shown=False)
    demo.run("kubectl", "create", "namespace", NAMESPACE)
    return demo


def _good_version(demo: Demo, number: int, message: str, title: str) -> None:
    _title(demo, title)
    (demo.service / "VERSION").write_text(_version(demo, number) + "\n", encoding="utf-8")
    demo.commit(message)
    _build_to_publish(demo, f"v{number}")
    demo.step(f"v{number}", "helm-deploy")
    demo.page(f"v{number}")
    demo.ask(_version(demo, number))


def _crashing_version(demo: Demo) -> None:
    _title(demo, "3. A third one builds, passes its tests, and crashes in production")
    program = demo.service / "hello.py"
    (demo.service / "VERSION").write_text(_version(demo, 3) + "\n", encoding="utf-8")
    program.write_text(program.read_text(encoding="utf-8").replace(*CRASH), encoding="utf-8")
    demo.commit("The third version, with a greeting")
    _build_to_publish(demo, "v3")
    demo.step("v3", "helm-deploy", expect=7)
    demo.page("v3")
    demo.ask(_version(demo, 2))


def _back_to_the_first(demo: Demo) -> None:
    _title(demo, "4. Back to the first, by a person")
    demo.run("helm-rollback", "--list")
    demo.step("back", "helm-rollback", "--to", "1", "--reason", "the demo wants the first version")
    demo.page("back")
    demo.ask(_version(demo, 1))
    demo.step("held", "helm-deploy", expect=6)
    demo.page("held")
    demo.run("cd-status", "--html", ".cd/board.html")
    demo.run("cd-hold", "--lift")


def _build_to_publish(demo: Demo, stage: str) -> None:
    demo.step(stage, "build-image")
    demo.step(stage, "run-tests")
    demo.step(stage, "publish-tag")


def _version(demo: Demo, number: int) -> str:
    """A version of its own for each run, so that it really builds, and finds nothing that the last one left."""
    return f"{number}.{demo.stamp}"


def _question(demo: Demo) -> tuple[str, ...]:
    """What asks the service: curl to its cluster address in the lab, the Kubernetes API where that is elsewhere."""
    if os.environ.get(CLUSTER) and os.environ[CLUSTER] == demo.environment.get("KUBECONFIG"):
        return ("kubectl", "get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/services/hello:80/proxy/")
    spec = "jsonpath={.spec.clusterIP}"
    address = demo.run("kubectl", "-n", NAMESPACE, "get", "service", "hello", "-o", spec, shown=False).stdout.strip()
    return ("curl", "--silent", "--fail", "--max-time", "2", "--noproxy", "*", f"http://{address}/")


def _title(demo: Demo, text: str) -> None:
    demo.console.line("", "", "")
    demo.console.line("bold", text, "")


def _table(demo: Demo) -> None:
    """The closing table."""
    heads = ("STAGE", "SECONDS", "DIGEST", "REVISION", "THE SERVICE ANSWERED")
    cells = [(r.stage, f"{r.seconds:.1f}", r.digest, r.revision, r.answer) for r in demo.rows]
    for line in ("", *table(heads, cells), ""):
        demo.console.line("", "", line)
