"""Which commits a deploy brings, as git has them."""

from __future__ import annotations

from pathlib import Path

from cdlib import process
from cdlib.run import Run

MOST = 50  # commits of one deploy whose changes are told; the oldest beyond it are left out
_QUICK = 60.0  # seconds for a git command that only reads
_ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


def carried(run: Run, folder: Path, commit: str, previous: str) -> list[str]:
    """`commit` and those before it that were not in `previous`, newest first, 50 at most.

    Without a `previous`, `commit` and what it has merged. Just `commit` where git does not know both.
    """
    base = previous or f"{commit}^1"
    argv = ["git", "-C", str(folder), "rev-list", "--topo-order", f"--max-count={MOST + 1}", "--end-of-options",
            commit, f"^{base}"]  # fmt: skip
    listed = process.run(argv, run.deadline.part(_QUICK, "git"), env=_ENV)
    if not listed.ok and previous:
        run.warn(f"only the change of {commit[:12]} is told: in {folder} git cannot say what came after "
                 f"{previous[:12]}")  # fmt: skip
    found = listed.stdout.split() if listed.ok else []
    if len(found) > MOST:
        run.warn(f"more than {MOST} commits came with {commit[:12]}: the oldest are left out")
    return [commit, *(each for each in found if each != commit)][:MOST]


def is_ancestor(run: Run, folder: Path, older: str, newer: str) -> bool:
    """Whether `newer` descends from `older`; False also where git does not know both."""
    argv = ["git", "-C", str(folder), "merge-base", "--is-ancestor", older, newer]
    return process.run(argv, run.deadline.part(_QUICK, "git"), env=_ENV).ok


def head(run: Run, folder: Path) -> str:
    """The commit that is checked out in `folder`; empty where there is none."""
    argv = ["git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD^{commit}"]
    done = process.run(argv, run.deadline.part(_QUICK, "git"), env=_ENV)
    return done.stdout.strip() if done.ok else ""
