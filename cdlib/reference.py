"""Names of images: registry, repository, tag, digest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdlib.errors import UsageProblem

# The grammar of github.com/distribution/reference, which every registry and engine follows.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:localhost|{_LABEL}(?:\.{_LABEL})+|\[[0-9a-fA-F:]+\]|{_LABEL}(?=:\d))(?::\d{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?\Z",
    re.ASCII,
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_HUB = "docker.io"


@dataclass(frozen=True)
class Reference:
    """An image's name. `tag` and `digest` are empty where the name has none."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.host}/{self.path}"

    def tagged(self, tag: str) -> Reference:
        """The same repository at `tag`."""
        return Reference(self.host, self.path, tag=tag)

    def at(self, digest: str) -> Reference:
        """The same repository at `digest`."""
        return Reference(self.host, self.path, digest=digest)

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse(text: str, what: str = "image") -> Reference:
    """The name in `text`, with the Docker Hub's defaults filled in. Raises UsageProblem where it is none."""
    match = _REFERENCE.match(text)
    if match is None:
        raise UsageProblem(f"{what}: {text!r} is no image name", hint="write it as registry.example.org/name")
    host, path = match["host"] or _HUB, match["path"]
    if host == _HUB and "/" not in path:
        path = f"library/{path}"
    return Reference(host, path, match["tag"] or "", match["digest"] or "")
