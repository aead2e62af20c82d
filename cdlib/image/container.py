"""A container for code that nobody has reviewed: no network, no privileges, no mounts, and an end."""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdlib.deadline import Deadline
from cdlib.errors import CdError, OutOfTime, TestsFailed
from cdlib.image.engine import Engine, LocalImage
from cdlib.image.engine_errors import explained
from cdlib.image.reports import only_file
from cdlib.image.user import is_named, runs_as
from cdlib.run import Run
from cdlib.service import Test

EXPIRES = "org.cdlib.expires"  # seconds since 1970; by then a container's run is surely dead
_GRACE = 600.0  # seconds beyond the tests' own limit
_LINKS = 5  # symbolic links that are followed


@dataclass(frozen=True)
class Ended:
    """How a container ended. `started` in seconds since 1970."""

    status: int
    out_of_memory: bool
    started: float


class Container:
    """One container, made for one test run and gone after it."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def prepare_reports(self, path: str) -> str:
        """Make the folder of `path` in the container, writable for whatever user the tests have.

        Returns the path with symbolic links followed, from where the reports are to be taken.
        """
        is_file = path.lower().endswith(".xml")
        folder = posixpath.normpath(posixpath.dirname(path) if is_file else path)
        for _ in range(_LINKS):
            link = str((self._stat(folder) or {}).get("linkTarget", ""))
            folder = posixpath.normpath(posixpath.join(posixpath.dirname(folder), link)) if link else folder
        parts = folder.strip("/").split("/")
        known = 0
        while known < len(parts) - 1 and self._stat("/" + "/".join(parts[: known + 1])):
            known += 1
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for end in range(known, len(parts)):
                entry = tarfile.TarInfo("/".join(parts[known : end + 1]))
                entry.type, entry.mtime = tarfile.DIRTYPE, int(time.time())
                # Whose uid the image's user has is not known here: a name stands for it.
                entry.mode = 0o777 if end == len(parts) - 1 else 0o755
                tar.addfile(entry)
        with explained(f"making {folder} in the test container"):
            self._engine.client.put_archive(self.name, "/" + "/".join(parts[:known]), archive.getvalue())
        return posixpath.join(folder, posixpath.basename(path)) if is_file else folder

    def _stat(self, path: str) -> dict[str, Any] | None:
        """What lies at `path`, None where nothing does."""
        client = self._engine.client
        with explained("looking into the test container"):
            answer = client.head(client._url("/containers/{0}/archive", self.name), params={"path": path},
                                 timeout=client.timeout)  # fmt: skip
        said = answer.headers.get("X-Docker-Container-Path-Stat")
        return dict(json.loads(base64.b64decode(said))) if answer.ok and said else None

    def follow(self, feed: Callable[[bytes], None], limit: Deadline) -> Ended:
        """Start it, hand on its output as it comes, and wait for its end. Raises OutOfTime after `limit`."""
        with closing(self._engine.streamed(self._begin, "running the tests", limit)) as output:
            for data in output:
                feed(data)
        feed(b"")
        return self._end(limit)

    def _begin(self) -> Iterator[bytes]:
        """Attached before it starts, so that no line is lost."""
        import docker.errors

        output: Iterator[bytes] = self._engine.streams.attach(self.name, stdout=True, stderr=True, stream=True)
        try:
            self._engine.client.start(self.name)
        except docker.errors.APIError as problem:
            said = str(problem.explanation)
            if "OCI runtime" in said or "exec:" in said:
                reason = said.rpartition("exec: ")[2] or said
                raise TestsFailed(
                    f"the test command does not start: {reason}",
                    hint="check test.command in cd.yaml, and that the test variant has the program",
                ) from problem
            raise
        return output

    def _end(self, limit: Deadline) -> Ended:
        import requests

        client = self._engine.client
        with explained("waiting for the tests"):
            try:
                # Output may end before the program does, where that closes its own.
                status = client.wait(self.name, timeout=max(limit.left, 1.0))["StatusCode"]
            except requests.exceptions.ReadTimeout:
                limit.require("running the tests")
                raise
            except requests.exceptions.ConnectionError as problem:
                if "timed out" in str(problem).lower():
                    limit.require("running the tests")
                raise
            state = client.inspect_container(self.name)["State"]
        started = datetime.fromisoformat(state["StartedAt"][:19] + "+00:00").timestamp()
        return Ended(int(status), bool(state.get("OOMKilled")), started)

    def archive(self, path: str) -> Generator[bytes, None, None]:
        """What lies at `path`, as a tar stream, to be closed; nothing where nothing does."""
        import docker.errors

        def start() -> Iterator[bytes]:
            try:
                pieces: Iterator[bytes] = self._engine.streams.get_archive(self.name, path)[0]
            except docker.errors.NotFound:
                return iter(())
            return pieces

        return self._engine.streamed(start, "taking the reports from the test container")


@contextmanager
def container(run: Run, engine: Engine, image: LocalImage, user: str, test: Test) -> Iterator[Container]:
    """A container for the tests of `image`, not started yet. It is gone afterwards, whatever happens."""
    with _made(run, engine, _config(engine, image, user, test)) as made:
        yield made


def user_of(run: Run, engine: Engine, image: LocalImage) -> str:
    """The image's own user by its number, or nobody where that is root. A name is looked up in the image itself."""
    if not is_named(image.user):
        return runs_as(image.user)
    config = engine.client.create_container_config(image.id, ["-"], labels=_expiring(0.0))
    with _made(run, engine, config) as unstarted, closing(unstarted.archive("/etc/passwd")) as archive:
        return runs_as(image.user, only_file(archive))


@contextmanager
def _made(run: Run, engine: Engine, config: dict[str, Any]) -> Iterator[Container]:
    name = f"cdlib-test-{uuid.uuid4().hex}"
    try:
        with explained("making the test container"):
            engine.client.create_container_from_config(config, name)
        yield Container(engine, name)
    finally:
        _remove(run, engine, name)


def _expiring(seconds: float) -> dict[str, str]:
    return {EXPIRES: str(int(time.time() + seconds + _GRACE))}


def sweep(run: Run, engine: Engine) -> None:
    """Remove test containers whose runs were killed, and could not."""
    with suppress(CdError), explained("looking for old test containers"):
        for found in engine.client.containers(all=True, filters={"label": [EXPIRES]}):
            expires = found["Labels"].get(EXPIRES, "")
            if expires.isascii() and expires.isdecimal() and int(expires) < time.time():
                run.note(f"removing {found['Names'][0].lstrip('/')}, which a run that died has left")
                _remove(run, engine, found["Id"])


def _config(engine: Engine, image: LocalImage, user: str, test: Test) -> dict[str, Any]:
    client = engine.client
    processors = client.info().get("NCPU", 0) if test.cpus > 1 else 0
    cpus = min(test.cpus, processors or test.cpus)  # more than there are is an error to Docker
    limits = client.create_host_config(
        mem_limit=test.memory,
        memswap_limit=test.memory,  # as much as memory alone: no swap
        nano_cpus=int(cpus * 1e9),
        pids_limit=test.processes,
        network_mode=test.network,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        log_config={"Type": "none"},  # we read as it comes; a log on the host's disk would have no limit
    )
    config: dict[str, Any] = client.create_container_config(
        image.id,
        # As the entry point, so that cd.yaml's command runs as it stands there, whatever the image puts before.
        command=None,
        entrypoint=list(test.command) or None,
        user=user,
        host_config=limits,
        labels=_expiring(test.time),
        network_disabled=test.network == "none",
    )
    return config


def _remove(run: Run, engine: Engine, name: str) -> None:
    import docker.errors

    try:
        with explained("removing the test container"), suppress(docker.errors.NotFound):
            engine.client.remove_container(name, force=True, v=True)
    except (CdError, OutOfTime) as problem:
        run.warn(f"{name} could not be removed, which a later run will do: {problem.message}")
