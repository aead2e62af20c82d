"""gerrit-comment: tell the changes of a build, a test run or a deploy how it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import environment_option
from jobs.placing import Options, Place

if TYPE_CHECKING:
    from cdlib.run import Run


def _beside(results: Path, given: bool, options: Options) -> Place:
    """The results of other commands decide the build's own outcome, so nothing of ours may write over them."""
    file = options["file"] = options["file"] or results / "cd-result.json"
    ours = given and file.resolve() != (results / "cd-result.json").resolve()
    return Place(results if ours else results / "comment")


@command("gerrit-comment", timeout=120, placing=_beside)
@environment_option
@click.option("--result", "file", metavar="FILE", type=click.Path(path_type=Path), envvar="CD_RESULT",
              help="Which run to tell of: its cd-result.json.  [default: that below --out]")  # fmt: skip
@click.option("--url", metavar="URL", envvar="CD_GERRIT_URL", required=True, help="The Gerrit server.")
@click.option("--project", default="", envvar="ZUUL_PROJECT", help="Whose changes; any project's without it.")
@click.option("--page", metavar="PATH", default="", help="The run's page among the artifacts of BUILD_URL, for a "
              "link.")  # fmt: skip
@click.option("--vote", "label", default="", envvar="CD_VOTE", help="Which label gets +1 or -1; none without it.")
def main(run: Run, folder: Path, file: Path, url: str, project: str, label: str, page: str,
         environment: str) -> Result:  # fmt: skip
    """Comment on every change that a deploy brought, or on the change that was built and tested; each once.

    The account is CD_GERRIT_USER, with the HTTP password CD_GERRIT_PASSWORD, or that in CD_GERRIT_PASSWORD_FILE.
    Its own result goes to DIR/.cd/comment by default, and never takes the place of the one that is told of.
    """
    from cdlib.gerrit.changes import Gerrit
    from cdlib.gerrit.credentials import read_credentials
    from cdlib.gerrit.report import read_report
    from cdlib.gerrit.telling import shown, tell
    from cdlib.trigger import read_trigger

    report, trigger = read_report(file, environment), read_trigger()
    trigger = replace(trigger, project=project or trigger.project)
    run.about.update(service=report.service, environment=report.environment)
    gerrit = Gerrit(run, url, read_credentials())
    try:
        told = tell(run, gerrit, report, trigger, folder, label, page)
    finally:
        gerrit.close()
    return shown(told, whole=run.dry_run)


if __name__ == "__main__":
    main()
