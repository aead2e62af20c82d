"""Temporary folders of runs that were killed go, and nothing else does."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cdlib import leftovers
from cdlib.leftovers import OLD, sweep_leftovers
from cdlib.source import open_source


def test_only_old_folders_of_our_own_go(tmp_path: Path, git: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service, place, kept = tmp_path / "service", tmp_path / "tmp", tmp_path / "kept"
    for folder in (service, place, kept):
        folder.mkdir()
    (service / "cd.yaml").write_text("service: hello\n")
    (kept / "file").write_text("x")
    git(service)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    old = time.time() - OLD - 60
    for name in ("cd-source-abc_1", "cd-index-x", "cd-recipe-x", "cd-fetch-x", "cd-source-new", "cd-mirror-x", "tmpx"):
        (place / name / "tree").mkdir(parents=True)
        (place / name / "tree" / "link").symlink_to(kept)
        if name != "cd-source-new":
            os.utime(place / name, (old, old))
    (place / "cd-source-link").symlink_to(kept)
    (place / "cd-source-file").write_text("x")
    for name in ("cd-source-link", "cd-source-file"):
        os.utime(place / name, (old, old), follow_symlinks=False)
    with open_source(service).files():
        pass
    left = {path.name for path in place.iterdir()}
    assert left == {"cd-source-new", "cd-mirror-x", "tmpx", "cd-source-link", "cd-source-file"}
    assert (kept / "file").exists()
    os.utime(place / "cd-source-new", (old, old))
    monkeypatch.setattr(leftovers.os, "getuid", lambda: 4711)
    sweep_leftovers()
    assert (place / "cd-source-new").exists(), "somebody else's"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    sweep_leftovers()
