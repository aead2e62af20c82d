"""The service's source as git has it: which commit, which tree, and its files.

Everything is read from a commit's tree, never from what happens to lie in the folder.
"""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cdlib import git
from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.leftovers import sweep_leftovers
from cdlib.process import Finished

_OBJECT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")  # a name that git gives to an object


@dataclass(frozen=True)
class Source:
    """One state of a service's files.

    `tree` is git's object id of the service's folder, `commit` the commit that it belongs to, `committed_at`
    that commit's committer time in UTC. `dirty` is true where the tree holds uncommitted changes. Git is given until
    `deadline`, a minute for each command where there is none.
    """

    folder: Path
    commit: str
    tree: str
    committed_at: datetime
    dirty: bool
    uncommitted: bool
    url: str
    deadline: Deadline | None = field(default=None, compare=False, repr=False)

    @property
    def short(self) -> str:
        """The commit's first 12 characters."""
        return self.commit[:12]

    @property
    def default_tag(self) -> str:
        """`YYYY-MM-DD-HHMMSS-<short sha>`: from the commit alone, so a rerun finds its own."""
        return f"{self.committed_at:%Y-%m-%d-%H%M%S}-{self.short}"

    def read_text(self, path: str, what: str) -> str:
        """The text of one file of the tree. Raises UsageProblem where it has no such file."""
        clean = inside(path, what)
        limit = self.deadline
        with git.started(self.folder, "cat-file", "blob", f"{self.tree}:{clean}", deadline=limit) as content:
            said = git.run(self.folder, "ls-tree", "--full-tree", self.tree, "--", clean, deadline=limit)
            mode = said.split(" ", 1)[0]
            if mode not in ("100644", "100755"):
                linked = mode == "120000"
                why = "is a symbolic link" if linked else "is not in the commit"
                mend = "commit the file itself in its place" if linked else f"add {clean} and commit it"
                raise UsageProblem(f"{what}: {clean} {why} ({self.short} in {self.folder})", hint=mend)
            found = content()
        git.answer(found, self.folder, "cat-file")
        return found.stdout

    def contains(self, ancestor: str) -> bool | None:
        """Whether `ancestor` is this commit or one before it; None where git does not know it."""
        return self.is_ancestor(ancestor, self.commit)

    def is_before(self, other: str) -> bool | None:
        """Whether this commit is an ancestor of `other`; None where git does not know `other`."""
        return self.is_ancestor(self.commit, other)

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        """Whether commit `older` is `newer` or one before it; None where git does not know either."""
        asked = git.ask(self.folder, "merge-base", "--is-ancestor", older, newer, deadline=self.deadline)
        return {0: True, 1: False}.get(asked.returncode)

    @contextmanager
    def files(self) -> Iterator[Path]:
        """The tree's files in a temporary folder, which is gone afterwards.

        The folder's own name is new each time: buildx tells it to BuildKit as the context's shared key, and what
        BuildKit has of a context with that key it does not read again where size, modes and times are the same.
        Another tree's bytes would then be built.
        """
        sweep_leftovers()
        with tempfile.TemporaryDirectory(prefix="cd-source-") as temporary:
            folder = Path(temporary) / f"tree-{secrets.token_hex(8)}"
            self.export(folder)
            yield folder

    def export(self, destination: Path, tree: str = "") -> None:
        """Write the tree's files below `destination`, as a checkout would."""
        _checkout(self.folder, tree or self.tree, destination, self.deadline)


def open_source(
    folder: Path,
    *,
    revision: str = "HEAD",
    with_changes: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
    deadline: Deadline | None = None,
) -> Source:
    """The source of the service in `folder`, at `revision`.

    `with_changes` takes uncommitted changes along, by a snapshot that leaves index and folder untouched; the
    result is then `dirty` wherever there are any. `meanwhile` is called while git looks through the folder. Raises
    UsageProblem where there is no commit to read.
    """
    if not folder.is_dir():
        raise UsageProblem(f"{folder} is no folder", hint="name the service's work tree by -C DIR")
    if revision.startswith("-"):
        raise UsageProblem(f"{revision!r} is no commit", hint="name a commit, a tag or a branch")
    looked = ("status", "--porcelain", "--untracked-files=normal", "--", ".")
    with git.started(folder, *looked, deadline=deadline) as status:
        prefix, commit = _resolve(folder, revision, deadline)
        tree, committed_at = _tree_and_time(folder, commit, prefix, deadline)
        url = git.run(folder, "config", "--get", "remote.origin.url", check=False, deadline=deadline)
        meanwhile()
        changes = git.answer(status(), folder, "status") if revision == "HEAD" else ""
    dirty = bool(changes) and with_changes
    return Source(
        folder=folder,
        commit=commit,
        tree=_snapshot(folder, prefix, deadline) if dirty else tree,
        committed_at=committed_at,
        dirty=dirty,
        uncommitted=bool(changes),
        url=git.without_credentials(url),
        deadline=deadline,
    )


def _resolve(folder: Path, revision: str, deadline: Deadline | None) -> tuple[str, str]:
    """The folder's path within its repository, empty or with a slash at its end, and the commit's name."""
    wanted = ("--show-prefix", "--verify", "--quiet", f"{revision}^{{commit}}")
    asked = git.ask(folder, "rev-parse", *wanted, deadline=deadline)
    if not asked.stdout:
        if "dubious ownership" in " ".join(asked.stderr):
            raise UsageProblem(
                f"git refuses {folder}, because somebody else owns it",
                hint=f"git config --global --add safe.directory {folder}",
            )
        raise UsageProblem(
            f"{folder} is in no git repository", hint="name the service's work tree by -C DIR, or git init it"
        )
    prefix, _, commit = asked.stdout.removesuffix("\n").rpartition("\n")
    if not asked.ok or not _OBJECT.fullmatch(commit):
        what = "has no commit yet" if revision == "HEAD" else f"does not have {revision!r}"
        raise UsageProblem(f"the repository of {folder} {what}", hint="commit the service first, or fetch the commit")
    return prefix, commit


def _tree_and_time(folder: Path, commit: str, prefix: str, deadline: Deadline | None) -> tuple[str, datetime]:
    """The tree of the folder at `prefix` in a commit, and the commit's time."""
    said = git.run(folder, "show", "-s", "--format=%T %ct", commit, deadline=deadline)
    root, _, seconds = said.partition(" ")
    try:
        committed_at = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError) as problem:
        raise UsageProblem(f"the commit {commit[:12]} has no usable time: {problem}", hint="commit again") from problem
    if not prefix:
        return root, committed_at
    found = git.ask(folder, "rev-parse", "--verify", "--quiet", f"{commit}:{prefix.rstrip('/')}", deadline=deadline)
    if not found.ok:
        raise UsageProblem(f"{folder} is not in the commit {commit[:12]}", hint="add it and commit it")
    return found.stdout.strip(), committed_at


def fetch_tree(
    repository: str, commit: str, path: str, destination: Path, deadline: Deadline, *, on_branch: bool = False
) -> None:
    """Write the folder `path` of another repository at `commit` below `destination`.

    Raises UsageProblem where any of the three is wrong, or no branch has the commit and `on_branch` wants one to: a
    server hands out by its name also what only waits for a review, and GitHub what is in a fork.
    """
    with tempfile.TemporaryDirectory(prefix="cd-fetch-") as scratch:
        bare, shown = Path(scratch), git.without_credentials(repository)
        git.run(bare, "init", "--quiet", "--bare", deadline=deadline)
        _require_fetched(git.fetch(bare, repository, commit, deadline), commit, shown)
        if on_branch:
            _require_fetched(git.fetch_branches(bare, repository, deadline), "its branches", shown)
            having = ("--count=1", f"--contains={commit}", git.BRANCHES)
            if not git.run(bare, "for-each-ref", *having, deadline=deadline):
                raise UsageProblem(
                    f"no branch of {shown} has the commit {commit}", hint="merge it there, or name one that was merged"
                )
        found = git.ask(bare, "rev-parse", "--verify", "--quiet", f"{commit}:{inside(path, 'path')}", deadline=deadline)
        if not found.ok:
            raise UsageProblem(f"{shown} has no {path} at {commit[:12]}", hint="mend the path")
        _checkout(bare, found.stdout.strip(), destination, deadline)


def _require_fetched(fetched: Finished, what: str, repository: str) -> None:
    if not fetched.ok:
        raise UsageProblem(
            f"{what} cannot be fetched from {repository}",
            details=fetched.stderr[-3:],
            hint="check the repository, the commit, and this machine's access to it",
        )


def inside(path: str, what: str) -> str:
    """`path` made plain, or UsageProblem where it is absolute or leaves the tree."""
    clean = posixpath.normpath(path)
    if not path or posixpath.isabs(clean) or clean.split("/")[0] == ".." or "\0" in path:
        raise UsageProblem(f"{what}: {path!r} is outside the service's folder", hint="name a file of the service")
    return clean


def contained(root: Path, path: str, what: str) -> Path:
    """The file or folder `path` below `root`, symbolic links followed, or UsageProblem where it leads outside."""
    real_root = root.resolve()
    found = (real_root / inside(path, what)).resolve()
    if not found.is_relative_to(real_root):
        raise UsageProblem(
            f"{what}: {path!r} leads outside the service's folder", hint="replace the symbolic link by a file"
        )
    if not found.exists():
        raise UsageProblem(f"{what}: {path!r} is not in the commit", hint=f"add {path} and commit it")
    return found


def _checkout(folder: Path, tree: str, destination: Path, deadline: Deadline | None) -> None:
    """Write a tree's files below `destination`: the same on every machine, and without a program at work.

    Line ends, symbolic links and filters such as Git LFS's depend on git's configuration, the user's and the
    repository's, and on the attributes in its .git/info. So git is given a repository of its own, which has none of
    them, with the objects of the one in `folder`. Of the tree's own .gitattributes only those of line ends count.
    """
    destination.mkdir(parents=True, exist_ok=True)
    objects = folder.absolute() / git.run(folder, "rev-parse", "--git-path", "objects", deadline=deadline)
    with tempfile.TemporaryDirectory(prefix="cd-index-") as scratch:
        bare = Path(scratch) / "git"
        for part in ("objects", "refs", "info"):
            (bare / part).mkdir(parents=True)
        (bare / "info" / "attributes").write_text(git.AS_REVIEWED, encoding="ascii")
        (bare / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        version = "1\n[extensions]\n\tobjectFormat = sha256" if len(tree) == 64 else "0"
        (bare / "config").write_text(f"[core]\n\trepositoryFormatVersion = {version}\n", encoding="ascii")
        env = {"GIT_OBJECT_DIRECTORY": str(objects), "GIT_INDEX_FILE": str(bare / "index"), "HOME": scratch,
               "XDG_CONFIG_HOME": scratch, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_CONFIG_COUNT": "0", "GIT_ATTR_NOSYSTEM": "1"}  # fmt: skip
        # A work tree of its own: git would otherwise place files relative to the folder's prefix.
        work = ["--git-dir", str(bare), "--work-tree", str(destination)]
        git.run(destination, *work, "read-tree", tree, env=env, deadline=deadline)
        git.run(destination, *work, "checkout-index", "--all", "--force", env=env, deadline=deadline)


def _snapshot(folder: Path, prefix: str, deadline: Deadline | None) -> str:
    """The tree of the folder as it lies there, ignored files left out, through an index of its own."""
    with tempfile.TemporaryDirectory(prefix="cd-index-") as scratch:
        env = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
        git.run(folder, "read-tree", "HEAD", env=env, deadline=deadline)
        git.run(folder, "add", "--all", "--", ".", env=env, deadline=deadline)
        root = git.run(folder, "write-tree", env=env, deadline=deadline)
    return git.run(folder, "rev-parse", f"{root}:{prefix.rstrip('/')}", deadline=deadline)
