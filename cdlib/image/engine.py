"""Docker Engine through docker-py: one client a run, and its errors as ours."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any, TypeVar

from cdlib.deadline import Deadline
from cdlib.errors import CdError, NotAllowed, Unavailable, UsageProblem
from cdlib.image.engine_errors import explained, transfer_problem
from cdlib.image.platforms import HERE, Platforms, platforms_of
from cdlib.reference import Reference
from cdlib.registry.auth import end_helpers_in_time

T = TypeVar("T")
_ANSWER = 60  # seconds for one answer of the Engine; streams are bounded by the deadline instead
NAME_IS_GONE = "does not exist locally with the tag"


@dataclass(frozen=True)
class LocalImage:
    """An image that the Engine has. `pulled_as` are the names with digests under which registries know it."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    pulled_as: tuple[str, ...] = ()


class Engine:
    """The Docker Engine that DOCKER_HOST, or the current docker context, names. Connects when first used."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._responses: list[Any] = []

    @cached_property
    def client(self) -> Any:
        """docker-py's low-level client. Raises Unavailable where no Engine answers."""
        return self._connected("auto")

    @cached_property
    def streams(self) -> Any:
        """A client for streaming answers alone, which may well be silent for minutes: `cut` ends them in time."""
        client = self._connected(self.client.api_version)
        client.timeout = None
        client.hooks["response"].append(lambda response, **_: self._responses.append(response))
        return client

    def _connected(self, version: str) -> Any:
        import docker

        with explained("connecting to Docker"):
            client: Any = docker.APIClient(version=version, timeout=_ANSWER, **self._where)
            end_helpers_in_time(client._auth_configs, self.deadline)
        return client

    @cached_property
    def _where(self) -> dict[str, Any]:
        from docker.context import ContextAPI
        from docker.context.config import get_current_context_name
        from docker.utils import kwargs_from_env

        if not os.environ.get("DOCKER_HOST"):
            name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name() or "default"
            with explained("reading the docker context"):
                context = ContextAPI.get_context(name)
            if context is None:
                raise UsageProblem(
                    f"there is no docker context {name!r}", hint="docker context ls shows those there are"
                )
            if context.name != "default":
                tls = {"tls": context.TLSConfig} if context.TLSConfig else {}
                return {"base_url": context.Host, **tls}
        return dict(kwargs_from_env())

    @cached_property
    def platforms(self) -> Platforms:
        """What this Engine builds for, and on; where none answers, what this machine's would."""
        try:
            with explained("asking Docker for its platform"):
                said = self.client.version()
        except (Unavailable, NotAllowed, UsageProblem):
            return platforms_of(HERE.build)
        return platforms_of(f"{said['Os']}/{said['Arch']}")

    def image(self, name: str) -> LocalImage | None:
        """The image `name` (a tag, a digest or an id), None where the Engine does not have it."""
        import docker.errors

        with explained(f"looking for the image {name}"):
            try:
                found = self.client.inspect_image(name)
            except docker.errors.ImageNotFound:
                return None
        config = found.get("Config") or {}
        return LocalImage(found["Id"], config.get("Labels") or {}, config.get("User") or "",
                          tuple(found.get("RepoDigests") or ()))  # fmt: skip

    def push(self, image: str, destination: Reference, on_line: Callable[[str], None]) -> str:
        """Push `image` as `destination`, a repository and tag, with the docker configuration's credentials.

        Returns the digest of the manifest that the Engine has pushed, empty where it does not say.
        """
        # An Engine pushes only what it has under the very name. Another run that pushes the same takes the name
        # away when it is done, so it is given again as often as that happens: at most once for each other run.
        while (pushed := self._push_named(image, destination, on_line)) is None:
            self.deadline.require(f"pushing {destination}")
        return pushed

    def _push_named(self, image: str, destination: Reference, on_line: Callable[[str], None]) -> str | None:
        """Name the image and push it; its manifest's digest, None where the name was taken away in between."""
        digest = ""
        with explained(f"pushing {destination}"):
            self.client.tag(image, destination.repository, destination.tag)
        try:
            stream = self.streamed(
                lambda: self.streams.push(destination.repository, destination.tag, stream=True, decode=True),
                f"pushing {destination}",
            )
            with closing(stream) as lines:
                for line in lines:
                    if "error" in line and NAME_IS_GONE in str(line["error"]):
                        return None
                    if "error" in line:
                        raise transfer_problem(str(line["error"]), f"pushing {destination}", destination.host)
                    if isinstance(said := line.get("aux"), dict) and said.get("Digest"):
                        digest = str(said["Digest"])
                    if "progress" not in line and line.get("status"):
                        on_line(": ".join(filter(None, (line.get("id", ""), line["status"]))))
        finally:
            with suppress(CdError), explained("removing a tag"):
                self.client.remove_image(str(destination), noprune=True)
        return digest

    def pull(self, source: Reference) -> None:
        """Pull an image by tag or digest. Raises what transfer_problem says."""
        what = source.tag or source.digest
        pulled = self.streamed(
            lambda: self.streams.pull(source.repository, what, stream=True, decode=True), f"pulling {source}"
        )
        with closing(pulled) as lines:
            for line in lines:
                if "error" in line:
                    raise transfer_problem(str(line["error"]), f"pulling {source}", source.host)

    def build(
        self, name: str, context: IO[bytes], recipe: str, **options: Any
    ) -> Generator[dict[str, Any], None, None]:
        """Build by the Engine's own builder from a tar file, which holds the Dockerfile as `recipe`; its log."""
        return self.streamed(
            lambda: self.streams.build(
                fileobj=context, custom_context=True, dockerfile=recipe, tag=name, decode=True, rm=True, forcerm=True,
                **options,
            ),
            f"building {name}",
        )  # fmt: skip

    def has_built(self, service: str) -> bool:
        """Whether the Engine has any image of the service."""
        with explained("looking for images"):
            return bool(self.client.images(filters={"label": [f"org.opencontainers.image.title={service}"]}))

    def streamed(
        self, start: Callable[[], Iterable[T]], doing: str, deadline: Deadline | None = None
    ) -> Generator[T, None, None]:
        """The items of a streaming answer of `streams`, which ends with OutOfTime where it outlasts the deadline.

        To be closed by who may leave it before its end: the Engine holds a container's lock for as long as an
        answer about it is open, and an error's traceback would keep it so.
        """
        limit = deadline or self.deadline
        limit.require(doing)
        self._responses.clear()
        cut = threading.Timer(limit.left, self._cut)
        cut.daemon = True
        cut.start()
        try:
            with explained(doing):
                for item in start():
                    if limit.over:
                        break
                    yield item
        except Unavailable:
            if not limit.over:
                raise
        finally:
            cut.cancel()
            cut.join()
            self._cut()
            while self._responses:  # over TCP, a peer that has only shut down is written to all the same
                self._responses.pop().close()
        limit.require(doing)

    def _cut(self) -> None:
        """Shut the connections of open answers: a reader that waits on one wakes up and ends."""
        for response in tuple(self._responses):
            with suppress(AttributeError, OSError, ValueError):
                raw = self.streams._get_raw_response_socket(response)
                getattr(raw, "_sock", raw).shutdown(socket.SHUT_RDWR)
