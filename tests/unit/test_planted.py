"""That a secret which a program says or leaves is found: what all tests rely on."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from planted import GARDEN, Garden
from signing import new_signers

SECRET = "a-secret-of-this-test"


@pytest.fixture
def found() -> list[str]:
    """What all tests together have found in this one; given back empty, so that it passes."""
    return GARDEN.found


def ends_clean(found: list[str], *names: str) -> None:
    assert len(found) == len(names) and all(name in text for name, text in zip(names, found, strict=True)), found
    found.clear()


def test_in_what_a_program_prints(found: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    GARDEN.plant("mine", SECRET)
    printing = [sys.executable, "-c", f"import sys; print('{SECRET}', file=sys.stderr)"]
    subprocess.run(printing, capture_output=True, check=True)
    ends_clean(found, "has printed has mine")
    print("x", base64.b64encode(SECRET.encode()).decode())
    capsys.readouterr()
    ends_clean(found, "has mine")


def test_in_the_environment_it_is_planted_by_its_name(found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    subprocess.run(
        [sys.executable, "-c", "import os; print(os.environ['SOME_TOKEN'])"], capture_output=True, check=True
    )
    ends_clean(found, "SOME_TOKEN")


def test_in_files_but_its_own(tmp_path: Path) -> None:
    garden = Garden()
    signers = new_signers(tmp_path / "keys")
    body = signers.file("permit").read_text().splitlines()[1]
    garden.plant("key", signers.file("permit").read_bytes(), signers.file("permit"))
    garden.plant("mine", SECRET, tmp_path / "own")
    (tmp_path / "own").write_text(SECRET)
    (tmp_path / "deep" / ".cd").mkdir(parents=True)
    assert garden.search(tmp_path) == []
    (tmp_path / "deep" / ".cd" / "events.jsonl").write_text(f'{{"line": "{body}"}}')
    (tmp_path / "link").symlink_to("own")
    assert garden.search(tmp_path) == [f"{tmp_path}/deep/.cd/events.jsonl has key"]
    (tmp_path / "deep" / ".cd" / "events.jsonl").unlink()  # or this very test would fail
    (tmp_path / "own").rename(tmp_path / "copy")
    assert f"{tmp_path}/copy has mine" in garden.search(tmp_path)


def test_what_was_planted_for_one_test_is_over_with_it() -> None:
    assert SECRET.encode() not in GARDEN.values


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    signers = new_signers(tmp_path)
    assert all(GARDEN.names_in(file.read_bytes()) == [] for files in signers.files.values() for file in files)
    assert GARDEN.names_in(signers.file("permit").read_bytes()) == ["the signing key permit"]
