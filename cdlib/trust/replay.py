"""What merges, rebases and cherry-picks must give, computed again by `git merge-tree`, all of them at once."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cdlib.errors import UsageProblem
from cdlib.trust.objects import Commit, Repository
from cdlib.trust.packs import object_id, pack

_NOBODY = "cd <cd@localhost> 0 +0000"
_TRAILER = re.compile(rb"([A-Za-z][A-Za-z0-9-]*): \S[^\n]*\Z")
_SIGNATURES = (b"gpgsig ", b"gpgsig-sha256 ")  # by SSH and X.509 as well; the second is of SHA-256 repositories
SUBMIT_TRAILERS = frozenset(["Change-Id", "Reviewed-on", "Reviewed-by", "Tested-by"])  # what Gerrit adds as it submits

# JGit, which merges for Gerrit, sees a file deleted and one added: no conflict where the other side deletes it, too.
CONFLICT = "in conflict, perhaps since a file was renamed, which git follows and Gerrit does not"


@dataclass(frozen=True)
class Merged:
    """Two commits merged."""

    first: str
    second: str


@dataclass(frozen=True)
class Picked:
    """What a commit changed, put on top of another."""

    commit: str
    onto: str


Question = Merged | Picked


def compute(
    repository: Repository, questions: Iterable[Question], commits: Mapping[str, Commit]
) -> dict[Question, str]:
    """The tree that each gives; a question is left out where there is a conflict, or a commit is not in `commits`.

    Nothing is written into the repository. Raises UsageProblem where git is older than 2.39.
    """
    wanted = [question for question in dict.fromkeys(questions) if _known(question, commits)]
    if not wanted:
        return {}
    with tempfile.TemporaryDirectory(prefix="cd-replay-") as scratch:
        store = _Store(repository, Path(scratch))
        pairs = store.pairs(wanted, commits)
        argv = ("merge-tree", "--write-tree", "--no-messages", "--allow-unrelated-histories", "--stdin")
        done = repository.ask(*argv, stdin="".join(f"{a} {b}\n" for a, b in pairs).encode(), env=store.env)
    if not done.ok:
        raise UsageProblem("git cannot compute merges", details=done.stderr[-3:], hint="git 2.39 or newer is needed")
    return {question: tree for question, tree in zip(wanted, _trees(done.raw), strict=True) if tree}


def is_replay(old: Commit, new: Commit, trees: Mapping[Question, str], trailers: Collection[str] = ()) -> bool:
    """Whether `new` is `old` on top of another commit: same author, same message, and the tree that this gives.

    `trailers` are the ones that may have been added to the message. A merge is a replay of itself only. The signature
    in a commit is of that very commit: Gerrit drops it, people sign anew, and what it says of its author is no vote.
    """
    if old.id == new.id:
        return True
    if len(old.parents) != 1 or len(new.parents) != 1 or old.author != new.author:
        return False
    if _unsigned(old) != _unsigned(new) or not _same_message(old.message, new.message, trailers):
        return False
    expected = old.tree if old.parents == new.parents else trees.get(Picked(old.id, new.parents[0]))
    return expected == new.tree


def same_code(old: Commit, new: Commit) -> bool:
    """Whether only the message, or who committed, differs."""
    return (old.tree, old.parents) == (new.tree, new.parents)


def question(old: Commit, new: Commit) -> Question | None:
    """What has to be computed for `is_replay`."""
    if len(old.parents) != 1 or len(new.parents) != 1 or old.parents == new.parents:
        return None
    return Picked(old.id, new.parents[0])


def _unsigned(commit: Commit) -> list[bytes]:
    """A commit's headers beside the usual ones, but for its signature; a line that begins with a blank goes on."""
    kept, of_signature = list[bytes](), False
    for line in commit.more:
        of_signature = line.startswith(_SIGNATURES) or (of_signature and line.startswith(b" "))
        if not of_signature:
            kept.append(line)
    return kept


def _same_message(old: bytes, new: bytes, trailers: Collection[str]) -> bool:
    if old.rstrip(b"\n") == new.rstrip(b"\n"):
        return True
    if not trailers or not new.startswith(old.rstrip(b"\n") + b"\n"):
        return False
    added = new[len(old.rstrip(b"\n")) :].strip(b"\n").split(b"\n")
    names = [found[1].decode() for found in map(_TRAILER.match, added) if found]
    return len(names) == len(added) and set(names) <= set(trailers)


def _known(question: Question, commits: Mapping[str, Commit]) -> bool:
    if isinstance(question, Merged):
        return {question.first, question.second} <= commits.keys()
    return question.onto in commits and question.commit in commits and commits[question.commit].parents[0] in commits


@dataclass(frozen=True)
class _Store:
    """Objects of our own beside the repository's, gone afterwards."""

    repository: Repository
    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {"GIT_OBJECT_DIRECTORY": str(self.folder / "objects"), "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsync",
                "GIT_CONFIG_VALUE_0": "none"}  # fmt: skip

    def pairs(self, questions: Iterable[Question], commits: Mapping[str, Commit]) -> list[tuple[str, str]]:
        """The two commits whose merge answers each question.

        git 2.39 cannot be told a merge's base. So where a commit is put on top of another, both are written anew
        with the same trees, on top of the one that the commit was made from.
        """
        info = self.folder / "objects" / "info"
        info.mkdir(parents=True)
        (info / "alternates").write_text(f"{(self.repository.folder / 'objects').resolve()}\n")
        objects: dict[str, tuple[str, bytes]] = {}

        def put(tree: str, parent: str = "") -> str:
            raw = _commit(tree, parent)
            name = object_id("commit", raw)
            objects[name] = "commit", raw
            return name

        def pair(question: Question) -> tuple[str, str]:
            if isinstance(question, Merged):
                return question.first, question.second
            base = put(commits[commits[question.commit].parents[0]].tree)
            return put(commits[question.onto].tree, base), put(commits[question.commit].tree, base)

        pairs = [pair(question) for question in questions]
        if objects:
            self.repository.git("index-pack", "--stdin", stdin=pack(objects.values()), env=self.env)
        return pairs


def _commit(tree: str, parent: str) -> bytes:
    before = f"parent {parent}\n" if parent else ""
    return f"tree {tree}\n{before}author {_NOBODY}\ncommitter {_NOBODY}\n\n".encode()


def _trees(raw: bytes) -> list[str]:
    """The trees that merge-tree prints, empty for a conflict: for each merge `<clean>\\0<tree>\\0[<file>\\0…]\\0`."""
    words, found = raw.decode("utf-8", "replace").split("\0"), []
    while len(words) > 2:
        found.append(words[1] if words[0] == "1" else "")
        words = words[words.index("", 2) + 1 :]
    return found
