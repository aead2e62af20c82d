"""run-tests: run a service's tests in its test variant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cdlib.result import Result
from jobs.command import command
from jobs.options import signing_key_option, targets_option

if TYPE_CHECKING:
    from cdlib.image.testrun import Tested
    from cdlib.run import Run


@command("run-tests", timeout=1800)
@targets_option
@click.option("--dirty", is_flag=True, envvar="CD_DIRTY", help="Take uncommitted changes along.")
@click.option("--builder", type=click.Choice(["auto", "buildx", "buildkit", "engine"]), default="auto",
              envvar="CD_BUILDER", help="What builds the test variant where it is missing.")  # fmt: skip
@click.option("--cache/--no-cache", default=True, envvar="CD_CACHE", help="Use the candidates' repository of "
              "--targets as a cache.")  # fmt: skip
@signing_key_option
def main(run: Run, folder: Path, targets: Path | None, dirty: bool, builder: str, cache: bool,
         signing_key: Path | None) -> Result:  # fmt: skip
    """Run the tests of the commit in DIR in a container, as cd.yaml's `test` says.

    The container has limits, no network and no privileges, and is removed whatever happens. JUnit files end up
    in the folder reports below --out. Nothing executed is a failure. With a signing key, the result is attested
    beside the candidate of the same tree, good or bad.
    """
    from cdlib.image.testrun import run_tests
    from cdlib.image.work import open_work
    from cdlib.promotion.attesting import attest_tests, open_witness

    work = open_work(run, folder, targets, with_changes=dirty)
    witness, attested = open_witness(work, signing_key, "test-result"), list[str]()

    def attest(tested: Tested, good: bool) -> None:
        if witness:
            attested.extend(attest_tests(witness, tested, good))

    tested = run_tests(work, builder=builder, cache=cache, on_result=attest)
    counts = tested.tests
    return {
        "service": work.service.name,
        "commit": work.source.commit,
        **tested.as_dict(),
        **({"attested": attested} if attested else {}),
        "text": f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped",
    }


if __name__ == "__main__":
    main()
