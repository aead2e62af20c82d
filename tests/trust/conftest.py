"""Tests here attack the chain of trust, over real git and Gerrit's records as it keeps them; they need no server of the
lab's, and take their time."""

from given import _signals, registry
from plain_git import git_settings, plain_git

__all__ = ["_signals", "git_settings", "plain_git", "registry"]
