"""What cd-approve does: Gerrit, git and signatures meet here, which know nothing of each other in the library."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cdlib.result import Result

if TYPE_CHECKING:
    from cdlib.gerrit.changes import Change, Gerrit
    from cdlib.run import Run
    from cdlib.trust.approval import Approval

LABEL, VOTE = "Code-Review", 2
_PLAIN = ("-c", "core.quotePath=true", "-c", "diff.external=", "-c", "core.attributesFile=/dev/null",
          "-c", "log.showRoot=true", "-c", "log.showSignature=false", "--no-replace-objects", "--no-pager")  # fmt: skip
# All of it, whatever the commit's own .gitattributes say, or somebody's configuration. Of a merge, all that it brings:
# what git shows by itself leaves out where it took one side, and dropped the other.
_SHOW = ("show", "--diff-merges=first-parent", "--text", "--no-ext-diff", "--no-textconv", "--ignore-submodules=none",
         "--submodule=short", "--no-relative", "--no-notes", "--no-mailmap", "--no-color", "--stat", "--patch",
         "--format=fuller")  # fmt: skip
_ENV = {"LC_ALL": "C", "GIT_ATTR_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Patchset:
    """A change's newest patchset, in a clone of its project."""

    run: Run
    folder: Path
    change: Change

    @classmethod
    def fetch(cls, run: Run, folder: Path, change: Change, remote: str) -> Patchset:
        """Fetch it. Raises UsageProblem where git gets another commit than Gerrit names."""
        from cdlib.errors import UsageProblem

        made, (commit, number) = cls(run, folder, change), change.newest
        if change.status == "ABANDONED":
            raise UsageProblem(f"change {change.number} is abandoned", hint="restore it first")
        ref = f"refs/changes/{change.number % 100:02}/{change.number}/{number}"
        with run.stage("fetch", ref):
            made._git("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--", remote, ref)
        found = made._git("rev-parse", "--verify", "FETCH_HEAD^{commit}").strip()
        if found != commit:
            raise UsageProblem(f"{ref} of {remote} is {found[:12]}, and Gerrit says {commit[:12]}",
                               hint="is DIR a clone of its project? run this again if it was just pushed")  # fmt: skip
        return made

    def approval(self, environment: str, days: int) -> Approval:
        """What is signed."""
        from cdlib.trust.approval import Approval

        commit, number = self.change.newest
        tree = self._git("rev-parse", "--verify", f"{commit}^{{tree}}").strip()
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
        return Approval(self.change.project, self.change.number, int(number), commit, tree, environment, expires)

    def difference(self) -> str:
        """The commit, for a terminal: nothing in it can hide or colour another line, and nothing is left out.

        Raises UsageProblem where it is too large to be shown.
        """
        from cdlib.errors import UsageProblem
        from cdlib.streams import TooMuch
        from cdlib.text import visible

        try:
            shown = self._git(*_SHOW, self.change.newest[0], "--")
        except TooMuch as problem:
            raise UsageProblem(
                f"change {self.change.number} cannot be shown whole, and so is not signed: {problem.message}",
                hint="let it be split, or its large files be kept elsewhere",
            ) from problem
        return "\n".join(visible(line) for line in shown.split("\n"))

    def _git(self, *args: str) -> str:
        from cdlib import process
        from cdlib.errors import UsageProblem

        done = process.run(["git", *_PLAIN, "-C", str(self.folder), *args], self.run.deadline, env=_ENV)
        if not done.ok:
            raise UsageProblem(f"git {args[0]} failed in {self.folder}", details=done.stderr[-5:],
                               hint="run this in a clone of the change's project, or name one by -C")  # fmt: skip
        return done.stdout


def post(run: Run, gerrit: Gerrit, patchset: Patchset, approval: Approval, key: Path) -> Result:
    """Sign, and put that on the change; with a vote where it is open."""
    from cdlib.trust.approval import compose, sign

    change = patchset.change
    with run.stage("sign", str(key)):
        text = compose(approval, sign(approval, key, run.deadline))
    gerrit.approve(change, text, {LABEL: VOTE} if change.is_open else {})
    voted = (
        f"and voted {LABEL}+{VOTE}" if change.is_open else "without a vote: start its authorize job, then its deploy"
    )
    return {"commit": approval.commit, "environment": approval.environment,
            "text": f"signed {change.number},{approval.patchset} for {approval.environment}, {voted}"}  # fmt: skip
