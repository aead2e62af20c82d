"""config.xml read strictly: what nobody asked for is unknown, and unknown is an error."""

from __future__ import annotations

from xml.etree.ElementTree import Element

import defusedxml.ElementTree

LARGEST = 2**20


class Unknown(Exception):
    """An element or a value that this stand-in does not act on."""


class Node:
    """One element. Whatever child was not taken by the time of `done` is unknown."""

    def __init__(self, element: Element, path: str = "") -> None:
        self.element = element
        self.name = element.tag
        self.path = f"{path}/{element.tag}"
        self._left = list(element)

    def text(self, name: str, default: str = "") -> str:
        """The text of the child `name`."""
        child = self._take(name)
        if child is None:
            return default
        if len(child):
            raise Unknown(f"{self.path}/{name} has elements in it")
        return child.text or ""

    def flag(self, name: str, *, only: bool | None = None) -> bool:
        """The child `name` as a boolean. `only` is the one value that is known."""
        value = self.text(name, "false" if only is None else str(only).lower())
        if value not in ("true", "false") or (only is not None and value != str(only).lower()):
            raise Unknown(f"{self.path}/{name}: {value!r}")
        return value == "true"

    def number(self, name: str, default: int) -> int:
        """The child `name` as a number."""
        value = self.text(name, str(default))
        if not value.lstrip("-").isdigit():
            raise Unknown(f"{self.path}/{name}: {value!r}")
        return int(value)

    def ignore(self, *names: str) -> None:
        """Take children that change nothing of what a build does here."""
        for name in names:
            self._take(name)

    def child(self, name: str) -> Node | None:
        """The child `name`."""
        child = self._take(name)
        return None if child is None else Node(child, self.path)

    def children(self) -> list[Node]:
        """All that is left."""
        found, self._left = [Node(child, self.path) for child in self._left], []
        return found

    def unknown(self) -> Unknown:
        """The error for this element."""
        return Unknown(self.path)

    def done(self) -> None:
        """Raise Unknown where anything is left."""
        if self._left:
            raise Unknown(", ".join(f"{self.path}/{child.tag}" for child in self._left))

    def _take(self, name: str) -> Element | None:
        for child in self._left:
            if child.tag == name:
                self._left.remove(child)
                return child
        return None


def parse(text: bytes) -> Node:
    """The document's root. Raises Unknown for what is no XML."""
    if len(text) > LARGEST:
        raise Unknown("a document of more than 1 MiB")
    # Jenkins writes XML 1.1, which expat does not read; nothing here needs it.
    plain = text.replace(b"<?xml version='1.1'", b"<?xml version='1.0'", 1)
    try:
        return Node(defusedxml.ElementTree.fromstring(plain))
    except Exception as problem:  # whatever defusedxml and expat raise
        raise Unknown(f"no XML: {problem}") from problem
