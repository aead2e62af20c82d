"""cd-report: one HTML page of a run, made from what its commands left behind; or the DORA figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import targets_option
from jobs.placing import aside

if TYPE_CHECKING:
    from cdlib.run import Run


@command("cd-report", timeout=60, placing=aside("report", looks=lambda options: options["dora"]))
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--page", metavar="FILE", type=click.Path(path_type=Path),
              help="Where the page goes.  [default: report.html below --out]")  # fmt: skip
@click.option("--ended", is_flag=True, help="Nothing runs any more: what has no end was killed.")
@click.option(
    "--plain", is_flag=True, help="Without a style sheet: for a server whose policy forbids them, as Jenkins'."
)
@click.option("--url", metavar="URL", default="", envvar="CD_GERRIT_URL", help="The Gerrit server, for links.")
@click.option("--dora", is_flag=True, help="Show the four DORA figures of each release in --targets; makes no page.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, help="With --dora: how far to look back.")
@click.option("--service", default="", metavar="NAME", help="With --dora: only this service.  [default: all]")
@click.option("-e", "--environment", default="", metavar="NAME", help="With --dora: only there.  [default: all]")
@targets_option
def main(run: Run, folder: Path, paths: tuple[Path, ...], page: Path | None, ended: bool, plain: bool, url: str,
         dora: bool, days: int, service: str, environment: str, targets: Path | None) -> Result:  # fmt: skip
    """Make one page of the last run in PATHS: how it ended, why, where the time went, what its pods did.

    PATHS are files of events, or folders with such files in them, by default --out; several are one run in several
    jobs. It may be made while the run goes on. Its own events go to the folder report below --out.
    """
    if dora:
        from cdlib.errors import UsageProblem
        from jobs.dora import report_dora

        if paths or page or ended or plain:
            raise UsageProblem("--dora makes no page", hint="leave out PATHS, --page, --ended and --plain")
        return report_dora(run, targets, environment, service, days)
    from dataclasses import asdict

    from cdlib.files import replace_file
    from cdlib.image.junit import read_tests
    from cdlib.report import sources
    from cdlib.report.page import page as made_page
    from cdlib.report.story import Tests
    from cdlib.trigger import read_trigger

    results = run.out.parent  # its own lies below, since it must not take the place of the one that it tells of
    paths, page = paths or (results,), page or results / "report.html"
    story = sources.gather_story(paths, page, asdict(read_trigger()), url, ended=ended)
    run.deadline.require("reading the events")
    tests = read_tests(sources.beside(paths, "reports", "*.xml"), most=sources.LARGEST_REPORTS)
    run.deadline.require("reading the reports")
    story.tests = Tests(tests.failures, tests.unreadable)
    written = made_page(story, plain=plain)
    if not run.would(f"write {page}"):
        replace_file(page, written)
    return {"page": str(page), "shows": story.outcome, "text": str(page)}


if __name__ == "__main__":
    main()
