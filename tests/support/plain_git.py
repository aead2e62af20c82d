"""Git without anybody's configuration, for every test of a folder whose conftest has these."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def git_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a clean-up after each commit, and without sample hooks: each costs a moment, and tests make thousands."""
    folder = tmp_path_factory.mktemp("git")
    (folder / "template" / "hooks").mkdir(parents=True)
    settings = f"[gc]\nauto = 0\n[maintenance]\nauto = false\n[init]\ntemplateDir = {folder}/template\n"
    (folder / "config").write_text(settings, encoding="utf-8")
    return folder / "config"


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, git_settings: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(git_settings))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.org")
