"""Durations, sizes and times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cdlib.units import memory, seconds, timestamp


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1.5s", 1.5), ("1h1m1s", 3661)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("256Mi", 2**28), ("1Gi", 2**30), ("5k", 5000), ("7", 7), ("2G", 2 * 10**9)]
)
def test_sizes(text: str, value: int) -> None:
    assert memory(text) == value


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1m 2s", "1d", "90s\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


@pytest.mark.parametrize("text", ["", "1.5Gi", "Mi", "-1", "1mb", "1Mi\n"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        memory(text)


def test_times_are_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(moment) == "2026-01-02T01:04:05.678Z"
    assert timestamp().endswith("Z") and datetime.fromisoformat(timestamp()).tzinfo == UTC
