"""publish-tag: put a commit's image where deploys take it from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import targets_option

if TYPE_CHECKING:
    from cdlib.run import Run


@command("publish-tag", timeout=900)
@targets_option
@click.option("--candidate", is_flag=True, envvar="CD_CANDIDATE", help="Only write the candidate, or find it.")
@click.option("--variant", default="", metavar="NAME", envvar="CD_VARIANT",
              help="Which variant of cd.yaml.  [default: the one that is deployed]")  # fmt: skip
@click.option("--tag", "tags", multiple=True, envvar="CD_TAG", help="Which tag; may be repeated.  [default: "
              "YYYY-MM-DD-HHMMSS-<commit>, by the commit's time, and"
              " -<variant> where another than the deployed one is named]")  # fmt: skip
@click.option("--moving/--no-moving", default=True, envvar="CD_MOVING", help="Let the tags that targets.yaml lists as "
              "moving follow what is newly published.")  # fmt: skip
@click.option("--permit", "permit_file", metavar="FILE", type=click.Path(path_type=Path), help="By hand, outside of "
              "any pipeline: publish the very image that this permit is for, under the commit's tag where it is "
              "of its tree.")  # fmt: skip
def main(run: Run, folder: Path, targets: Path | None, candidate: bool, variant: str, tags: tuple[str, ...],
         moving: bool, permit_file: Path | None) -> Result:  # fmt: skip
    """Publish the image of the commit in DIR: promote its candidate by digest, or push what was built here.

    A tag that was published never moves, save those that targets.yaml lists as moving. Where a policy asks for it, only
    what is proved to be built from this tree and tested is published, or what a permit is for. Prints the reference.
    """
    from cdlib.errors import UsageProblem
    from cdlib.image.candidate import publish_candidate
    from cdlib.image.work import open_work
    from cdlib.promotion.publishing import publish_by_permit, publish_proved

    if permit_file and (candidate or variant or tags):
        raise UsageProblem("--permit says what is published, and the commit as what",
                           hint="leave out --candidate, --variant and --tag")  # fmt: skip
    work = open_work(run, folder, targets, need_target=True)
    name = variant or work.service.deploy.variant
    if permit_file:
        published = publish_by_permit(work, permit_file)
    elif candidate:
        published = publish_candidate(work, name)
    else:
        published = publish_proved(work, name, tags, moving=moving)
    return {
        "outcome": "unchanged" if published.unchanged else "done",
        "service": work.service.name,
        "commit": work.source.commit,
        **published.as_dict(),
        "text": published.reference,
    }


if __name__ == "__main__":
    main()
