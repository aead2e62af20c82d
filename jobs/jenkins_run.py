"""jenkins-run: run a Jenkins job, and end as it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import Seconds, command

if TYPE_CHECKING:
    from cdlib.run import Run


@command("jenkins-run", timeout=5400)
@click.option("--url", default="", envvar="JENKINS_URL", help="The Jenkins server.")
@click.option("--user", default="", envvar="JENKINS_USER", help="Who we are there; the token is JENKINS_TOKEN's.")
@click.option("--token-file", type=click.Path(path_type=Path), envvar="JENKINS_TOKEN_FILE", help="A file with "
              "the token, in place of JENKINS_TOKEN.")  # fmt: skip
@click.option("--job", required=True, metavar="NAME", help="The job; in folders: FOLDER/NAME.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated.")
@click.option("--params-file", type=click.Path(path_type=Path), help="Parameters as a JSON object of strings.")
@click.option("--request", default="", metavar="ID", help="The name of this request (CD_REQUEST): a retry by the same "
              "name adopts its build.")  # fmt: skip
@click.option("--rerun", type=click.IntRange(min=1), metavar="BUILD", help="Take the parameters of an earlier build.")
@click.option("--abort", "aborting", is_flag=True, help="Abort what carries --request, and see it ended.")
@click.option("--push-source", type=click.Path(path_type=Path), metavar="DIR", help="Push the commit in DIR to "
              "--source-url, and let the job take it from there.")  # fmt: skip
@click.option(
    "--source-url", default="", envvar="CD_SOURCE_URL", help="A git server that this machine and agents reach."
)
@click.option("--restart-lost", type=click.IntRange(min=0), default=0, metavar="TIMES", help="How often a build that a "
              "restart of Jenkins has lost is started again.")  # fmt: skip
@click.option("--patience", type=Seconds(zero=True), default=180, envvar="CD_PATIENCE", metavar="SECONDS",
              help="How long the server may be gone.")  # fmt: skip
def main(run: Run, folder: Path, url: str, user: str, token_file: Path | None, job: str, params: tuple[str, ...],
         params_file: Path | None, request: str, rerun: int | None, aborting: bool, push_source: Path | None,
         source_url: str, restart_lost: int, patience: float) -> Result:  # fmt: skip
    """Run a Jenkins job: trigger it, follow its log, fetch its artifacts to OUT/artifacts, and exit as it did.

    The exit status is that of the build's cd-result.json; without one, 3 for a failed build, 4 for an unstable one,
    11 for one that was aborted or lost. Parameters that the job does not declare are refused.
    """
    from cdlib.errors import UsageProblem
    from cdlib.jenkins.request import open_server, read_parameters, shown
    from cdlib.jenkins.session import Wish, abort_job, run_job

    if aborting and not request:
        raise UsageProblem("--abort needs --request: what shall be aborted?", hint="give the request by --request ID")
    server = open_server(run, url, user, token_file, patience)
    if aborting:
        return shown(abort_job(run, server, job, request))
    wish = Wish(job, read_parameters(params, params_file), request, push_source, source_url, rerun or 0,
                restart_lost)  # fmt: skip
    return shown(run_job(run, server, wish))


if __name__ == "__main__":
    main()
