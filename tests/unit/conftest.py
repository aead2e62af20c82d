"""What unit tests share: git repositories that nobody's configuration touches, and a registry."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from given import _signals, registry
from plain_git import git_settings, plain_git

__all__ = ["_signals", "git_settings", "plain_git", "registry"]

Commit = Callable[..., str]

SLACK = 30 * 2**20  # bytes that may be left lying about


class _Memory:
    """This process's: a fork copies the tables of all of it, and tests make some 1500."""

    def __init__(self) -> None:
        self.most = 0
        self.give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None

    def tidy(self) -> None:
        """Give back what large tests have left, once it is worth the time."""
        if self.give_back and _resident() > self.most:
            gc.collect()
            self.give_back(0)
            self.most = _resident() + SLACK


_MEMORY = _Memory()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish() -> None:
    """Between two tests."""
    _MEMORY.tidy()


def _resident() -> int:
    """The bytes of memory that this process holds."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def git() -> Commit:
    """`git(folder, message)` commits all that lies in the folder, and returns the commit."""

    def commit(folder: Path, message: str = "change") -> str:
        if not (folder / ".git").exists():
            _git(folder, "init", "-q", "-b", "master")
        _git(folder, "add", "--all")
        _git(folder, "commit", "-q", "--allow-empty", "-m", message)
        return _git(folder, "rev-parse", "HEAD")

    return commit


def _git(folder: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True, text=True)
    return done.stdout.strip()
