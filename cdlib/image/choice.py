"""Which builder works on this machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.image.builders import Builder, BuildKit, Buildx, EngineBuilder
from cdlib.image.engine import Engine

_BUILTIN_BEFORE = 23  # from this version on the docker command needs buildx to speak to BuildKit
_PLUGINS = ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
_PROBE = 20.0  # seconds


def choose(wanted: str, engine: Engine, deadline: Deadline) -> Builder:
    """The builder that `wanted` names, or the best at hand for `auto`. Raises UsageProblem where it is not here."""
    programs = list(_docker_programs())
    plugin = _plugin() if wanted in ("auto", "buildx") and programs else None
    driver = _driver(plugin, deadline) if plugin else ""
    if plugin and driver:
        return Buildx(plugin, driver)
    if wanted in ("auto", "buildkit"):
        for program in programs:
            version = process.run([program, "--version"], deadline.part(_PROBE, "docker --version")).stdout
            number = re.search(r"version ((\d+)\.[\w.]+)", version)
            if number and int(number[2]) < _BUILTIN_BEFORE:
                return BuildKit(program, number[1])
    if wanted in ("auto", "engine"):
        return EngineBuilder(engine)
    missing = {
        "buildx": "the docker command has no working buildx plugin",
        "buildkit": f"PATH has no docker command older than {_BUILTIN_BEFORE}, which alone carry BuildKit",
    }
    raise UsageProblem(f"--builder {wanted}: {missing[wanted]}", hint="use --builder auto, or install docker-buildx")


def _driver(plugin: Path, deadline: Deadline) -> str:
    """The driver of the builder that buildx would take; empty where buildx does not work.

    Where nobody has chosen a builder, it is the Engine's own; asking buildx for that takes twice as long.
    """
    chosen = _chosen()
    limit = deadline.part(_PROBE, "docker-buildx inspect" if chosen else "docker-buildx version")
    try:
        asked = process.run([plugin, "inspect" if chosen else "version"], limit, tied=False)
    except OSError:  # no program for this machine
        return ""
    driver = re.search(r"^Driver:\s*(\S+)", asked.stdout if chosen else "Driver: docker", re.MULTILINE)
    return driver[1] if asked.ok and driver else ""


def _chosen() -> bool:
    """Whether somebody has chosen a builder, by BUILDX_BUILDER or `docker buildx use`."""
    folder = Path(os.environ.get("BUILDX_CONFIG") or _config() / "buildx")
    try:
        said = json.loads((folder / "current").read_text(encoding="utf-8"))
        named = bool(said.get("Name")) if isinstance(said, dict) else True
    except FileNotFoundError:
        named = False
    except (OSError, ValueError):
        named = True
    # `docker buildx use --default` keeps one for each Docker host in a file of its own.
    return bool(os.environ.get("BUILDX_BUILDER")) or named or any(folder.glob("defaults/*"))


def _config() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _docker_programs() -> Iterator[Path]:
    """Every docker command on PATH, in its order: the first is not always one that can build with BuildKit."""
    seen = set()
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = Path(folder or ".") / "docker"
        if os.access(program, os.X_OK) and program.is_file() and program.resolve() not in seen:
            seen.add(program.resolve())
            yield program


def _plugin() -> Path | None:
    """The buildx plugin that the docker command would take, by its order of folders; None where there is none.

    It is a program of its own, too: started by the docker command, it takes 50 ms longer.
    """
    config = _config()
    folders = [*_extra(config), config / "cli-plugins", *(Path(p) / "docker" / "cli-plugins" for p in _PLUGINS)]
    programs = (folder / "docker-buildx" for folder in folders)
    return next((program for program in programs if program.is_file() and os.access(program, os.X_OK)), None)


def _extra(config: Path) -> list[Path]:
    """The folders of plugins that docker's config.json names."""
    try:
        said = json.loads((config / "config.json").read_text(encoding="utf-8")).get("cliPluginsExtraDirs")
    except (OSError, ValueError, AttributeError):
        return []
    return [Path(folder) for folder in said if isinstance(folder, str)] if isinstance(said, list) else []
