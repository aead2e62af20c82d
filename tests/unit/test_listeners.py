"""Machines are told at a command's end, and cannot change how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
from click.testing import CliRunner, Result
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from stand_ins import Server, serving
from stand_ins import silent as nobody_answers

from cdlib import listeners
from cdlib.errors import RolledBack
from cdlib.run import Run
from jobs.command import command

SECRET = "s3cret-value-of-a-token"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, _signals: None) -> None:
    for name in [name for name in os.environ if name.startswith(("CD_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MY_TOKEN", SECRET)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections, and never says anything."""
    with nobody_answers() as host:
        yield f"http://{host}"


def call(
    folder: Path, *args: str, name: str = "helm-deploy", doing: Callable[[Run], dict[str, Any]] | None = None
) -> Result:
    """A command, by default one that deploys and has to go back."""
    main = command(name, timeout=60)(lambda run, folder: (doing or deploy)(run))
    return CliRunner().invoke(main, ["-C", str(folder), *args])


def deploy(run: Run) -> dict[str, Any]:
    run.about.update(service="hello", environment="production")
    for stage in ("helm upgrade", "rollout"):
        with run.stage(stage):
            pass
    run.events.emit("verdict", outcome="failed", reason=f"it logs {SECRET}")
    with run.stage("helm rollback"):
        pass
    problem = RolledBack("it is back", hint="mend it", details=[f"key {SECRET}"])
    problem.made = {"environment": "production", "release": "hello", "rolled_back_to": 3}
    raise problem


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / ".cd" / "events.jsonl").read_text().splitlines()]


def test_all_are_told_of_one_run_and_none_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cd.prom"
    with serving(Server(lambda _: (200, {}, b""))) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("CD_PUSHGATEWAY", server.url)
        monkeypatch.setenv("CD_METRICS_FILE", str(file))
        done = call(tmp_path)
    assert done.exit_code == 7 and "warning" not in done.stderr, done.output
    suite = parse(tmp_path / ".cd" / "rollout.xml").getroot()[0]
    assert [(case.get("name"), len(case)) for case in suite] == [("plan", 0), ("apply", 0), ("rollout", 1), ("rollback: apply", 0)]  # fmt: skip
    labels = 'command="helm-deploy",environment="production",exit_code="7",service="hello"'
    assert f"cd_runs_total{{{labels}}} 1.0" in file.read_text()
    pushed, traced = server.requests("POST", "/metrics/"), server.requests("POST", "/v1/traces")
    assert len(pushed) == len(traced) == 1
    spans = ExportTraceServiceRequest.FromString(traced[0].body).resource_spans[0].scope_spans[0].spans
    assert [span.name for span in spans] == ["helm upgrade", "rollout", "helm rollback", "helm-deploy"]
    left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] + [seen.body for seen in server.seen]
    assert not any(SECRET.encode() in content for content in left)


def test_who_is_silent_is_waited_for_a_moment_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(listeners, "_PATIENCE", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent)
    began = time.monotonic()
    done = call(tmp_path, "--pushgateway", silent, "--metrics-file", str(tmp_path / "none" / "cd.prom"))
    assert done.exit_code == 7 and time.monotonic() - began < 4
    told = [event["text"] for event in events(tmp_path) if event["event"] == "warning"]
    assert told[0].startswith(f"no metrics are written to {tmp_path}/none/cd.prom: No such file or directory")
    assert told[1].startswith("no metrics are pushed: 127.0.0.1 does not answer: ReadTimeout; see that")
    assert told[2].startswith("no traces are sent: ") and len(told) == 3
    result = json.loads((tmp_path / ".cd" / "cd-result.json").read_text())
    assert (result["exit_code"], events(tmp_path)[-1]["event"]) == (7, "run_end")


def test_a_signal_in_the_meantime_ends_the_waiting_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        os.kill(os.getpid(), signal.SIGTERM)  # while the command waits for this answer
        gone.wait(10)
        return 200, {}, b""

    with serving(Server(answer)) as server:
        began = time.monotonic()
        done = call(tmp_path, "--pushgateway", server.url, doing=lambda run: {"text": "deployed"})
        took = time.monotonic() - began
        gone.set()
    assert done.exit_code == 0 and "deployed" in done.stdout and took < 2
    assert "interrupted while machines were told" in done.stderr


@pytest.mark.parametrize(("name", "args", "made"), [("helm-rollback", (), {"revisions": []}), ("run-tests", (), {}),
                                                    ("helm-deploy", ("--dry-run",), {})])  # fmt: skip
def test_what_checks_no_rollout_writes_no_checks(
    tmp_path: Path, name: str, args: tuple[str, ...], made: dict[str, Any]
) -> None:
    file = tmp_path / "cd.prom"
    done = call(tmp_path, *args, "--metrics-file", str(file), name=name, doing=lambda run: made)
    assert done.exit_code == 0 and not (tmp_path / ".cd" / "rollout.xml").exists()
    assert file.exists() is ("--dry-run" not in args)


def test_nothing_of_it_is_imported_where_nobody_asks(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom jobs.build_image import main\n"
        "try:\n main(['-C', sys.argv[1]])\nexcept SystemExit:\n pass\n"
        "print([m for m in sys.modules if m.startswith(('prometheus', 'opentelemetry', 'cdlib.report.m', 'cdlib.report.s'))])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
    assert events(tmp_path)[-1]["event"] == "run_end"
