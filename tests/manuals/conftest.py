"""Tests here do what the manuals say, command by command; they need no server of the lab's, and take their time."""

from plain_git import git_settings, plain_git

__all__ = ["git_settings", "plain_git"]
