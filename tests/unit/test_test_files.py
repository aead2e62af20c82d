"""The tests' own files can be run in any company."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports a file by its name alone, so two of one name can't be in the same run; nor can a helper's."""
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")
    assert names["test_test_files.py"] == 1
    assert [name for name, count in names.items() if count > 1] == []
