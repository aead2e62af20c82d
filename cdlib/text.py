"""Text from outside, made harmless to look at."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")

# What shows as nothing or as a blank, and is printable to Python: Unicode's Default_Ignorable_Code_Point (of its
# DerivedCoreProperties.txt), which fonts leave out, and letters, marks and symbols whose picture is empty.
_BLANK = re.compile(
    "[\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\u2800\U00013441\U00013442\U00016fe4\U0001d159]"
)


def visible(text: str) -> str:
    """`text` with whatever does not show written out, as `<U+202E>`: for who must see all that there is of a line."""
    if text.isprintable() and not _BLANK.search(text):
        return text
    return "".join(c if c == "\t" or _shows(c) else f"<U+{ord(c):04X}>" for c in text)


def _shows(character: str) -> bool:
    return character.isprintable() and not _BLANK.match(character)


def printable(text: str) -> str:
    """`text` without terminal escapes and control characters: a log must not rewrite what a person sees.

    Halves of surrogate pairs, which JSON may carry and nothing can print, become question marks.
    """
    if text.isprintable():  # nearly every line, at a hundredth of the price
        return text
    plain = _ESCAPES.sub("", text).expandtabs(4).encode("utf-8", "replace").decode()
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") else "" for c in plain)
