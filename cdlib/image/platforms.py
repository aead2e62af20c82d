"""For which kind of machine an image is, and on which it is built."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass

from cdlib.errors import UsageProblem

VARIABLE = "DOCKER_DEFAULT_PLATFORM"  # which docker's own commands heed, too
_MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_WRITTEN = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?\Z")


@dataclass(frozen=True)
class Platforms:
    """`target` is what the image is for, `build` what the Engine is: both as OS/ARCH or OS/ARCH/VARIANT."""

    target: str
    build: str

    def arguments(self) -> dict[str, str]:
        """The arguments that a Dockerfile has without being given any (Dockerfile reference, "global scope")."""
        found = {}
        for side, whole in (("TARGET", self.target), ("BUILD", self.build)):
            system, architecture, variant = (*whole.split("/"), "")[:3]
            named = {"OS": system, "ARCH": architecture, "PLATFORM": whole, "VARIANT": variant}
            found.update({f"{side}{name}": value for name, value in named.items()})
        return found


HERE = Platforms(f"linux/{_MACHINE}", f"linux/{_MACHINE}")


def platforms_of(build: str) -> Platforms:
    """What an Engine of the platform `build` builds for: its own, or what DOCKER_DEFAULT_PLATFORM says."""
    asked = os.environ.get(VARIABLE, "").lower()
    if asked and not _WRITTEN.match(asked):
        raise UsageProblem(
            f"{VARIABLE} is no platform: {asked[:80]!r}", hint=f"set {VARIABLE}=linux/amd64, or unset it"
        )
    return Platforms(asked.removesuffix("/v8") if asked.startswith("linux/arm64") else asked or build, build)
