"""A git repository read in batches: refs, commits and blobs, without anything in it that could mislead git."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import DISK_FULL, UsageProblem, disk_full

LARGEST_COMMIT = 2**20  # bytes of a commit or a record; one with a thousand lines of text has some 80,000
# Bytes of what Gerrit keeps of a patchset. It lets 3 M characters of comments through, and writes `<` and its like by
# six; a program's output may have 32 MiB.
LARGEST_NOTE = 24 * 2**20
TOO_LARGE = f"what Gerrit keeps of a patchset, comments and all, is more than {LARGEST_NOTE // 2**20} MiB"
_BATCH = 16 * 2**20  # bytes that are asked for at once
OBJECT = re.compile(r"[0-9a-f]{40}\Z")
# Neither replace refs, grafts, hooks, attributes nor a stale graph may change what git reads or computes. JGit, which
# merges for Gerrit, knows no renames: git would look for those of folders, and would put new files elsewhere.
_SAFE = ("--no-replace-objects", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0",
         "-c", "core.commitGraph=false", "-c", "core.attributesFile=/dev/null",
         "-c", "merge.directoryRenames=false")  # fmt: skip
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_GRAFT_FILE": "/dev/null", "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}  # fmt: skip
# What reads or computes goes by nobody's own configuration; only a fetch needs that, for its credentials.
_ALONE = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
_PERSON = re.compile(rb"(?:([^<>\n]*) )?<([^<>\n]*)> ([0-9]{1,18}) [+-][0-9]{4}\Z")


class Malformed(Exception):
    """A record that is not as git or Gerrit writes it; the text says in what."""


@dataclass(frozen=True)
class Person:
    """Who wrote or committed, by the commit's own word. `when` in seconds since 1970."""

    name: str
    mail: str
    when: int


@dataclass(frozen=True)
class Commit:
    """A commit as git stores it. `author` and `committer` are whole lines; `more` are headers beside the usual."""

    id: str
    tree: str
    parents: tuple[str, ...]
    author: bytes
    committer: bytes
    message: bytes
    more: tuple[bytes, ...] = ()

    @property
    def short(self) -> str:
        """The id's first 12 characters."""
        return self.id[:12]

    @property
    def subject(self) -> str:
        """The message's first line, for people."""
        return self.message.partition(b"\n")[0].decode("utf-8", "replace")

    def person(self, line: bytes) -> Person:
        """What an author's or committer's line says. Raises Malformed."""
        found = _PERSON.match(line)
        if not found:
            raise Malformed(f"the commit {self.short} names nobody in {line[:80]!r}")
        name, mail = ((part or b"").decode("utf-8", "replace") for part in found.groups()[:2])
        return Person(name, mail, int(found[3]))


def parse_commit(commit: str, raw: bytes) -> Commit:
    """A commit from its content. Raises Malformed."""
    head, found, message = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    fields = [line.partition(b" ")[::2] for line in lines]
    parents = [value for key, value in fields if key == b"parent"]
    usual = [b"tree", *(b"parent" for _ in parents), b"author", b"committer"]
    if [key for key, _ in fields[: len(usual)]] != usual or not found:
        raise Malformed(f"the commit {commit[:12]} is not as git writes it")
    count = len(usual)
    return Commit(
        id=commit,
        tree=fields[0][1].decode("ascii", "replace"),
        parents=tuple(parent.decode("ascii", "replace") for parent in parents),
        author=fields[count - 2][1],
        committer=fields[count - 1][1],
        message=message,
        more=tuple(lines[count:]),
    )


@dataclass(frozen=True)
class Repository:
    """A bare repository that is only read here. Raises UsageProblem where git cannot."""

    folder: Path
    deadline: Deadline

    def git(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """What a git command prints. Raises UsageProblem, or Unavailable on a full disk."""
        done = self.ask(*args, stdin=stdin, env=env)
        if not done.ok:
            if DISK_FULL in "\n".join(done.stderr).lower():
                raise disk_full(str(self.folder))
            raise UsageProblem(f"git {args[0]} failed in {self.folder}", details=done.stderr[-5:], hint="see git fsck")
        return done.raw

    def ask(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> process.Finished:
        """A git command that may fail. `env` is added to what keeps it from anybody's configuration."""
        argv = ["git", *_SAFE, "--git-dir", str(self.folder), *args]
        given = {**_ENV, **_ALONE} if env is None else {**_ENV, **env}
        return process.run(argv, self.deadline, env=given, stdin=stdin or None, tied=bool(env))

    def refs(self, *prefixes: str) -> dict[str, str]:
        """The object that each ref below these prefixes names."""
        lines = self.git("for-each-ref", "--format=%(objectname) %(refname)", *prefixes).decode().split("\n")
        return {name: value for value, _, name in (line.partition(" ") for line in lines) if name}

    def commits(self, ids: Iterable[str]) -> Iterator[Commit]:
        """Each of these commits, those left out that are missing, no commits, or not as git writes them."""
        for name, raw in self.read(ids, "commit"):
            with suppress(Malformed):
                yield parse_commit(name, raw)

    def read(self, names: Iterable[str], kind: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of each of these objects that is there, of that kind, and not too large."""
        batch, size = list[str](), 0
        for name, length in self._sizes(names, kind):
            if length > _largest(kind):
                continue
            if batch and size + length > _BATCH:
                yield from self._contents(batch)
                batch, size = [], 0
            batch.append(name)
            size += length
        if batch:
            yield from self._contents(batch)

    def too_large(self, names: Iterable[str], kind: str) -> list[str]:
        """Those of these objects that `read` leaves out for their size."""
        return [name for name, length in self._sizes(names, kind) if length > _largest(kind)]

    def _sizes(self, names: Iterable[str], kind: str) -> Iterator[tuple[str, int]]:
        """Name and bytes of each of these objects that is there, of that kind."""
        asked = list(dict.fromkeys(names))
        if not asked:
            return
        sizes = self.git("cat-file", "--batch-check", stdin=_lines(asked)).decode().split("\n")
        for name, line in zip(asked, sizes, strict=False):
            words = line.split(" ")
            if words[1:2] == [kind]:
                yield name, int(words[2])

    def _contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        raw, start = self.git("cat-file", "--batch", stdin=_lines(names)), 0
        for name in names:
            end = raw.index(b"\n", start)
            size = int(raw[start:end].split(b" ")[2])
            yield name, raw[end + 1 : end + 1 + size]
            start = end + 2 + size


def _largest(kind: str) -> int:
    return LARGEST_NOTE if kind == "blob" else LARGEST_COMMIT


def _lines(words: Iterable[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()
