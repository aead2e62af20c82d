"""What unit tests share: git repositories that nobody's configuration touches, and a registry."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plain_git import git_settings, plain_git
from stand_ins import StandInRegistry, serving

from cdlib.interruptions import INTERRUPTIONS

__all__ = ["git_settings", "plain_git"]

Commit = Callable[..., str]


@pytest.fixture
def _signals() -> Iterator[None]:
    """A command that is called in here takes over signals; they are given back."""
    old = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


@pytest.fixture
def registry() -> Iterator[StandInRegistry]:
    """An empty registry."""
    with serving(StandInRegistry()) as server:
        yield server


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
