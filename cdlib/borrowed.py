"""Another repository's commits without its configuration, for who has a secret beside it that its writers want.

A repository's own files can have git start programs: credential helpers, proxies, ssh's command, filters, a monitor of
files, what fetches objects that are missing. Options name those that are known; so git is given a new repository, with
the other's objects and refs and nothing else. Fetching from the other by its path would not do: `git upload-pack` runs
in there, and reads its configuration.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import UsageProblem
from cdlib.process import Finished

_LONGEST = 4096  # bytes of a file that holds a path, or the name of a ref
_FORMATS = {"sha1": "0", "sha256": "1"}  # and the version of the repository that git wants for each
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "LC_ALL": "C"}


@dataclass(frozen=True)
class Borrowed:
    """A bare repository of ours in `place`, whose objects are another's."""

    place: Path
    objects: Path

    def run(self, limit: Deadline, *args: str, env: Mapping[str, str] | None = None) -> Finished:
        """A git command there, which may fail.

        A job's home may be as hostile as its clone: of the user's configuration only what the environment names counts.
        """
        user = os.environ.get("GIT_CONFIG_GLOBAL", os.devnull)
        settled = {**_ENV, "GIT_CONFIG_GLOBAL": user, "GIT_OBJECT_DIRECTORY": str(self.objects)}
        argv = ["git", "-c", "core.hooksPath=/dev/null", "--git-dir", str(self.place), *args]
        return process.run(argv, limit, cwd=self.place, env={**settled, **(env or {})})

    def head(self, limit: Deadline) -> str:
        """The commit that is checked out in the other; empty where there is none."""
        for name, version in _FORMATS.items():
            said = f"[core]\n\tbare = true\n\trepositoryFormatVersion = {version}\n"
            said += f"[extensions]\n\tobjectFormat = {name}\n" if version != "0" else ""
            (self.place / "config").write_text(said, encoding="ascii")
            found = self.run(limit, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
            if found.ok:
                return found.stdout.strip()
        return ""


@contextmanager
def borrowed(folder: Path) -> Iterator[Borrowed]:
    """A repository with the objects and refs of the one that `folder` lies in; gone afterwards.

    Raises UsageProblem where it lies in none.
    """
    own = _git_folder(folder.absolute())
    common = own / _line(own / "commondir") if (own / "commondir").exists() else own
    with tempfile.TemporaryDirectory(prefix="cd-git-") as scratch:
        place = Path(scratch)
        (place / "HEAD").write_text(_line(own / "HEAD") + "\n", encoding="utf-8")
        (place / "config").write_text("[core]\n\tbare = true\n", encoding="ascii")
        for part in ("refs", "packed-refs", "shallow"):
            (place / part).symlink_to(common / part)
        yield Borrowed(place, common / "objects")


def _git_folder(folder: Path) -> Path:
    """Git's own folder, for `folder` or the nearest above it; a worktree and a submodule have a file that names it."""
    for each in (folder, *folder.parents):
        git = each / ".git"
        if git.is_dir():
            return git
        if git.is_file():
            return each / _line(git).removeprefix("gitdir: ")
    raise UsageProblem(f"{folder} is in no git repository", hint="name a clone with a work tree by -C DIR")


def _line(file: Path) -> str:
    """The one line of a small file."""
    if not file.is_file():  # a pipe would never end
        raise UsageProblem(f"{file} is no file", hint="see git fsck")
    with file.open("rb") as content:
        return content.read(_LONGEST).decode("utf-8", "replace").rstrip("\n")
