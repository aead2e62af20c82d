"""Running a service's tests in a container, and judging what they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdlib.errors import CdError, OutOfTime, TestsFailed, UsageProblem
from cdlib.image.build import build
from cdlib.image.built import Built
from cdlib.image.container import Ended, container, sweep, user_of
from cdlib.image.junit import Tests, read_tests
from cdlib.image.lines import LOG, Lines
from cdlib.image.reports import empty_folder, unpack
from cdlib.image.work import Work
from cdlib.service import Test
from cdlib.target import Target

_SHOWN = 20  # failures that are named
_LAST = 15  # lines of output that are repeated


@dataclass(frozen=True)
class Tested:
    """What a test run came to."""

    image: Built
    tests: Tests
    reports: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the result."""
        return {"images": [self.image.as_dict()], "tests": self.tests.as_dict()}


def run_tests(
    work: Work,
    *,
    builder: str = "auto",
    cache: bool = True,
    on_result: Callable[[Tested, bool], None] = lambda _tested, _good: None,
) -> Tested:
    """Run the service's tests in its test variant, which is built where the Engine does not have it.

    `on_result` is told what came out, and whether it is good; it is not called where there was no result at all.
    JUnit files end up in `reports` below the run's folder. Raises TestsFailed where a test failed, none was
    executed, the command failed, or the time was up.
    """
    test = work.service.test
    _require_network(test, work.target, work.service.name)
    image = build(work, [test.variant], builder=builder, cache=cache)[0]
    told = " ".join(test.command) or "the image's own command"
    if work.run.would(f"run {told} in a container of {image.name}: network {test.network}, {test.memory} bytes of "
                      f"memory, {test.cpus:g} CPUs, {test.processes} processes, {test.time:g} s"):  # fmt: skip
        return Tested(image, Tests(), ())
    tested = Tested(image, Tests(), ())
    try:
        with work.run.stage("test", image.name) as found:
            sweep(work.run, work.engine)
            ended, files, old, last = _in_container(work, image, test)
            tested = Tested(image, read_tests(files), tuple(files))
            found.update(tested.tests.as_dict())
            _judge(test, ended, tested.tests, old, last)
    except CdError as problem:
        problem.made.update(service=work.service.name, commit=work.source.commit, **tested.as_dict())
        if isinstance(problem, TestsFailed):
            on_result(tested, False)
        raise
    on_result(tested, True)
    return tested


def _require_network(test: Test, target: Target | None, service: str) -> None:
    if test.network != "none" and not (target and target.allowed.test_network):
        raise UsageProblem(
            f"cd.yaml: test.network is {test.network!r}, which the operators have not allowed {service}",
            hint=f"set test.network: none, or have targets.yaml say services.{service}.allow.test_network: true"
            + ("" if target else ", and name it by --targets"),
        )


def _in_container(work: Work, built: Built, test: Test) -> tuple[Ended, list[Path], list[str], Sequence[str]]:
    """How the container ended, its reports, the names of reports that were in the image before, its last lines."""
    run, engine = work.run, work.engine
    reports = empty_folder(run.out)
    image = engine.image(built.id)
    if image is None:
        raise CdError(
            f"{built.name} has vanished from the Engine", hint="run this again; does something prune its images?"
        )
    lines = Lines(run.output, limit=LOG, kept=_LAST)
    user = user_of(run, engine, image)
    run.note(f"user {user}, network {test.network}, {test.time:g} s at most")
    with container(run, engine, image, user, test) as box:
        place = box.prepare_reports(test.reports)
        limit = run.deadline.part(test.time, "tests")
        try:
            ended = box.follow(lines.feed, limit)
        except OutOfTime:
            run.deadline.require("running the tests")
            raise TestsFailed(
                f"the tests did not end within {test.time:g} s, and were killed",
                details=[line for line in lines.last if line.strip()],
                hint="the lines above are their last; raise test.limits.time in cd.yaml if they need longer",
            ) from None
        with closing(box.archive(place)) as archive:  # before the container is removed, whatever is raised
            files, old = unpack(archive, reports, not_before=ended.started - 1)
    return ended, files, old, list(lines.last)


def _judge(test: Test, ended: Ended, tests: Tests, old: Sequence[str], last: Sequence[str]) -> None:
    """Raise TestsFailed unless tests ran and all went well. What failed comes first."""
    output = [line for line in last if line.strip()]
    limit = f"{test.memory / 2**20:g} MiB"
    if tests.failed:
        shown = tests.failures[:_SHOWN]
        more = [f"… and {tests.failed - _SHOWN} more"] if tests.failed > _SHOWN else []
        raise TestsFailed(
            f"{tests.failed} of {tests.executed} tests failed", details=[*shown, *more],
            hint="the JUnit files are in the folder reports below --out",
        )  # fmt: skip
    if ended.out_of_memory:
        raise TestsFailed(f"the tests took more than {limit} of memory, and were killed", details=output,
                          hint="raise test.limits.memory in cd.yaml if they need more")  # fmt: skip
    if tests.unreadable:
        raise TestsFailed(f"{', '.join(tests.unreadable)}: no JUnit file that can be read", details=output,
                          hint="the test command may have been cut off while it wrote")  # fmt: skip
    if ended.status:
        raise TestsFailed(f"the test command ended with exit status {ended.status}{_count(tests)}", details=output,
                          hint="its last lines are above")  # fmt: skip
    if not tests.executed:
        raise TestsFailed(f"no test was executed: {_nothing(test, tests, old)}", details=output,
                          hint="let test.command run tests, and write JUnit files into test.reports")  # fmt: skip


def _count(tests: Tests) -> str:
    return f", although {tests.passed} tests passed and none failed" if tests.executed else ", and no test was executed"


def _nothing(test: Test, tests: Tests, old: Sequence[str]) -> str:
    if tests.skipped:
        return f"all {tests.skipped} were skipped"
    if old:
        return f"{old[0]} was in the image before, and says nothing of this run"
    return f"there is no JUnit file with a test in {test.reports}"
