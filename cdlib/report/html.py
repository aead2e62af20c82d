"""HTML as values: whatever is not Markup is text, and is escaped here and nowhere else."""

from __future__ import annotations

import re
from html import escape

from cdlib.text import printable

LONGEST = 1000  # characters of one text; who needs more finds it in the events
_VOID = ("meta",)  # of those that are used here; shapes in SVG need their end
# A word that is longer may be broken: a digest must not make a table wider than a phone.
_LONG = re.compile(r"(\S{16})(?=\S)")
_LINKS = ("https://", "http://")


class Markup(str):
    """Text that is HTML already. Only `tag`, `joined` and what is written in this package may make one."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element. Children and attributes are escaped, save Markup; an attribute that is None is left out.

    An underscore in an attribute's name stands for a hyphen, and one at its end for nothing (`class_`).
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(*children)}</{name}>")


def joined(*children: object) -> Markup:
    """The children in a row, escaped save Markup; None is nothing."""
    return Markup("".join(_child(child) for child in children if child is not None))


def link(url: str, *children: object) -> Markup:
    """A link to a page of a server; only the text of it where the address is no such thing."""
    if not url.startswith(_LINKS) or not url.isprintable():
        return joined(*children)
    return tag("a", *children, href=url, rel="noreferrer")


def unbroken(value: object) -> Markup:
    """Text with no place to break: for a title, which has no elements in it."""
    return Markup(_escaped(value))


def _child(child: object) -> str:
    if isinstance(child, Markup):
        return child
    # A clean text has no control characters, so one of them may mark where to break.
    return escape(_LONG.sub("\\1\0", _clean(child))).replace("\0", "<wbr>")


def _escaped(value: object) -> str:
    return escape(_clean(value), quote=True)


def _clean(value: object) -> str:
    text = str(value)
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    return printable(text)
