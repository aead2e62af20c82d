"""What is in the projects of the lab's Gerrit: Zuul's configuration, and the services' first commits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from lab.layout import LOOPBACK
from lab.loop.places import GERRIT_SSH_PORT, Places

_LIMIT = 60.0  # seconds for one git command
_LEFT_OUT = (".git", ".cd", "__pycache__", ".pytest_cache")


class Git:
    """git in `folder`, as one of the lab's accounts."""

    def __init__(self, places: Places, user: str, folder: Path) -> None:
        self.folder = folder
        self._env = environment(places, user)

    def __call__(self, *words: str) -> str:
        """What git prints. Raises CdError."""
        done = process.run(["git", *words], Deadline(_LIMIT, "git"), cwd=self.folder, env=self._env)
        if not done.ok:
            raise CdError(f"git {words[0]} failed", details=done.stderr[-8:])
        return done.stdout.strip()


def url(user: str, project: str) -> str:
    """Where `user` fetches and pushes a project."""
    return f"{server(user)}/{project}"


def server(user: str) -> str:
    """Where `user` reaches all projects by git."""
    return f"ssh://{user}@{LOOPBACK}:{GERRIT_SSH_PORT}"


def environment(places: Places, user: str) -> dict[str, str]:
    """What git needs to be one of the lab's accounts, and nobody else."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in (
        ("NAME", user.capitalize()), ("EMAIL", f"{user}@example.com"))}  # fmt: skip
    return {
        "GIT_SSH_COMMAND": ssh_command(places, user),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        **who,
    }


def ssh_command(places: Places, user: str) -> str:
    """How git calls ssh as one of the lab's accounts."""
    key, hosts = places.ssh_key(user), places.keys / "known_hosts"
    options = ("BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={hosts}", f"IdentityFile={key}")
    return " ".join(["ssh", "-F", "/dev/null", *(f"-o {option}" for option in options)])


def head(places: Places, project: str) -> str:
    """The commit of a project's master; empty where it has none."""
    git = Git(places, "admin", Path("/"))
    return git("ls-remote", url("admin", project), "refs/heads/master").partition("\t")[0]


def replace_files(places: Places, project: str, files: Mapping[str, str]) -> bool:
    """Make `files` all that is on a project's master, past review. Returns False where it was so already."""
    with _work_tree(places, project) as git:
        git("rm", "--quiet", "-r", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = git.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return _commit(git, "The configuration of the checkout")


def import_folder(places: Places, project: str, folder: Path) -> bool:
    """Make the files in `folder` the first commit of a project. Returns False where it has one.

    What builds from images that the lab cannot have comes with a stand-in, and with a cd.yaml for that.
    """
    if head(places, project):
        return False
    with _work_tree(places, project) as git:
        shutil.copytree(folder, git.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        if (stand_in := folder / "stand-in" / "cd.yaml").exists():
            shutil.copy(stand_in, git.folder / "cd.yaml")
        return _commit(git, f"{project}, as it came")


@contextmanager
def _work_tree(places: Places, project: str) -> Iterator[Git]:
    with tempfile.TemporaryDirectory(prefix="cdlab-") as scratch:
        git = Git(places, "admin", Path(scratch))
        git("init", "--quiet", "--initial-branch=master", "--template=")
        git("remote", "add", "origin", url("admin", project))
        if head(places, project):
            git("fetch", "--quiet", "origin", "master")
            git("reset", "--quiet", "--hard", "FETCH_HEAD")
        yield git


def _commit(git: Git, message: str) -> bool:
    git("add", "--all")
    if not git("status", "--porcelain"):
        return False
    git("commit", "--quiet", "--message", message)
    git("push", "--quiet", "origin", "HEAD:refs/heads/master")
    return True
