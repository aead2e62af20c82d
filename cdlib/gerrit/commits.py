"""Which commits a deploy brings, as git has them; read without the clone's configuration, beside Gerrit's password."""

from __future__ import annotations

from pathlib import Path

from cdlib.borrowed import borrowed
from cdlib.errors import UsageProblem
from cdlib.run import Run

MOST = 50  # commits of one deploy whose changes are told; the oldest beyond it are left out
_QUICK = 60.0  # seconds for a git command that only reads


def carried(run: Run, folder: Path, commit: str, previous: str) -> list[str]:
    """`commit` and those before it that were not in `previous`, newest first, 50 at most.

    Without a `previous`, `commit` and what it has merged. Just `commit` where git does not know both.
    """
    base = previous or f"{commit}^1"
    argv = ("rev-list", "--topo-order", f"--max-count={MOST + 1}", "--end-of-options", commit, f"^{base}")
    listed = _asked(run, folder, *argv)
    if listed is None and previous:
        run.warn(f"only the change of {commit[:12]} is told: in {folder} git cannot say what came after "
                 f"{previous[:12]}")  # fmt: skip
    found = (listed or "").split()
    if len(found) > MOST:
        run.warn(f"more than {MOST} commits came with {commit[:12]}: the oldest are left out")
    return [commit, *(each for each in found if each != commit)][:MOST]


def is_ancestor(run: Run, folder: Path, older: str, newer: str) -> bool:
    """Whether `newer` descends from `older`; False also where git does not know both."""
    return _asked(run, folder, "merge-base", "--is-ancestor", "--end-of-options", older, newer) is not None


def head(run: Run, folder: Path) -> str:
    """The commit that is checked out in `folder`; empty where there is none."""
    return _asked(run, folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}") or ""


def _asked(run: Run, folder: Path, *args: str) -> str | None:
    """What git prints; None where it fails, or `folder` is in no repository."""
    limit = run.deadline.part(_QUICK, "git")
    try:
        with borrowed(folder) as git:
            git.head(limit)  # finds out which kind of ids the repository has
            done = git.run(limit, *args)
    except UsageProblem:
        return None
    return done.stdout.strip() if done.ok else None
