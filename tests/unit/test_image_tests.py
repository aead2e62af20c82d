"""Test runs: what JUnit files say, which files are taken from a container, and how it all is judged."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdlib.errors import TestsFailed, UsageProblem
from cdlib.image import reports
from cdlib.image.container import Ended
from cdlib.image.junit import Tests, read_tests
from cdlib.image.reports import empty_folder, only_file, unpack
from cdlib.image.testrun import _judge, _require_network
from cdlib.image.user import is_named, runs_as
from cdlib.reference import parse
from cdlib.service import Test
from cdlib.target import Allowed, Target

GOOD = b'<testsuite><testcase classname="a.B" name="one"/><testcase name="two"><skipped/></testcase></testsuite>'
BAD = b"""<testsuites xmlns="http://junit.org/x"><testsuite>
<testcase classname="a.B" name="three"><system-out>x</system-out><failure message="&#10; first &lt;line&gt;&#10;second">t</failure></testcase>
<testcase classname="a.B" name="four"><error>only text
more</error></testcase><testcase><failure/></testcase></testsuite></testsuites>"""
BOMB = b'<!DOCTYPE a [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]><testsuite><testcase name="&y;"/></testsuite>'


def write(folder: Path, **files: bytes) -> list[Path]:
    for name, content in files.items():
        (folder / f"{name}.xml").write_bytes(content)
    return sorted(folder.glob("*.xml"))


def test_what_junit_files_say_together(tmp_path: Path) -> None:
    tests = read_tests(write(tmp_path, good=GOOD, bad=BAD))
    assert tests.as_dict() == {"total": 5, "passed": 1, "failed": 3, "skipped": 1} and tests.executed == 4
    assert tests.failures == ["a.B::three: first <line>", "a.B::four: only text", "(a test without a name)"]


@pytest.mark.parametrize(
    "content", [BOMB, b"", b"<testsuite>", b"\x00\xff", b'<?xml version="1.0" encoding="nope"?><a/>']
)
def test_hostile_or_broken_files_are_named_and_not_read(tmp_path: Path, content: bytes) -> None:
    tests = read_tests(write(tmp_path, x=content))
    assert tests.unreadable == ["x.xml"] and tests.executed == 0


def archive(*entries: tuple[str, bytes | None, bytes | str], mtime: float = 1000) -> Iterator[bytes]:
    """A tar stream of (name, type, content or link)."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind or tarfile.REGTYPE, int(mtime)
            if isinstance(content, str):
                info.linkname = content
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    yield whole.getvalue()


def test_only_junit_files_come_out_and_only_here(tmp_path: Path) -> None:
    folder = empty_folder(tmp_path / "out")
    taken, old = unpack(
        archive(
            ("reports/", tarfile.DIRTYPE, b""), ("reports/a.xml", None, GOOD), ("reports/unit/b b.xml", None, GOOD),
            ("reports/../../../etc/evil.xml", None, GOOD), ("/abs.XML", None, GOOD), ("reports/notes.txt", None, b"x"),
            ("reports/link.xml", tarfile.SYMTYPE, "/etc/passwd"), ("reports/hard.xml", tarfile.LNKTYPE, "/etc/passwd"),
            ("reports/device.xml", tarfile.CHRTYPE, b""), ("reports/fifo.xml", tarfile.FIFOTYPE, b""),
        ),
        folder, not_before=0,
    )  # fmt: skip
    assert [path.name for path in taken] == ["a.xml", "001-unit-b_b.xml", "002-etc-evil.xml", "003-abs.xml"]
    assert all(path.parent == folder and path.read_bytes() == GOOD for path in taken) and old == []
    assert [path.name for path in tmp_path.rglob("*.xml")].count("evil.xml") == 0


def test_files_that_were_in_the_image_say_nothing(tmp_path: Path) -> None:
    taken, old = unpack(archive(("r/a.xml", None, GOOD), mtime=1000), tmp_path, not_before=1001)
    assert taken == [] and old == ["r/a.xml"]


def test_nothing_and_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpack(iter(()), tmp_path, not_before=0) == ([], [])
    monkeypatch.setattr(reports, "FILES", 2)
    with pytest.raises(TestsFailed, match="more than 2 files"):
        unpack(archive(*((f"{n}.xml", None, b"x") for n in range(3))), tmp_path, not_before=0)
    monkeypatch.setattr(reports, "FILE_SIZE", 10)
    with pytest.raises(TestsFailed):
        unpack(archive(("a.xml", None, b"x" * 11)), tmp_path, not_before=0)
    monkeypatch.setattr(reports, "ALL_SIZE", 100)
    with pytest.raises(TestsFailed, match="MiB"):
        unpack(iter([b"x" * 101]), tmp_path, not_before=0)
    monkeypatch.setattr(reports, "ALL_SIZE", 10**6)
    with pytest.raises(TestsFailed, match="cannot be read"):
        unpack(iter([b"x" * 2000]), tmp_path, not_before=0)


def test_the_folder_is_emptied_and_no_link_followed(tmp_path: Path) -> None:
    folder = empty_folder(tmp_path)
    (folder / "old.xml").write_bytes(GOOD)
    assert list(empty_folder(tmp_path).iterdir()) == []
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageProblem, match="symbolic link"):
        empty_folder(tmp_path)


OK = Ended(0, False, 0.0)


@pytest.mark.parametrize(
    ("tests", "ended", "said"),
    [
        (Tests(1, 2, 0, ["a::b: x", "a::c: y"]), Ended(1, False, 0), "2 of 3 tests failed"),
        (Tests(1, 1, 0, ["a::b: x"]), OK, "1 of 2 tests failed"),
        (Tests(5, 0, 0), Ended(137, True, 0), "more than 512 MiB of memory"),
        (Tests(5, 0, 0), Ended(3, False, 0), "exit status 3, although 5 tests passed"),
        (Tests(), Ended(5, False, 0), "exit status 5, and no test was executed"),
        (Tests(), OK, "no test was executed: there is no JUnit file"),
        (Tests(0, 0, 4), OK, "all 4 were skipped"),
        (Tests(3, 0, 0, [], ["x.xml"]), OK, "x.xml: no JUnit file that can be read"),
    ],
)
def test_all_that_is_a_failure(tests: Tests, ended: Ended, said: str) -> None:
    with pytest.raises(TestsFailed, match=said) as caught:
        _judge(Test(), ended, tests, [], ["last", "", "words"])
    assert caught.value.exit_code == 4 and caught.value.hint
    assert list(caught.value.details) == (tests.failures or ["last", "words"])


def test_what_is_none() -> None:
    _judge(Test(), OK, Tests(1, 0, 7), ["old.xml"], [])
    with pytest.raises(TestsFailed, match=r"old\.xml was in the image before"):
        _judge(Test(), OK, Tests(), ["old.xml"], [])


def test_many_failures_are_counted_not_listed() -> None:
    tests = Tests(0, 50, 0, [f"a::{n}" for n in range(50)])
    with pytest.raises(TestsFailed) as caught:
        _judge(Test(), OK, tests, [], [])
    assert len(caught.value.details) == 21 and caught.value.details[-1] == "… and 30 more"


@pytest.mark.parametrize(
    ("user", "number"),
    [("", "65534:65534"), ("root", "65534:65534"), ("0", "65534:65534"), ("00:5", "65534:65534"), ("root:app", "65534:65534"),
     ("+0", "65534:65534"), ("-0", "65534:65534"), ("\u00b2", "65534:65534"), ("\u0660", "65534:65534"), ("0" * 5000, "65534:65534"),
     ("4294967296", "65534:65534"), ("900:900", "900:900"), ("900", "900")],
)  # fmt: skip
def test_tests_never_run_as_root(user: str, number: str) -> None:
    assert runs_as(user) == number and not is_named(user)


@pytest.mark.parametrize(
    ("passwd", "number"),
    [("root:x:0:0::/:/bin/sh\n app:x:1000:1000::/:\napp:x:0:0\n", "1000:staff"), ("app:x:0:0::/:\n", "65534:65534"), ("", "65534:65534"),
     ("app:x:+0:0\napp:x:1:1\n", "65534:65534"), ("app:x\n", "65534:65534"), ("app:x:junk:7:\n", "65534:65534")],
)  # fmt: skip
def test_a_name_is_looked_up_in_the_image(passwd: str, number: str) -> None:
    assert is_named("app:staff") and runs_as("app:staff", passwd) == number


def test_only_a_plain_file_is_read_from_the_image() -> None:
    whole = b"".join(archive(("passwd", None, b"app:x:1:1"), ("more", None, b"x")))
    assert only_file([whole[:700], whole[700:]]) == "app:x:1:1"
    link = b"".join(archive(("passwd", tarfile.SYMTYPE, "/etc/shadow")))
    for nothing in ([], [b"x" * 600], [link], [b"".join(archive(("passwd", None, b"x" * 2**20)))]):
        assert only_file(nothing) == ""


def test_no_report_takes_anothers_place(tmp_path: Path) -> None:
    names = ["001-b.xml", "b.xml", "r/A.XML", "r/.xml", "r/000-001-b.xml"]
    taken, _ = unpack(archive(*((name, None, name.encode()) for name in names)), empty_folder(tmp_path), not_before=0)
    assert [path.read_text() for path in taken] == names and len(set(taken)) == len(names)
    assert list(empty_folder(tmp_path).iterdir()) == []


def test_the_network_needs_both_files() -> None:
    name = parse("r.test/hello")
    aim = Target("hello", "hello", name, name, (), Allowed(test_network=True), frozenset())
    _require_network(Test(network="bridge"), aim, "hello")
    _require_network(Test(), None, "hello")
    for other in (None, Target("hello", "hello", name, name, (), Allowed(), frozenset())):
        with pytest.raises(UsageProblem, match="not allowed hello") as caught:
            _require_network(Test(network="bridge"), other, "hello")
        assert ("--targets" in caught.value.hint) == (other is None)
