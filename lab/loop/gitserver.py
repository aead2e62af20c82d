"""The git server that Zuul's executor pushes to and Jenkins' agents fetch from.

It takes refs/zuul/* and nothing else. A repository is made for each project that Zuul works for.
"""

from __future__ import annotations

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.files import replace_file
from lab.layout import LOOPBACK
from lab.loop.places import GIT_PORT, GIT_URL, Places
from lab.plan import Server

_LIMIT = 30.0  # seconds
_UPDATE = """\
#!/bin/sh
case "$1" in
refs/zuul/*) exit 0 ;;
esac
echo "this server takes refs/zuul/* alone" >&2
exit 1
"""


def servers(places: Places) -> list[Server]:
    """git's own daemon, on loopback."""
    # Not through `git daemon`, which would stay between the supervisor and the server.
    argv = (
        f"{_git('--exec-path')}/git-daemon",
        f"--listen={LOOPBACK}",
        f"--port={GIT_PORT}",
        f"--base-path={places.repositories}",
        "--export-all",
        "--enable=receive-pack",
        "--reuseaddr",
        "--verbose",
        str(places.repositories),
    )
    return [Server("git-server", argv, ports=((LOOPBACK, GIT_PORT),), address=GIT_URL)]


def ensure_repository(places: Places, project: str) -> None:
    """Make the repository of a project, unless it is there. Raises CdError."""
    folder = places.repositories / project
    hook = folder / "hooks" / "update"
    if hook.exists():
        return
    # Without a template there are no sample hooks.
    _git("init", "--quiet", "--bare", "--template=", str(folder))
    hook.parent.mkdir(exist_ok=True)
    replace_file(hook, _UPDATE.encode(), 0o755)


def _git(*words: str) -> str:
    done = process.run(["git", *words], Deadline(_LIMIT, "git"))
    if not done.ok:
        raise CdError(f"git {words[0]} failed", details=done.stderr[-4:])
    return done.stdout.strip()
