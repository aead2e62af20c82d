"""Text from outside, made harmless to look at."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def visible(text: str) -> str:
    """`text` with whatever does not show written out, as `<U+202E>`: for who must see all that there is of a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else f"<U+{ord(c):04X}>" for c in text)


def printable(text: str) -> str:
    """`text` without terminal escapes and control characters: a log must not rewrite what a person sees.

    Halves of surrogate pairs, which JSON may carry and nothing can print, become question marks.
    """
    if text.isprintable():  # nearly every line, at a hundredth of the price
        return text
    plain = _ESCAPES.sub("", text).expandtabs(4).encode("utf-8", "replace").decode()
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") else "" for c in plain)
