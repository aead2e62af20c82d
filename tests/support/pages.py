"""A page as a browser without styles has it: strict about nesting, so that nothing broken passes."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and the rows of its tables by the section's id."""

    def __init__(self, document: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._section = ""
        self.feed(document.decode())
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take it in."""
        known = dict(attrs)
        assert len(known) == len(attrs), f"an attribute of {tag} is there twice"
        self.elements.append((tag, known))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = known["aria-labelledby"] or ""
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in ("th", "td"):
            self.rows[self._section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """It has to be that which is open."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text, by cell where it is in one; the style sheet is none."""
        if "style" in self._open:
            return
        self.text += data
        if "th" in self._open or "td" in self._open:
            self.rows[self._section][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]
