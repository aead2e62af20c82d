"""The audit record: what was permitted, refused, held and rolled back, one JSON object a line, chained by hashes.

Whoever may write the file can cut it short or write it anew; what they cannot do is change an entry, or leave one out,
without all that follow it showing it. Keep copies of it elsewhere: the hash of any entry vouches for all before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.errors import UsageProblem, from_os_error
from cdlib.given import require_file
from cdlib.redact import Redactor
from cdlib.units import timestamp

VARIABLE = "CD_AUDIT"
FIRST = "sha256:" + "0" * 64  # what the first entry follows
LONGEST = 256 * 1024  # bytes of an entry
_OURS = ("n", "t", "event", "previous", "hash")


@dataclass(frozen=True)
class Audit:
    """The record in `file`, which several processes may write. Nothing in it is a secret."""

    file: Path
    redactor: Redactor

    def append(self, event: str, **facts: Any) -> dict[str, Any]:
        """Add an entry, and return it once it is on the disk. Raises what stands in the way: no act without its entry.

        An end that a crash has torn is closed, and shows as such in the check.
        """
        told: Any = self.redactor.value({name: value for name, value in facts.items() if name not in _OURS})
        try:
            descriptor = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            with os.fdopen(descriptor, "rb+", buffering=0) as record:
                fcntl.flock(record, fcntl.LOCK_EX)
                last, torn = _last(record, self.file)
                entry = {"n": last["n"] + 1, "t": timestamp(), "event": event, **told, "previous": last["hash"]}
                entry["hash"] = _hash(entry)
                line = _line(entry) + b"\n"
                if len(line) > LONGEST:
                    raise UsageProblem(f"an entry of {len(line)} bytes is not written into {self.file}",
                                       hint=f"entries have {LONGEST} bytes at most")  # fmt: skip
                _write(record, (b"\n" if torn else b"") + line)
                os.fsync(descriptor)
        except OSError as problem:
            raise from_os_error(problem) from problem
        return entry


def check(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each entry in order, and what is wrong with it: empty where its chain holds. A torn one is an empty dict."""
    last: dict[str, Any] = {"n": 0, "hash": FIRST}
    try:
        with require_file(file, "the audit record").open("rb") as record:
            while line := record.readline(LONGEST + 1):
                entry = _read(line)
                if entry is None:
                    yield {}, "it is no entry: a crash has torn it, or somebody has changed it"
                    continue
                yield entry, _problem(entry, last)
                last = entry
    except OSError as problem:
        raise from_os_error(problem) from problem


def read(file: Path, known: Sequence[str] = ()) -> dict[str, Any]:
    """All of a record, as the schema of results has it. `known` are hashes that entries of it had before.

    An end that was cut off shows by nothing in the file: only who knows a hash of it can tell.
    """
    found = list(check(file))
    entries = [entry for entry, _ in found]
    problems = [{"line": number, "text": text} for number, (_, text) in enumerate(found, 1) if text]
    sound = {str(entry.get("hash")) for entry, text in found if not text}
    for name in known:
        if name not in sound:
            problems.append(
                {"line": len(found) + 1, "text": f"no entry has the hash {name}: the end was cut off, or all is new"}
            )
    return {"file": str(file), "entries": entries, "problems": problems,
            "hash": str(entries[-1].get("hash", "")) if entries else FIRST}  # fmt: skip


def _problem(entry: dict[str, Any], last: dict[str, Any]) -> str:
    if entry["hash"] != _hash(entry):
        return "its hash is not that of what it says: somebody has changed it"
    if entry["previous"] != last["hash"] or entry["n"] != last["n"] + 1:
        return f"it does not follow entry {last['n']}: something was taken out, put in, or changed"
    return ""


def _hash(entry: dict[str, Any]) -> str:
    """Over all that an entry says, keys in order; its own hash left out."""
    said = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _last(record: Any, file: Path) -> tuple[dict[str, Any], bool]:
    """The last whole entry, and whether something without an end follows it."""
    size = record.seek(0, os.SEEK_END)
    reach = min(size, 2 * LONGEST)
    record.seek(size - reach)
    tail = record.read(reach)
    found = [entry for entry in map(_read, tail.split(b"\n")) if entry is not None]
    if size and not found:
        raise UsageProblem(
            f"{file} ends with nothing that could be an entry",
            hint="look at it; then put it aside, and an empty file in its place",
        )
    return (found[-1] if found else {"n": 0, "hash": FIRST}), bool(tail) and not tail.endswith(b"\n")


def _read(line: bytes) -> dict[str, Any] | None:
    """The entry in a line; None unless that is exactly as we write it, so that it says one thing to every reader."""
    try:
        entry = json.loads(line)
        whole = isinstance(entry, dict) and isinstance(entry.get("n"), int) and all(name in entry for name in _OURS)
        return entry if whole and _line(entry) == line.rstrip(b"\n") else None
    except (ValueError, RecursionError):
        return None


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode()


def _write(record: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[record.write(view) :]
