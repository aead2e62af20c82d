"""Ant's patterns for files: `*` and `?` within a folder, `**` over folders."""

from __future__ import annotations

import os
import re
from pathlib import Path


def find(root: Path, patterns: str, excludes: str = "") -> list[str]:
    """The files below `root` that any of the comma-separated patterns means, in order; no links are followed."""
    wanted, unwanted = _expressions(patterns), _expressions(excludes)
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if path.is_symlink() or not path.is_file():
                continue
            if any(e.match(relative) for e in wanted) and not any(e.match(relative) for e in unwanted):
                found.append(relative)
    return sorted(found)


def _expressions(patterns: str) -> list[re.Pattern[str]]:
    words = (word.strip() for word in patterns.split(","))
    return [_expression(word + "**" if word.endswith("/") else word) for word in words if word]


def _expression(pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:[^/]+/)*", "/**": "(?:/[^/]+)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|/\*\*$|\*\*|\*|\?)", pattern)
    return re.compile("".join(parts.get(token) or re.escape(token) for token in tokens) + r"\Z")
