"""Text from outside, as a person gets to see it."""

from __future__ import annotations

import pytest

from cdlib.text import visible

# Unicode's Default_Ignorable_Code_Point, first and last of each range; then what is drawn as nothing.
IGNORABLE = (
    "AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 "
    "1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)
EMPTY = "A0 2003 2800 13441-13442 16FE4 1D159"


@pytest.mark.parametrize("name", f"{IGNORABLE} {EMPTY}".split())
def test_what_does_not_show_is_written_out(name: str) -> None:
    """In a line where nothing else is odd, and in one where something is."""
    first, _, last = name.partition("-")
    for number in range(int(first, 16), int(last or first, 16) + 1):
        assert visible(f"a{chr(number)}b") == f"a<U+{number:04X}>b"
        assert visible(f"\x1b{chr(number)}b") == f"<U+001B><U+{number:04X}>b"


@pytest.mark.parametrize("text", ["", "x = 1  # plain", "\tgrüße, 雪, שלום, ไทย, e\u0301, 한글, 🚀", "a\tb"])
def test_what_shows_stays(text: str) -> None:
    assert visible(text) == text
