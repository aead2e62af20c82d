"""That a secret which a program says or leaves is found: what all tests rely on."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import planted
import pytest
from planted import GARDEN, MOST_FILES, PIECE, Garden
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


@pytest.mark.parametrize("before", [0, PIECE - 10, PIECE, 3 * PIECE - 1])
def test_to_the_end_of_a_file(tmp_path: Path, before: int) -> None:
    garden = Garden()
    garden.plant("mine", SECRET)
    (tmp_path / "log").write_bytes(b"." * before + SECRET.encode() + b"." * PIECE)
    assert garden.search(tmp_path) == [f"{tmp_path}/log has mine"]


@pytest.mark.parametrize("user", ["a", "ab", "abc", "abcd"])
def test_in_whatever_it_is_written(user: str) -> None:
    garden, secret = Garden(), 'a/se+cret "of" ß ~~~???'
    garden.plant("mine", secret)
    both = f"{user}:{secret}".encode()
    forms = [base64.b64encode(both), base64.urlsafe_b64encode(both), base64.b64encode(both + b"\nmore")]
    forms += [quote(secret).encode(), quote(secret, safe="").encode(), json.dumps({user: secret}).encode()]
    forms += [json.dumps([user, secret], ensure_ascii=False).encode(), quote_plus(secret).encode()]
    assert [garden.names_in(form) for form in forms] == [["mine"]] * len(forms)
    assert garden.names_in(base64.b64encode(f"{user}:another, and of some length".encode())) == []


def test_a_private_file_and_a_kubeconfig_are_no_excuse_for_what_is_archived(tmp_path: Path) -> None:
    garden = Garden()
    garden.plant("mine", SECRET)
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "", "clusters": [], "users": [SECRET]}
    out = tmp_path / ".cd"
    out.mkdir()
    for folder in (tmp_path, out):
        (folder / "private").write_text(SECRET)
        (folder / "private").chmod(0o600)
        (folder / "config").write_text(json.dumps(config))
    leaks = [f"{out}/config has mine", f"{out}/private has mine"]
    assert garden.search(tmp_path) == leaks
    assert sorted(garden.search(tmp_path, strict=True)) == sorted([*leaks, f"{tmp_path}/config has mine",
                                                                  f"{tmp_path}/private has mine"])  # fmt: skip
    (tmp_path / "config").write_text(f"{json.dumps(config)}\nand a log of clusters and their current-context")
    assert f"{tmp_path}/config has mine" in garden.search(tmp_path)


def test_what_is_not_searched_is_said(tmp_path: Path) -> None:
    garden = Garden()
    garden.plant("mine", SECRET)
    for n in range(4):
        (tmp_path / str(n)).write_text("")
    assert garden.search(tmp_path, most=4) == []
    assert "more than 3 files" in garden.search(tmp_path, most=3)[0]
    with pytest.raises(ValueError, match="short is too short"):
        garden.plant("short", "1234567")
    assert MOST_FILES > 1000


@pytest.mark.parametrize(("when", "failed"), [("setup", False), ("call", True), ("teardown", True)])
def test_what_a_fixture_leaves_at_its_end_is_judged(found: list[str], when: str, failed: bool) -> None:
    report = SimpleNamespace(passed=True, outcome="passed", longrepr="", capstdout="", capstderr="", caplog="")
    item: Any = SimpleNamespace(funcargs={})
    call: Any = SimpleNamespace(when=when)
    found.append("a log has mine")
    judging: Any = planted.pytest_runtest_makereport(item, call)
    next(judging)
    with pytest.raises(StopIteration):
        judging.send(report)
    assert (report.outcome == "failed") is failed and bool(found) is not failed
    found.clear()


def test_the_loop_s_tokens_are_planted(tmp_path: Path) -> None:
    garden, before = Garden(), planted.GARDEN
    (tmp_path / "deploy.token").write_text("eyJhbGciOiJS.eyJhdWQiOlsi.abcdefgh-_")
    (tmp_path / "deploy.token").chmod(0o600)
    planted.GARDEN = garden
    try:
        planted.plant_private_files(tmp_path)
    finally:
        planted.GARDEN = before
    assert garden.names_in(b"Bearer eyJhbGciOiJS.eyJhdWQiOlsi.abcdefgh-_") == ["deploy.token"]


def test_what_was_planted_for_one_test_is_over_with_it() -> None:
    assert SECRET.encode() not in GARDEN.values


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    signers = new_signers(tmp_path)
    assert all(GARDEN.names_in(file.read_bytes()) == [] for files in signers.files.values() for file in files)
    assert GARDEN.names_in(signers.file("permit").read_bytes()) == ["the signing key permit"]
