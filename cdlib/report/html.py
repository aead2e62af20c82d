"""HTML as values: whatever is not Markup is text, and is escaped here and nowhere else."""

from __future__ import annotations

from html import escape

from cdlib.text import printable

LONGEST = 1000  # characters of one text; who needs more finds it in the events
_VOID = ("meta",)  # of those that are used here; shapes in SVG need their end
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


def _child(child: object) -> str:
    return child if isinstance(child, Markup) else _escaped(child)


def _escaped(value: object) -> str:
    text = str(value)
    if len(text) > LONGEST:
        text = text[:LONGEST] + "…"
    # A lone surrogate, which JSON may carry, cannot be written as UTF-8.
    return escape(printable(text).encode("utf-8", "replace").decode(), quote=True)
