"""Debian's packages that the lab is made of."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import Unavailable

_LIMIT = 1200.0  # seconds
_FRESH = 24 * 3600.0  # seconds for which apt's lists are taken to be good
_POLICY = Path("/usr/sbin/policy-rc.d")
_LISTS = Path("/var/lib/apt/lists")
# util-linux, for unshare, is on every Debian.
# curl is what the demo and the tests ask services with.
ALWAYS = ("curl", "docker-registry", "iproute2", "iptables", "kmod", "mmdebstrap")
DOCKER = ("docker.io",)
# What only the tests call: pgrep, shells that complete, and a browser with letters to write in.
EXTRAS = ("chromium", "chromium-driver", "fish", "fonts-dejavu-core", "procps", "zsh")
APPARMOR = ("apparmor",)
KUBERNETES = ("conntrack", "containerd", "containernetworking-plugins", "etcd-server", "socat")


def install(wanted: Sequence[str], say: Callable[[str], None]) -> None:
    """Install those of `wanted` that are missing, without starting any service of theirs.

    Raises Unavailable where apt-get fails.
    """
    missing = [name for name in wanted if not installed(name)]
    if not missing:
        return
    say(f"installing {' '.join(missing)}")
    if not _known(missing):
        _apt(["update", "--quiet"], say)
    with no_services():
        _apt(["install", "--yes", "--quiet", "--no-install-recommends", *missing], say)


def installed(name: str) -> bool:
    """Whether dpkg has the package `name` installed."""
    done = process.run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", name], Deadline(30, "dpkg"))
    return done.stdout.startswith("ii")


def apparmor_is_on() -> bool:
    """Whether the kernel has AppArmor on; containers then need its parser to load their profile."""
    switch = Path("/sys/module/apparmor/parameters/enabled")
    return switch.exists() and switch.read_text().strip() == "Y"


def _known(names: Sequence[str]) -> bool:
    """Whether apt's lists are fresh and have every one of `names`."""
    newest = max((path.stat().st_mtime for path in _LISTS.glob("*_Packages*")), default=0.0)
    if time.time() - newest > _FRESH:
        return False
    done = process.run(["apt-cache", "show", "--quiet=0", "--no-all-versions", *names], Deadline(60, "apt-cache"))
    return done.ok


def _apt(words: list[str], say: Callable[[str], None]) -> None:
    def tell(line: str) -> None:
        if line.startswith(("Fetched", "Setting up")):
            say(f"apt-get: {line}")

    env = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # Another apt may be at work, as the daily upgrade is on a laptop that has just been switched on.
    argv = ["apt-get", "-o", "DPkg::Lock::Timeout=300", *words]
    done = process.run(argv, Deadline(_LIMIT, "apt-get"), env=env, on_line=tell)
    if not done.ok:
        raise Unavailable(
            f"apt-get {words[0]} failed", details=done.stderr[-6:], hint="see whether apt-get update works"
        )


@contextlib.contextmanager
def no_services(policy: Path = _POLICY) -> Iterator[None]:
    """While this lasts, no package that is installed starts a service (invoke-rc.d's policy layer).

    A policy that the machine has already is left alone.
    """
    try:
        handle = os.open(policy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with open(handle, "w") as file:
            file.write(_FORBID)
        yield
    finally:
        policy.unlink(missing_ok=True)


_FORBID = """\
#!/bin/sh
# cdlib's lab puts this here while it installs packages, and takes it away afterwards.
exit 101
"""
