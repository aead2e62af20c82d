"""How Sphinx makes pages of this folder: `make docs`. index.md says what is where, and this file nothing of it."""

from __future__ import annotations

import re
from typing import Any

project = "cdlib"
author = ""
copyright = ""
extensions = ["myst_parser"]
exclude_patterns = ["conf.py", "make_reference.py"]
root_doc = "index"
language = "en"
highlight_language = "text"  # a block that names no language is what a person types or sees
myst_heading_anchors = 4  # by GitHub's rules, so that links hold on both
suppress_warnings = ["misc.highlighting_failure"]  # what a chart's template has in braces is no YAML yet
html_theme = "furo"
html_title = "cdlib"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    # Fonts that every system has: the pages load nothing from elsewhere.
    "light_css_variables": {"font-stack": "system-ui, sans-serif", "font-stack--monospace": "ui-monospace, monospace"},
    "footer_icons": [],
}

_SECTION = re.compile(r"^## (?P<title>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"\]\(([\w/.-]+)\.md\)")
_OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")


def _navigation(text: str) -> str:
    """The side bar, as Sphinx wants it: the sections of the front page, and the pages that each links."""
    trees = []
    for section in _SECTION.finditer(text):
        pages = "\n".join(dict.fromkeys(_PAGE.findall(section["body"])))
        if pages:
            trees.append(f"```{{toctree}}\n:hidden:\n:caption: {section['title']}\n\n{pages}\n```\n")
    return "\n".join(trees)


def _read(_app: Any, name: str, source: list[str]) -> None:
    """What GitHub shows as it is, and Sphinx has to be told."""
    if name == root_doc:
        source[0] += "\n" + _navigation(source[0])
    elif name.endswith("/index"):  # a folder of which all pages are listed
        hidden = ":hidden:\n" if "](" in source[0] else ""
        source[0] += f"\n```{{toctree}}\n{hidden}:glob:\n\n*\n```\n"
    source[0] = _OUTSIDE.sub(r"\1", source[0])  # files of the checkout are no pages


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
