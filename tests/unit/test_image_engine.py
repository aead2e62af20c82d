"""Streaming answers of a Docker Engine end when nobody wants them any more: with an error, and at the deadline."""

from __future__ import annotations

import base64
import gc
import json
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_ins import Seen, Server, serving

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime, TestsFailed, UsageProblem
from cdlib.image import reports, testrun
from cdlib.image.container import Container, Ended, user_of
from cdlib.image.engine import Engine, LocalImage
from cdlib.image.platforms import HERE, Platforms
from cdlib.reference import parse
from cdlib.registry.auth import find_credentials
from cdlib.run import Run
from cdlib.service import Test

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
LOCKED = 5.0  # seconds that the stand-in keeps a container which somebody still reads from


class StandInEngine(Server):
    """Answers as Docker Engine 20.10 does: a container is not removed while an answer about it is open."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.left = threading.Event()

    def _endless(self, piece: bytes) -> Iterator[bytes]:
        try:
            while True:
                yield piece
        finally:
            self.left.set()

    def _serve(self, seen: Seen) -> tuple[int, dict[str, str], bytes | Iterator[bytes]]:
        if seen.path.endswith("/version"):
            return 200, {}, json.dumps({"ApiVersion": "1.41", "Os": "linux", "Arch": "riscv64"}).encode()
        if seen.path.endswith("/containers/create") or "/containers/create?" in seen.path:
            return 201, {}, json.dumps({"Id": "c1"}).encode()
        if "/archive" in seen.path:
            return 200, {"X-Docker-Container-Path-Stat": base64.b64encode(b"{}").decode()}, self._endless(b"x" * 2**16)
        if "/push" in seen.path:
            return 200, {}, self._endless(b'{"error": "denied"}\r\n')
        if "/images/create" in seen.path:
            return 200, {}, self._endless(b'{"status": "waiting"}\r\n')
        if seen.method == "DELETE" and "/containers/" in seen.path:
            return (204 if self.left.wait(LOCKED) else 500), {}, b""
        if seen.path.endswith("/json"):
            return 200, {}, json.dumps({"Id": "sha256:1", "Config": {"Labels": {}, "User": "1000"}}).encode()
        return 200, {}, b"[]"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInEngine]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with serving(StandInEngine()) as server:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.host}")
        yield server
    gc.collect()  # docker-py leaves its sockets open


def test_reports_without_end_are_left_before_the_container_is_removed(
    engine: StandInEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reports, "ALL_SIZE", 2**20)
    monkeypatch.setattr(Container, "prepare_reports", lambda _self, path: path)
    monkeypatch.setattr(Container, "follow", lambda *_: Ended(0, False, 0.0))
    run = Run("test", Deadline(60), out=tmp_path)
    work: Any = SimpleNamespace(run=run, engine=Engine(run.deadline))
    began = time.monotonic()
    with pytest.raises(TestsFailed, match="holds more than 1 MiB") as caught:
        testrun._in_container(work, SimpleNamespace(id="sha256:1", name="x"), Test())  # type: ignore[arg-type]
    assert caught.value.exit_code == 4 and time.monotonic() - began < LOCKED / 2 and engine.left.is_set()
    assert len(engine.requests("DELETE")) == 1 and work.engine.client.timeout == 60


def test_a_name_is_looked_up_in_a_container_that_is_never_started(engine: StandInEngine) -> None:
    run = Run("test", Deadline(60))
    began = time.monotonic()
    assert user_of(run, Engine(run.deadline), LocalImage("sha256:1", user="app")) == "65534:65534"  # a file without end
    assert len(engine.requests("DELETE")) == 1 and not engine.requests("POST", "start")
    assert time.monotonic() - began < LOCKED / 2


def test_the_platform_is_the_engines_or_what_the_environment_says(
    engine: StandInEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM", raising=False)
    assert Engine(Deadline(9)).platforms == Platforms("linux/riscv64", "linux/riscv64")
    for said, meant in (("linux/arm64/v8", "linux/arm64"), ("Linux/arm/v7", "linux/arm/v7")):
        monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", said)
        assert Engine(Deadline(9)).platforms == Platforms(meant, "linux/riscv64")
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "amd64; true")
    with pytest.raises(UsageProblem, match="is no platform"):
        _ = Engine(Deadline(9)).platforms
    monkeypatch.delenv("DOCKER_DEFAULT_PLATFORM")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert Engine(Deadline(9)).platforms == HERE


def test_a_push_that_failed_is_left_before_its_name_is_taken_away(engine: StandInEngine) -> None:
    with pytest.raises(CdError, match="not allowed"):
        Engine(Deadline(60)).push("sha256:1", parse("r.test/x:1"), print)
    assert engine.left.wait(1)


def test_an_answer_that_outlasts_the_deadline(engine: StandInEngine) -> None:
    began = time.monotonic()
    with pytest.raises(OutOfTime, match=r"pulling r\.test/x:1"):
        Engine(Deadline(0.5)).pull(parse("r.test/x:1"))
    assert time.monotonic() - began < LOCKED / 2 and engine.left.wait(1)


@pytest.mark.parametrize("who", ["registry", "engine"])
def test_a_credential_helper_that_hangs(
    engine: StandInEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, who: str
) -> None:
    helper = tmp_path / "docker-credential-stuck"
    helper.write_text("#!/bin/sh\nexec sleep 8\n")
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"credsStore": "stuck"}))
    deadline, began = Deadline(0.5), time.monotonic()
    asks: dict[str, Callable[[], object]] = {
        "registry": lambda: find_credentials("r.test", deadline),
        "engine": lambda: Engine(deadline).push("sha256:1", parse("r.test/x:1"), print),
    }
    with pytest.raises(OutOfTime, match="docker-credential-stuck did not answer") as caught:
        asks[who]()
    assert time.monotonic() - began < 4 and caught.value.hint
