"""JUnit files, from a container that nobody trusts: what ran, and which tests failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST = 128 * 2**20  # bytes of all files together
_LONGEST = 300  # characters of a failure's first line


@dataclass
class Tests:
    """What JUnit files say. `failures` are lines `classname::name: message`; `unreadable` are files' names."""

    __test__ = False
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def executed(self) -> int:
        """How many tests ran to an end, good or bad."""
        return self.passed + self.failed

    def as_dict(self) -> dict[str, Any]:
        """For the result."""
        total = self.executed + self.skipped
        return {"total": total, "passed": self.passed, "failed": self.failed, "skipped": self.skipped}


def read_tests(files: Iterable[Path], most: int = LARGEST) -> Tests:
    """What all of `files` say together; one that goes beyond `most` bytes of them all is not read."""
    tests = Tests()
    for file in files:
        size = file.stat().st_size
        cases = _cases(file) if size <= most else None
        most -= min(size, most)
        if cases is None:
            tests.unreadable.append(file.name)
            continue
        for case in cases:
            _count(tests, case)
    return tests


def _cases(file: Path) -> list[Element] | None:
    """Each test case in a file, None where it is no XML that may be read: entities and DTDs are refused."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root: Element = parse(file, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        return None
    return [element for element in root.iter() if _name(element) == "testcase"]


def _count(tests: Tests, case: Element) -> None:
    kinds = {_name(child): child for child in reversed(list(case))}
    bad = kinds.get("failure", kinds.get("error"))
    if bad is not None:
        tests.failed += 1
        name = "::".join(filter(None, (case.get("classname", ""), case.get("name", "")))) or "(a test without a name)"
        said = next(_lines(bad.get("message", "")), "") or next(_lines(bad.text or ""), "")
        tests.failures.append(f"{name}: {said}"[:_LONGEST] if said else name[:_LONGEST])
    elif "skipped" in kinds:
        tests.skipped += 1
    else:
        tests.passed += 1


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.splitlines() if line.strip())
