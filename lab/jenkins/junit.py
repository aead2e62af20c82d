"""JUnit's XML as Jenkins' JUnit plugin shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import defusedxml.ElementTree


def collect(root: Path, files: list[str]) -> dict[str, Any]:
    """The document of testReport/api/json."""
    suites: list[dict[str, Any]] = []
    for file in files:
        try:
            tree = defusedxml.ElementTree.parse(root / file).getroot()
        except Exception as problem:  # whatever defusedxml and expat raise; Jenkins makes it a failed case
            suites.append({"name": file, "cases": [_case("", f"[failed-to-read] {problem}", "FAILED", 0.0, "")]})
            continue
        for suite in tree.iter("testsuite"):
            cases = [_read(case) for case in suite.findall("testcase")]
            suites.append({"name": suite.get("name") or file, "cases": cases})
    states = [case["status"] for suite in suites for case in suite["cases"]]
    return {
        "_class": "hudson.tasks.junit.TestResult",
        "failCount": states.count("FAILED"),
        "skipCount": states.count("SKIPPED"),
        "passCount": states.count("PASSED"),
        "empty": not states,
        "suites": suites,
    }


def _read(case: Any) -> dict[str, Any]:
    bad = next((found for kind in ("failure", "error") if (found := case.find(kind)) is not None), None)
    state = "FAILED" if bad is not None else "SKIPPED" if case.find("skipped") is not None else "PASSED"
    details = (bad.get("message") or bad.text or "") if bad is not None else ""
    return _case(case.get("classname", ""), case.get("name", ""), state, float(case.get("time") or 0), details)


def _case(owner: str, name: str, state: str, seconds: float, details: str) -> dict[str, Any]:
    return {"className": owner, "name": name, "status": state, "duration": seconds, "errorDetails": details or None}
