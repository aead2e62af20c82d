"""cd-checkout: fetch the source that a build is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command

if TYPE_CHECKING:
    from cdlib.run import Run


@command("cd-checkout", timeout=300)
@click.option("--url", default="", envvar="ZUUL_URL", help="Where projects are cloned from.")
@click.option("--project", default="", envvar="ZUUL_PROJECT", help="The project, below --url.")
@click.option("--ref", default="", envvar="ZUUL_REF", help="What to fetch: refs/zuul/…, refs/changes/…, or a branch.")
@click.option("--commit", default="", envvar="ZUUL_COMMIT", help="The commit that the ref must have; needed for "
              "refs/zuul/….  [default: ZUUL_NEWREV, or the newest]")  # fmt: skip
def main(run: Run, folder: Path, url: str, project: str, ref: str, commit: str) -> Result:
    """Fetch a commit with its history, check that it is the one that was asked for, and make DIR hold its files.

    DIR is empty, or was filled by this command before: what else lies in it is cleaned away, save --out.
    """
    from cdlib.checkout import Wanted, check_out
    from cdlib.trigger import read_trigger

    trigger = read_trigger()
    wanted = Wanted(url, project or trigger.project, ref or trigger.ref or trigger.branch, commit or trigger.commit)
    wanted.require_whole()
    if run.would(f"fetch {wanted.full_ref} of {wanted.address} into {folder}"):
        return {"project": wanted.project, "ref": wanted.full_ref, "commit": wanted.commit}
    found = check_out(run, folder, wanted)
    return {"project": wanted.project, "ref": wanted.full_ref, "commit": found, "text": found}


if __name__ == "__main__":
    main()
