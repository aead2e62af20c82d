"""A rollout's checks as JUnit test cases, for whatever reads test results: Jenkins, dashboards, mails.

The names are the same from run to run, so that who keeps histories can tell since when a check fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from cdlib.report.timeline import CommandRun, Stage, number, text
from cdlib.text import printable

FILE = "rollout.xml"
PLAN, ROLLBACK = "plan", "rollback"
# Stages that are checks, and what a check is called; all that comes before the first of them is the plan.
_CHECKS = {"helm upgrade": "apply", "helm rollback": "apply", "rollout": "rollout", "http": "http",
           "helm test": "helm test", "soak": "soak"}  # fmt: skip
_BACK = "helm rollback"
_ROLLED_BACK, _NEEDS_PERSON = 7, 8
_VERDICTS = (_ROLLED_BACK, _NEEDS_PERSON, 10)  # the service was judged; all others say that it could not be
_SENTENCE, _LINE, _LINES = 300, 500, 24  # characters, characters, and lines
_NO_XML = re.compile("[^\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


@dataclass(frozen=True)
class Case:
    """One check: `seconds` long, `problem` says in a sentence what was wrong, and is empty where it held."""

    name: str
    seconds: float
    problem: str = ""


def cases(run: CommandRun, result: Mapping[str, Any]) -> list[Case]:
    """The checks of a run of helm-deploy or helm-rollback that has ended, in order. One that ended well has no bad."""
    checks = [stage for stage in run.stages if stage.name in _CHECKS]
    back = next((i for i, stage in enumerate(checks) if stage.name == _BACK), len(checks))
    planned = (checks[0].start if checks else run.last) - run.start
    good, message = run.exit_code == 0, _message(run, result)
    forth = [_case(stage) for stage in checks[:back]]
    returned = [replace(case, name=f"{ROLLBACK}: {case.name}") for case in map(_case, checks[back:])]
    if not good and checks:
        forth = _last_bad(forth, text(dict(result), "cause") or _verdict(run) or message)
        returned = returned if run.exit_code == _ROLLED_BACK else _last_bad(returned, message)
    if forth and not returned and run.exit_code == _NEEDS_PERSON:  # there was nothing to go back to
        returned = [Case(ROLLBACK, 0.0, message)]
    plan = Case(PLAN, planned, "" if good or checks else message)
    return list(_told_apart([plan, *forth, *returned]))


def junit(run: CommandRun, result: Mapping[str, Any]) -> bytes:
    """The JUnit file of that run. What comes from a change or a log is text in it, and bounded."""
    found = cases(run, result)
    kind = "failure" if run.exit_code in _VERDICTS else "error"
    bad = str(sum(bool(case.problem) for case in found))
    counts = {"tests": str(len(found)), "failures": bad if kind == "failure" else "0",
              "errors": bad if kind == "error" else "0", "skipped": "0"}  # fmt: skip
    root = Element("testsuites")
    about = {"name": run.command, **counts, "time": f"{run.last - run.start:.3f}", "timestamp": run.events[0]["t"][:19]}
    suite = SubElement(root, "testsuite", {key: _clean(value) for key, value in about.items()})
    place = ".".join(_clean(str(result.get(key) or key)).replace(".", "_") for key in ("environment", "release"))
    evidence = "\n".join(_evidence(result))
    for case in found:
        element = SubElement(
            suite, "testcase", {"classname": place, "name": _clean(case.name), "time": f"{case.seconds:.3f}"}
        )
        if case.problem:
            problem = SubElement(element, kind, {"type": _clean(run.outcome), "message": _clean(case.problem)})
            problem.text = f"{_clean(case.problem)}\n{evidence}"
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _case(stage: Stage) -> Case:
    about = f" {stage.about}" if stage.name == "http" else ""
    return Case(f"{_CHECKS[stage.name]}{about}", number(stage.told, "seconds"))


def _last_bad(found: Sequence[Case], why: str) -> list[Case]:
    """The same, the last of them bad: a check that fails is the last of its way."""
    return [*found[:-1], replace(found[-1], problem=why)] if found else []


def _told_apart(found: Iterable[Case]) -> Iterator[Case]:
    """The same, each under a name of its own: some readers keep only one of several."""
    seen = dict[str, int]()
    for case in found:
        seen[case.name] = seen.get(case.name, 0) + 1
        yield case if seen[case.name] == 1 else replace(case, name=f"{case.name} ({seen[case.name]})")


def _message(run: CommandRun, result: Mapping[str, Any]) -> str:
    return text(_error(result), "message") or f"{run.command} ended as {run.outcome} (exit {run.exit_code})"


def _verdict(run: CommandRun) -> str:
    return next((text(e, "reason") for e in run.events if e["event"] == "verdict"), "")


def _evidence(result: Mapping[str, Any]) -> Iterator[str]:
    """What proves it, and what to do next."""
    error = _error(result)
    details = error.get("details")
    lines = [line for each in details for line in str(each).splitlines()] if isinstance(details, list) else []
    hint = text(error, "hint")
    yield from (_clean(line, _LINE) for line in lines[:_LINES])
    if hint:
        yield f"next: {_clean(hint, _LINE)}"


def _error(result: Mapping[str, Any]) -> dict[str, Any]:
    error = result.get("error")
    return error if isinstance(error, dict) else {}


def _clean(said: str, limit: int = _SENTENCE) -> str:
    """Text that every reader of XML takes."""
    return _NO_XML.sub("", printable(said))[:limit]
