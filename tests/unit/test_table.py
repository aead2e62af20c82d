"""Tables hold their columns in any script, at any width."""

from __future__ import annotations

import pytest

from cdlib.table import fit, fitted, folded, table, width

ROWS = [["hello", "1", "plain"], ["日本語サービス", "22", "wide"], ["e\u0301clair", "3", "combining"]]
HEADS = ["NAME", "N", "NOTE"]


def test_columns_begin_where_people_see_them_begin() -> None:
    lines = table(HEADS, ROWS)
    starts = [width(line[: line.index(row[2])]) for line, row in zip(lines, [HEADS, *ROWS], strict=True)]
    assert starts == [20] * 4 and lines[1] == "hello           1   plain"


def test_a_cell_is_one_line_that_moves_no_cursor() -> None:
    assert table(["A", "B"], [["x\x1b[2Jy\nz\r", "b"]]) == ["A     B", "xy z  b"]


@pytest.mark.parametrize("limit", range(20, 201, 9))
def test_no_line_is_wider_than_the_limit(limit: int) -> None:
    rows = [*ROWS, ["x" * 70, "4", "ö日" * 40]]
    lines = fitted(HEADS, rows, limit, {"NAME": 8, "NOTE": 5})
    assert lines is not None and max(map(width, lines)) <= limit
    assert (limit >= 196) == (not any("…" in line for line in lines))


def test_what_cannot_fit_is_none() -> None:
    assert fitted(HEADS, ROWS, 10, {"NAME": 8}) is None
    assert fitted(HEADS, ROWS, 10, {}) is None


def test_what_is_cut_says_so_and_never_splits_a_wide_character() -> None:
    assert fit("abcdef", 6) == "abcdef" and fit("abcdefg", 6) == "abcde…"
    assert fit("日本語", 5) == "日本…" and fit("日本語", 4) == "日…"
    assert width(fit("e\u0301" * 9, 4)) == 4


def test_sentences_are_folded_between_words() -> None:
    assert folded("a 日本 cd e", 6, "  ") == ["a 日本", "  cd e"]
    assert folded("abcdefgh i", 5) == ["abcd…", "i"] and folded("", 5) == [""]
