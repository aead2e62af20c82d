"""One limit for a whole run."""

from __future__ import annotations

import pytest

from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime


def test_what_is_left_and_what_is_over() -> None:
    limit = Deadline(60, "tests")
    assert 59 < limit.left <= 60 and not limit.over and limit.require("working") > 59
    gone = Deadline(0, "the run")
    assert gone.left == 0 and gone.over
    with pytest.raises(OutOfTime, match="while working: the limit of 0 s for the run"):
        gone.require("working")


def test_a_part_never_outlasts_the_whole() -> None:
    assert Deadline(60).part(5, "x").left <= 5
    assert Deadline(1).part(5, "x").left <= 1
