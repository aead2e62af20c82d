"""Text from outside, made harmless to look at."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def printable(text: str) -> str:
    """`text` without terminal escapes and control characters: a log must not rewrite what a person sees."""
    if text.isprintable():  # nearly every line, at a hundredth of the price
        return text
    plain = _ESCAPES.sub("", text).expandtabs(4)
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") else "" for c in plain)
