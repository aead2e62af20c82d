"""jenkins-run through stops, crashes and restarts of its server: it resumes, or says what is lost, and never hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.jenkins.testing import ADMIN, QUICK, OwnProcess, freestyle, wait_for

WAITS = "echo started; until [ -e ../go ]; do sleep 0.05; done; echo went on"
PARAMETERS = ("CD_REQUEST=",)


@pytest.fixture
def jenkins(tmp_path: Path) -> Iterator[OwnProcess]:
    server = OwnProcess(tmp_path / "home", replace(QUICK, starting=0.5))
    yield server
    server.kill()


class Running:
    """A jenkins-run process."""

    def __init__(self, jenkins: OwnProcess, out: Path, *args: str, patience: float = 60) -> None:
        self.out = out
        env = {
            **os.environ,
            "JENKINS_URL": f"http://127.0.0.1:{jenkins.port}",
            "JENKINS_USER": ADMIN.name,
            "JENKINS_TOKEN": ADMIN.token,
        }
        argv = [
            sys.executable,
            "-m",
            "jobs.jenkins_run",
            "--job",
            "job",
            "--out",
            out,
            "--patience",
            patience,
            "--timeout",
            "120",
            *args,
        ]
        self.log = out.with_suffix(".log")
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [str(word) for word in argv], stdout=log, stderr=log, env=env, cwd=Path(__file__).parents[2]
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def says(self, text: str) -> None:
        wait_for(lambda: text in self.said or self.child.poll() is not None)
        assert text in self.said, self.said

    def ended(self) -> tuple[int, dict[str, Any]]:
        code = self.child.wait(150)
        result: dict[str, Any] = json.loads((self.out / "cd-result.json").read_text())
        return code, result


@pytest.mark.parametrize("crash", [True, False])
def test_a_running_build_is_lost_in_a_restart(jenkins: OwnProcess, tmp_path: Path, crash: bool) -> None:
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    server.create("job", freestyle(WAITS, parameters=PARAMETERS))
    run = Running(jenkins, tmp_path / "out", "--request", "r")
    run.says("started")
    jenkins.kill() if crash else jenkins.stop()
    run.says("cannot be reached")
    server = jenkins.start()
    code, result = run.ended()
    assert code == 11 and result["outcome"] == "build-lost" and result["build"]["number"] == 1, run.said
    assert "job #1 is lost" in result["error"]["message"] and "went on" not in run.said
    assert server.get("job/job/1/api/json").status_code == 404
    again = Running(jenkins, tmp_path / "again", "--request", "r")  # its number is spent
    (server.home / "agents/one/workspace/go").touch()
    code, result = again.ended()
    assert code == 0 and result["build"]["number"] == 2


def test_what_waits_survives_a_clean_stop(jenkins: OwnProcess, tmp_path: Path) -> None:
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    server.create("job", freestyle("echo built", parameters=PARAMETERS, label="none-such"))
    run = Running(jenkins, tmp_path / "out", "--request", "r")
    run.says("none-such")
    jenkins.stop()
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    assert len(server.json("queue")["items"]) == 1
    server.create("job", freestyle("echo built", parameters=PARAMETERS))
    assert run.ended()[0] == 0 and "built" in run.said


def test_what_waits_is_lost_in_a_crash_even_where_its_id_comes_again(jenkins: OwnProcess, tmp_path: Path) -> None:
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    server.create("job", freestyle("echo built", parameters=PARAMETERS, label="none-such"))
    run = Running(jenkins, tmp_path / "out", "--request", "r")
    run.says("none-such")
    jenkins.kill()
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    server.trigger("job", CD_REQUEST="somebody else's")
    assert [item["id"] for item in server.json("queue")["items"]] == [1]
    code, result = run.ended()
    assert code == 11 and "neither in the queue nor among the builds" in result["error"]["message"]


def test_a_server_that_is_gone_for_good(jenkins: OwnProcess, tmp_path: Path) -> None:
    server = jenkins.start()
    wait_for(lambda: server.get("api/json").status_code == 200)
    server.create("job", freestyle(WAITS, parameters=PARAMETERS))
    run = Running(jenkins, tmp_path / "out", "--request", "r", patience=2)
    run.says("started")
    begun = time.monotonic()
    jenkins.kill()
    code, result = run.ended()
    assert code == 69 and result["build"]["number"] == 1 and time.monotonic() - begun < 20
    assert "waiting for up to 2 s" in run.said


def test_an_outage_without_a_restart_of_the_server_is_lived_through(jenkins: OwnProcess, tmp_path: Path) -> None:
    jenkins.configure(replace(QUICK, starting=0))
    server = jenkins.start()
    server.create("job", freestyle(WAITS, parameters=PARAMETERS))
    run = Running(jenkins, tmp_path / "out", "--request", "r")
    run.says("started")
    jenkins.pause()
    wait_for(jenkins.is_asked)
    (server.home / "agents/one/workspace/go").touch()
    jenkins.go_on()
    assert run.ended()[0] == 0 and run.said.count("│ started\n") == 1 and "went on" in run.said


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_aborts_the_build(jenkins: OwnProcess, tmp_path: Path, signum: signal.Signals) -> None:
    jenkins.configure(QUICK)
    server = jenkins.start()
    server.create("job", freestyle(WAITS, parameters=PARAMETERS))
    run = Running(jenkins, tmp_path / "out", "--request", "r")
    run.says("started")
    run.child.send_signal(signum)
    code, result = run.ended()
    assert code == 128 + signum and result["outcome"] == "interrupted"
    assert server.ended("job", 1)["result"] == "ABORTED"


def test_a_killed_run_is_adopted_or_aborted_by_its_request(jenkins: OwnProcess, tmp_path: Path) -> None:
    jenkins.configure(QUICK)
    server = jenkins.start()
    server.create("job", freestyle(WAITS, parameters=PARAMETERS, concurrent=True))
    for request, number in (("r", 1), ("q", 2)):
        run = Running(jenkins, tmp_path / request, "--request", request)
        run.says("started")
        os.kill(run.child.pid, signal.SIGKILL)
        run.child.wait()
        assert server.json(f"job/job/{number}")["building"]
    abort = Running(jenkins, tmp_path / "abort", "--abort", "--request", "q")
    code, result = abort.ended()
    assert code == 0 and [(b["number"], b["result"]) for b in result["aborted"]] == [(2, "ABORTED")]
    retry = Running(jenkins, tmp_path / "retry", "--request", "r")
    retry.says("(adopted)")
    (server.home / "agents/one/workspace/go").touch()
    code, result = retry.ended()
    assert code == 0 and result["build"]["number"] == 1 and result["build"]["adopted"] and "started" in retry.said
    assert [b["number"] for b in server.json("job/job")["builds"]] == [2, 1]


def test_a_build_whose_server_was_killed_leaves_no_process(jenkins: OwnProcess, tmp_path: Path) -> None:
    jenkins.configure(QUICK)
    server = jenkins.start()
    server.create("job", freestyle("(setsid sleep 321 & echo $! > pid; wait) & echo started; wait"))
    server.trigger("job")
    pid = int(wait_for(lambda: (f := server.home / "agents/one/workspace/job/pid").exists() and f.read_text()))
    jenkins.kill()
    jenkins.start()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
