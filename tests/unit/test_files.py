"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdlib.files import PRIVATE, replace_file, scratch, take_place


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize("before", [None, b"a" * 100_000])
def test_what_is_new_takes_the_place_of_what_was_there(tmp_path: Path, before: bytes | None) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_bytes(before)
        file.chmod(0o777)
    replace_file(file, b"new")
    assert file.read_bytes() == b"new" and names(tmp_path) == ["file"]
    assert mode(file) == 0o640  # as the umask says, whatever it was


def test_a_key_is_its_owners_alone_from_the_first_moment(tmp_path: Path) -> None:
    with scratch(tmp_path / "key", PRIVATE) as opened:
        assert mode(Path(opened.name)) == 0o600
    replace_file(tmp_path / "key", b"secret", PRIVATE)
    assert mode(tmp_path / "key") == 0o600


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_where_it_fails_what_was_there_stays_and_nothing_else(tmp_path: Path, problem: BaseException) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def cut_short() -> None:
        with scratch(file) as opened:
            opened.write(b"half")
            raise problem

    with pytest.raises(type(problem)):
        cut_short()
    assert file.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_what_does_not_take_its_place_is_gone(tmp_path: Path) -> None:
    with scratch(tmp_path / "file") as opened:
        opened.write(b"unwanted")
    assert names(tmp_path) == []


def test_until_then_nobody_sees_a_part(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with scratch(file) as opened:
        opened.write(b"all of it")
        assert not file.exists()
        take_place(opened, file)
        assert file.read_bytes() == b"all of it"


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to("elsewhere")
    replace_file(tmp_path / "file", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink() and (tmp_path / "file").read_bytes() == b"ours"


def test_many_at_once_do_not_meet(tmp_path: Path) -> None:
    file, contents = tmp_path / "file", {bytes([65 + n]) * 50_000 for n in range(8)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: replace_file(file, content), [*contents] * 5))
    assert file.read_bytes() in contents and names(tmp_path) == ["file"]


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 255)
    replace_file(file, b"new")
    assert file.read_bytes() == b"new"


def test_errors_speak_of_the_file_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for file in (tmp_path / "missing" / "file", tmp_path / "folder"):
        with pytest.raises(OSError) as caught:
            replace_file(file, b"new")
        assert caught.value.filename == str(file) and caught.value.filename2 is None
    assert names(tmp_path) == ["folder"]
