"""Files out of a container: only JUnit's, only so many, and only under names of our own making."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cdlib.errors import TestsFailed, UsageProblem

FILES = 500
FILE_SIZE = 10 * 2**20  # bytes
ALL_SIZE = 128 * 2**20  # bytes of the archive
_ODD = re.compile(r"[^\w.-]", re.ASCII)
_NUMBERED = re.compile(r"\d{3}-", re.ASCII)


def empty_folder(out: Path) -> Path:
    """The folder `reports` below `out`, without what an earlier run left there."""
    folder = out / "reports"
    if folder.is_symlink():
        raise UsageProblem(f"{folder} is a symbolic link", hint="remove it: the work tree must not say where we write")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.xml"):
        old.unlink()
    return folder


def unpack(archive: Iterable[bytes], folder: Path, *, not_before: float) -> tuple[list[Path], list[str]]:
    """Write the JUnit files of a tar stream into `folder`; returns them, and the names that were left out as old.

    Only regular files `*.xml` are taken; a path becomes one flat name. Files changed before `not_before`, in
    seconds since 1970, lay in the image already and say nothing of this run. Raises TestsFailed beyond the limits.
    """
    written, old = list[Path](), list[str]()
    with tempfile.TemporaryFile(prefix="cd-reports-") as file:
        size = 0
        for piece in archive:
            size += len(piece)
            if size > ALL_SIZE:
                raise _too_much(f"more than {ALL_SIZE // 2**20} MiB")
            file.write(piece)
        file.seek(0)
        if not size:
            return written, old
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for entry in tar:
                    if not entry.isreg() or not entry.name.lower().endswith(".xml"):
                        continue
                    if entry.mtime < not_before:
                        old.append(entry.name)
                        continue
                    if len(written) >= FILES or entry.size > FILE_SIZE:
                        raise _too_much(f"more than {FILES} files, or one of more than {FILE_SIZE // 2**20} MiB")
                    content = tar.extractfile(entry)
                    assert content is not None
                    path = folder / _flat(entry.name, len(written))
                    path.write_bytes(content.read(FILE_SIZE))
                    written.append(path)
        except tarfile.TarError as problem:
            raise TestsFailed(
                f"the reports cannot be read: {problem}", hint="see what the tests leave in test.reports"
            ) from problem
    return written, old


def only_file(archive: Iterable[bytes], most: int = 2**20) -> str:
    """The text of the one regular file in a tar stream; empty where there is none, or more than `most` bytes."""
    whole = bytearray()
    for piece in archive:
        whole += piece
        if len(whole) > most:
            return ""
    try:
        with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as tar:
            entry = tar.next()
            content = tar.extractfile(entry) if entry and entry.isreg() else None
            return content.read().decode("utf-8", "replace") if content else ""
    except tarfile.TarError:
        return ""


def _flat(name: str, number: int) -> str:
    """A file's name out of a path: `reports/unit/a.xml` is `unit-a.xml`. Numbered, where others could be the same."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    stem = _ODD.sub("_", "-".join(parts[1:] or parts)[: -len(".xml")])[-96:].lstrip(".-") or "report"
    alone = number == 0 and not _NUMBERED.match(stem)
    return f"{stem}.xml" if alone else f"{number:03}-{stem}.xml"


def _too_much(what: str) -> TestsFailed:
    return TestsFailed(
        f"the reports folder holds {what}", hint="let test.reports in cd.yaml name a folder for JUnit files alone"
    )
