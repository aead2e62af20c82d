"""What answers over HTTP have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cdlib.answers import retry_after, words


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("nan", 0),
        ("soon", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2970 00:00:00 -0000", 0),
    ],
)
def test_how_long_a_server_asks_to_wait(said: str, seconds: float) -> None:
    assert retry_after({"Retry-After": said}) == seconds


def test_until_when_a_server_asks_to_wait() -> None:
    then = datetime.now(UTC) + timedelta(seconds=60)
    assert 50 < retry_after({"Retry-After": format_datetime(then, usegmt=True)}) <= 60
    assert retry_after({}) == 0


def test_the_words_of_a_plain_answer() -> None:
    assert words(b" not\n here \xff") == "not here \ufffd"
    assert words(b"<HTML><body>a proxy's page</body>") == ""
    assert len(words(b"a " * 5000)) == 300
