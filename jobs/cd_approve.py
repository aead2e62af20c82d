"""cd-approve: sign that a change may be deployed, and vote."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.completing import environments
from jobs.placing import aside
from jobs.streams import confirmed

if TYPE_CHECKING:
    from cdlib.run import Run


@command("cd-approve", timeout=900, placing=aside("approve", looks=lambda _: False))
@click.argument("change")
@click.option("-e", "--environment", required=True, metavar="NAME", envvar="CD_ENVIRONMENT", help="For where.",
              shell_complete=environments)  # fmt: skip
@click.option("--key", "key", required=True, metavar="FILE", type=click.Path(path_type=Path), envvar="CD_APPROVAL_KEY",
              help="Your SSH key; its .pub where ssh-agent has it, as one with a passphrase.")  # fmt: skip
@click.option("--url", metavar="URL", envvar="CD_GERRIT_URL", required=True, help="The Gerrit server.")
@click.option("--project", default="", envvar="ZUUL_PROJECT", help="Whose change; any project's without it.")
@click.option("--remote", default="origin", help="Where git fetches the change from: a remote of DIR, or an address.")
@click.option("--days", default=7, type=click.IntRange(1, 90), help="For how long it holds.")
@click.option("--yes", is_flag=True, help="Do not ask whether to sign.")
def main(run: Run, folder: Path, change: str, environment: str, key: Path, url: str, project: str, remote: str,
         days: int, yes: bool) -> Result:  # fmt: skip
    """Show CHANGE, a number, sign its newest patchset with your own SSH key, and vote Code-Review+2.

    DIR is a clone of the project: the difference is shown from the very commit that is signed. The signature becomes
    a comment on the change. A merged change is signed without a vote; start its authorize job again then, and its
    deploy. The account is CD_GERRIT_USER, with the HTTP password CD_GERRIT_PASSWORD, or that in
    CD_GERRIT_PASSWORD_FILE. The result goes to the folder approve below --out.
    """
    from cdlib.errors import UsageProblem
    from cdlib.gerrit.changes import Gerrit
    from cdlib.gerrit.credentials import read_credentials
    from cdlib.given import given_bytes
    from cdlib.promotion.approving import Patchset, post

    given_bytes(key, "the key")
    with closing(Gerrit(run, url, read_credentials(whose="your own account"))) as gerrit:
        patchset = Patchset.fetch(run, folder, gerrit.numbered(change, project), remote)
        approval = patchset.approval(environment, days)
        click.echo(patchset.difference(), err=True)
        click.echo(f"This is signed: {approval.text().decode().strip()}", err=True)
        if run.would("sign this, and comment it on the change"):
            return {"text": "nothing was signed"}
        if not yes and not confirmed("Sign it?"):
            raise UsageProblem("nothing was signed", hint="say yes, or --yes")
        return post(run, gerrit, patchset, approval, key)


if __name__ == "__main__":
    main()
