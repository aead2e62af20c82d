"""The audit record: nothing in it can be changed, left out or put in without its showing."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cdlib.documents import schema_mistakes
from cdlib.errors import Unavailable, UsageProblem
from cdlib.redact import Redactor
from cdlib.report.audit import FIRST, LONGEST, Audit, check

Lines = list[bytes]


def written(file: Path, count: int = 4) -> Audit:
    audit = Audit(file, Redactor())
    for number in range(count):
        audit.append("permit", digest=f"sha256:{number}", n=99, hash="mine")
    return audit


def problems(file: Path) -> list[str]:
    return [problem for _, problem in check(file)]


def test_each_entry_follows_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    written(file)
    entries = [entry for entry, _ in check(file)]
    assert problems(file) == [""] * 4 and [entry["n"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["previous"] for entry in entries] == [FIRST, *(entry["hash"] for entry in entries[:-1])]
    assert entries[2]["digest"] == "sha256:2" and entries[2]["event"] == "permit"


def edited(old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [line.replace(old, new) for line in lines]


def rehashed(lines: Lines) -> Lines:
    """An entry is changed, and its own hash made to fit."""
    from cdlib.report.audit import _hash

    entry = json.loads(lines[1])
    entry["digest"] = "sha256:other"
    entry["hash"] = _hash(entry)
    return [lines[0], json.dumps(entry).encode(), *lines[2:]]


@pytest.mark.parametrize(
    ("spoil", "where", "words"),
    [
        (edited(b'"sha256:1"', b'"sha256:7"'), 1, "somebody has changed it"),
        (rehashed, 2, "does not follow"),
        (lambda lines: [lines[0], *lines[2:]], 1, "does not follow"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 1, "does not follow"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 1, "does not follow"),
        (lambda lines: [lines[0], b'{"n": 2}', *lines[1:]], 1, "no entry"),
        (lambda lines: lines[1:], 0, "does not follow"),
        (lambda lines: [lines[0], b'{"n": 9, ' + lines[1][1:], *lines[2:]], 1, "no entry"),
        (lambda lines: [lines[0], b"[" * 100_000, *lines[1:]], 1, "no entry"),
    ],
)
def test_what_was_done_to_it_shows(tmp_path: Path, spoil: Callable[[Lines], Lines], where: int, words: str) -> None:
    file = tmp_path / "audit.jsonl"
    written(file)
    file.write_bytes(b"\n".join(spoil(file.read_bytes().splitlines())) + b"\n")
    found = problems(file)
    assert words in found[where] and found[:where] == [""] * where


def test_an_end_that_a_crash_has_torn_is_told_and_what_follows_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit = written(file, 2)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 4])
    audit.append("refused")
    assert [bool(problem) for problem in problems(file)] == [False, False, True, False]
    assert [entry.get("n") for entry, _ in check(file)] == [1, 2, None, 3]


def test_no_secret_and_no_end_of_line_gets_into_it(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.hide(["hunter2hunter2"])
    Audit(tmp_path / "a", redactor).append("refused", message="it is hunter2hunter2\n\u2028{}\udcff")
    text = (tmp_path / "a").read_bytes()
    assert b"hunter2" not in text and text.count(b"\n") == 1 and problems(tmp_path / "a") == [""]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem):
        written(tmp_path / "none" / "audit.jsonl")
    with pytest.raises(Unavailable, match="disk is full"):
        written(Path("/dev/full"))
    audit = written(tmp_path / "a", 1)
    with pytest.raises(UsageProblem, match="is not written"):
        audit.append("refused", message="x" * LONGEST)
    (tmp_path / "b").write_text("something else\n")
    with pytest.raises(UsageProblem, match="could be an entry"):
        written(tmp_path / "b")


def _write(file: Path) -> None:
    written(file, 10)


def test_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    writers = [multiprocessing.get_context("fork").Process(target=_write, args=(file,)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert problems(file) == [""] * 40


@dataclass
class Shown:
    """Runs `cd-status --audit`."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        from jobs.cd_status import main

        with pytest.raises(SystemExit) as caught:
            main.main(["-C", str(self.folder), *argv])
        out, err = self.capsys.readouterr()
        return int(caught.value.code or 0), out, err


@pytest.fixture
def show(tmp_path: Path, capsys: pytest.CaptureFixture[str], _signals: None) -> Shown:
    return Shown(tmp_path, capsys)


def test_cd_status_prints_a_sound_record(tmp_path: Path, show: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "audit.jsonl"
    Audit(file, Redactor()).append(
        "hold", release="web", namespace="n", environment="test", who="eve\x1b[31m", reason="why"
    )
    written(file, 2)
    newest = [entry for entry, _ in check(file)][-1]["hash"]
    monkeypatch.setenv("CD_AUDIT", str(file))
    for argv in (["--audit"], ["--audit", str(file)], ["--audit", "-q"], ["--known", newest]):
        code, out, _ = show(*argv)
        assert code == 0 and "n/web (test)" in out and "3 entries" in out and newest in out and "\x1b" not in out
    document = json.loads(show("--audit", "--json")[1])
    assert schema_mistakes(document, "result") == []
    assert [entry["event"] for entry in document["audit"]["entries"]] == ["hold", "permit", "permit"]
    assert document["audit"]["problems"] == [] and document["audit"]["hash"] == newest


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (edited(b'"sha256:1"', b'"sha256:7"'), 2),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [*lines[:3], lines[3][:40]], 4),
        (lambda lines: lines[:3], 4),  # which only shows to who knows what was there
        (lambda _: [], 1),
    ],
    ids=["edit", "reorder", "one left out", "cut within an entry", "cut after an entry", "emptied"],
)
def test_cd_status_refuses_a_broken_one_and_shows_it(
    tmp_path: Path, show: Shown, spoil: Callable[[Lines], Lines], line: int
) -> None:
    file = tmp_path / "audit.jsonl"
    written(file)
    newest = [entry for entry, _ in check(file)][-1]["hash"]
    file.write_bytes(b"".join(each + b"\n" for each in spoil(file.read_bytes().splitlines())))
    code, out, err = show("--audit", str(file), "--known", newest)
    assert code == 6 and f"line {line}: " in err and f"! line {line}: " in out and "chain is broken" in out
    document = json.loads(show("--audit", str(file), "--known", newest, "--json")[1])
    assert document["exit_code"] == 6 and document["audit"]["problems"][0]["line"] == line


def test_of_many_spoilt_lines_the_first_are_shown_and_once(tmp_path: Path, show: Shown) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_text("x\n" * 50)
    code, out, err = show("--audit", str(file))
    assert code == 6 and out.count("! line ") == 20 and "! and 30 more" in out and err.count("line ") == 1
    assert len(json.loads(show("--audit", str(file), "--json")[1])["audit"]["problems"]) == 50


def test_cd_status_wants_a_record_that_is_there(tmp_path: Path, show: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CD_AUDIT", raising=False)
    assert show("--audit")[0] == 2
    assert show("--audit", str(tmp_path / "none"))[0] == 2
