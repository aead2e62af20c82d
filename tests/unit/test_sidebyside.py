"""Calls side by side: in order, together, and not any more once one has failed."""

from __future__ import annotations

import threading

import pytest

from cdlib.sidebyside import side_by_side


def test_they_run_at_once_and_come_in_order() -> None:
    meeting = threading.Barrier(3)

    def call(number: int) -> int:
        meeting.wait(10)  # nobody gets on alone
        return number * 2

    assert side_by_side(call, [1, 2, 3], workers=3) == [2, 4, 6]
    assert side_by_side(str, [1], workers=3) == ["1"] and side_by_side(str, [], workers=3) == []


def test_where_one_fails_no_more_are_begun() -> None:
    begun: list[int] = []

    def call(number: int) -> None:
        begun.append(number)
        if not number:
            raise ValueError(number)
        threading.Event().wait(0.01)  # as a program takes

    with pytest.raises(ValueError, match="0"):
        side_by_side(call, range(1000), workers=1)
    assert len(begun) < 1000
