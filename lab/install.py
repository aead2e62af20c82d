"""Everything that the lab is made of, installed or compiled once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from lab import base, golang, images, npm, packages, processes
from lab.layout import Layout
from lab.loop import parts
from lab.servers import PAUSE_IMAGE
from lab.tools import BUILDX, EXTRAS, HELM, KUBECTL, KUBERNETES, PAUSE, Tool

Say = Callable[[str], None]


def install(layout: Layout, given: Collection[str], *, extras: bool, say: Say, loop: bool = False) -> None:
    """Install what is missing, leaving out what is only for servers that are `given`.

    `loop` adds Gerrit, ZooKeeper and Zuul. `extras` adds what tests need beside: Helm 3, buildx, cosign, kwok, a
    frontend of BuildKit, pgrep, Chromium, axe. Quick where all is there. Raises UsageProblem without root, Unavailable
    where a package cannot be had.
    """
    processes.require_root("lab install")
    _discard_half_made(layout)
    more = (packages.EXTRAS if extras else ()) + (parts.PACKAGES if loop else ())
    packages.install([*_packages(given), *more], say)
    missing = [tool for tool in _tools(given, extras) if not (layout.tools / tool.key).exists()]
    if missing:
        go = golang.find(layout, missing, say)
        for tool in missing:
            golang.build(go, tool, layout, say)
    if "kubernetes" not in given:
        images.pause(layout, layout.tools / PAUSE.key / "pause", PAUSE_IMAGE)
    base.make(layout.images, say)
    if extras:
        npm.install(npm.AXE, layout, say)
    if loop:
        parts.install(layout, say)
    _link(layout)


def _tools(given: Collection[str], extras: bool) -> list[Tool]:
    wanted = [HELM, *(EXTRAS if extras else ())]
    if "kubernetes" not in given:
        return [KUBERNETES, PAUSE, *wanted]
    return wanted if shutil.which("kubectl") else [KUBECTL, *wanted]


def _packages(given: Collection[str]) -> list[str]:
    wanted = [*packages.ALWAYS]
    if "docker" not in given or not shutil.which("docker"):
        wanted += packages.DOCKER
    if packages.apparmor_is_on():
        wanted += packages.APPARMOR
    if "kubernetes" not in given:
        wanted += packages.KUBERNETES
    return wanted


def _discard_half_made(layout: Layout) -> None:
    """Remove what an interrupted build left: nobody else builds while we hold the lock."""
    for folder in (layout.tools, layout.images):
        for half in [*folder.glob(".building-*"), *folder.glob(".making-*")]:
            shutil.rmtree(half, ignore_errors=True)


def _link(layout: Layout) -> None:
    """Give the programs that people call their names in LAB_ROOT/bin, and buildx its place as a plugin."""
    for tool in (KUBECTL, KUBERNETES, HELM, *EXTRAS):
        for name, program in tool.links:
            _point(layout.bin / name, tool, program, layout)
    _point(layout.docker_config / "cli-plugins" / BUILDX.rename, BUILDX, BUILDX.rename, layout)


def _point(link: Path, tool: Tool, program: str, layout: Layout) -> None:
    target = layout.tools / tool.key / program
    if not target.exists() or (link.is_symlink() and link.readlink() == target):
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    scratch = link.with_name(f".{link.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)
