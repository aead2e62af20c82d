"""What every Jenkins does that this project talks to: a real one, where JENKINS_URL names it, or else the stand-in.

JENKINS_USER and JENKINS_TOKEN then belong to a user who may create, run and delete jobs. Jobs of a real server are
named cdlib-test-* and deleted afterwards; it needs an executor for jobs without a label.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.jenkins.settings import User
from lab.jenkins.testing import QUICK, OwnProcess, StandIn, freestyle, wait_for

HANGS = "echo started; sleep 60 & wait"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StandIn]:
    if os.environ.get("JENKINS_URL"):
        user = User(os.environ["JENKINS_USER"], token=os.environ["JENKINS_TOKEN"])
        yield StandIn(os.environ["JENKINS_URL"].rstrip("/") + "/", tmp_path).as_user(user)
        return
    jenkins = OwnProcess(tmp_path / "home", replace(QUICK, kill_after=10.0))
    yield jenkins.start()
    jenkins.stop()


@pytest.fixture
def job(server: StandIn) -> Iterator[Callable[..., str]]:
    """`job(script, *parameters)` makes a job, and returns its name."""
    made: list[str] = []

    def make(script: str, *parameters: str) -> str:
        made.append(f"cdlib-test-{secrets.token_hex(4)}")
        server.create(made[-1], freestyle(script, parameters=parameters))
        return made[-1]

    yield make
    for name in made:
        for build in server.json(f"job/{name}", "builds[number,building]")["builds"]:
            if build["building"]:
                server.post(f"job/{name}/{build['number']}/stop")
                server.ended(name, build["number"])
        server.post(f"job/{name}/doDelete")


def test_triggers(server: StandIn, job: Callable[..., str]) -> None:
    plain, declared = job("true"), job('echo "got ${#TEXT} $FLAG ${OTHER-unset}"', "TEXT=", "FLAG=true")
    assert server.post(f"job/{declared}/buildWithParameters?TEXT={'x' * 20_000}").status_code == 414
    assert server.post(f"job/{declared}/build").status_code == 400
    assert server.post(f"job/{plain}/buildWithParameters").status_code == 500
    assert server.post("job/cdlib-test-none/build").status_code == 404
    number = server.build(declared, TEXT="x" * 20_000, FLAG="nonsense", OTHER="dropped")["number"]
    assert "got 20000 false unset" in server.log(declared, number)
    server.post(f"job/{plain}/disable")
    assert server.post(f"job/{plain}/build").status_code == 409


def test_a_stop_is_asynchronous(server: StandIn, job: Callable[..., str]) -> None:
    name = job(HANGS)
    number = server.number(server.trigger(name))
    wait_for(lambda: "started" in server.log(name, number))
    stop = f"job/{name}/{number}/stop"
    assert server.get(stop).status_code == 405 and server.post(stop).status_code == 302
    assert server.ended(name, number)["result"] == "ABORTED"
    assert server.post(stop).status_code == 302 and server.post(f"job/{name}/999/stop").status_code == 404


def test_what_waits_is_shared_and_cancelled_once(server: StandIn, job: Callable[..., str]) -> None:
    name = job(HANGS, "A=")
    number = server.number(server.trigger(name, A="0"))
    first, second, third = (server.trigger(name, A=value) for value in ("1", "1", "2"))
    assert (first.status_code, second.status_code, third.status_code) == (201, 303, 201)
    assert first.headers["Location"] == second.headers["Location"] != third.headers["Location"]
    for answer in (first, third):
        item = answer.headers["Location"].rstrip("/").rpartition("/")[2]
        assert server.post(f"queue/cancelItem?id={item}").status_code == 204
        assert server.json(f"queue/item/{item}")["cancelled"] is True
        assert server.post(f"queue/cancelItem?id={item}").status_code == 500
    server.post(f"job/{name}/{number}/stop")


def test_the_log_by_offsets(server: StandIn, job: Callable[..., str]) -> None:
    name = job("echo ä; echo b; " + HANGS)
    number = server.number(server.trigger(name))
    wait_for(lambda: "started\n" in server.log(name, number))
    path = f"job/{name}/{number}/logText/progressiveText"
    first = server.get(path, start="0")
    assert first.headers["X-More-Data"] == "true" and len(first.content) > int(first.headers["X-Text-Size"])
    assert b"\r\nb\r\n" in first.content
    assert server.get(path, start="999999").content.startswith(first.content[:20])
    server.post(f"job/{name}/{number}/stop")
    server.ended(name, number)
    assert "X-More-Data" not in server.get(path, start=first.headers["X-Text-Size"]).headers


def test_jenkins_run(server: StandIn, job: Callable[..., str], tmp_path: Path) -> None:
    def run(*args: str) -> tuple[int, dict[str, Any], str]:
        user = server.user
        env = {**os.environ, "JENKINS_URL": server.url, "JENKINS_USER": user.name, "JENKINS_TOKEN": user.token}
        argv = [sys.executable, "-m", "jobs.jenkins_run", "--out", str(tmp_path / "out"), "--timeout", "60", *args]
        done = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=Path(__file__).parents[2])
        return done.returncode, json.loads((tmp_path / "out" / "cd-result.json").read_text()), done.stderr

    name = job('echo "A is $A"; exit "$CODE"', "A=", "CODE=0", "CD_REQUEST=")
    code, result, said = run("--job", name, "--param", "A=it's $HOME", "--request", "r")
    assert code == 0 and "│ A is it's $HOME\n" in said and result["build"]["result"] == "SUCCESS"
    assert run("--job", name, "--request", "r")[1]["build"]["adopted"]
    assert run("--job", name, "--param", "CODE=5")[0] == 3
    assert run("--job", name, "--param", "NONE=1")[0] == 2
    assert run("--job", "cdlib-test-none")[0] == 2
    assert run("--job", name, "--abort", "--request", "r")[1]["outcome"] == "unchanged"
