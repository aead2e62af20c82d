"""Text from logs and clusters made harmless in a comment, which Gerrit shows as Markdown.

Evidence goes into a quoted block of code: each of its lines begins with a mark, so that none can end the block, look
like a line of ours, or become a link or a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdlib.console import printable

LINES = 10  # of evidence; more is for the log
WIDTH = 160  # characters of a line of evidence
SENTENCE = 300  # characters of what stands in a sentence of ours
_MARK = ">     "  # a quotation, and in it five blanks: code, in Markdown as well as in Gerrit's older format
_HEAD = 2  # lines of long evidence that are kept from its beginning; the cause of a crash is at its end
_MARKUP = str.maketrans({"`": "'", "[": "(", "]": ")", "<": "‹", ">": "›"})


def sentence(text: str, limit: int = SENTENCE) -> str:
    """`text` as one line within a sentence, without what would make code, links or tags of it."""
    return _cut(" ".join(_plain(text).split()), limit).translate(_MARKUP)


def quoted(lines: Sequence[str], *, first: bool = False) -> list[str]:
    """A quoted block of at most 10 lines: the `first` ones, or the first two and the last ones."""
    kept = [part.rstrip() for line in lines for part in _plain(line).splitlines() if part.strip()]
    if len(kept) > LINES:
        left = len(kept) - LINES + 1
        gap = f"… {left} more lines"
        kept = [*kept[: LINES - 1], gap] if first else [*kept[:_HEAD], gap, *kept[_HEAD + left :]]
    return [_MARK + _cut(line, WIDTH) for line in kept]


def _plain(text: str) -> str:
    """`text` without terminal escapes, control characters, and halves of characters that no server can store."""
    return printable(text)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
