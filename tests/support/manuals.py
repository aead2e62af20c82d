"""What the manuals show: their blocks, and the commands in them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<name>\S+) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_HEREDOC = re.compile(r"(<<-?'?(\w+)'?.*?\n).*?^\2$", re.MULTILINE | re.DOTALL)
_OPERATOR = re.compile(r"[();<>|&]+$")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WORDS_OF_SHELLS = ("if", "then", "else", "do", "!", "{", "exec", "env", "export", "sudo")


@dataclass(frozen=True)
class Block:
    """A block of code. `name` is the comment before it: the file that it is."""

    language: str
    name: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The page's blocks of code, in its order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(each["language"], each["name"] or "", dedent(each["text"])) for each in found]


def changed(text: str, changes: Mapping[str, str]) -> str:
    """`text` with this machine's addresses in place of the page's; each has to be there."""
    for old, new in changes.items():
        assert old in text, f"the page has no {old}"
        text = text.replace(old, new)
    return text


def follow(page: Path, name: str, folder: Path, changes: Mapping[str, str] | None = None, **env: str) -> str:
    """Run the page's block `name` in `folder`, as a reader does who types it with their own addresses; what it prints.

    It has to end well. The commands of this checkout are on PATH.
    """
    (text,) = [block.text for block in blocks(page) if block.name == name]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    script = f"set -euo pipefail\n{changed(text, changes or {})}"
    whole = {**os.environ, "PATH": path, "HOME": str(folder), **env}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=whole, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{page.name}, {name}: {done.stdout}{done.stderr}"
    return done.stdout


def commands(page: Path) -> Iterator[list[str]]:
    """Every command in the page, as its words: those in blocks for a shell, in indented lines, and in code in prose."""
    for block in blocks(page):
        if block.language in ("", "sh"):
            yield from in_shell(block.text)
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    yield from in_shell("\n".join(re.findall(r"^ {4,}(\S.*)$", prose, re.MULTILINE)))
    for span in re.findall(r"`([^`\n]+)`", prose):
        yield from in_shell(span)


def in_shell(text: str) -> Iterator[list[str]]:
    """The simple commands in `text`, without assignments, redirections and what stands in here-documents."""
    text = _HEREDOC.sub(r"\1", text).replace("\\\n", " ")
    for line in text.splitlines():
        try:
            lexer = shlex.shlex(re.sub(r"^\$ ", "", line.strip()), posix=True, punctuation_chars=True)
            lexer.wordchars += "…%@,{}[]:!$\\^"
            words = list(lexer)
        except ValueError:
            continue  # a quotation that is left open: prose, or the output of a program
        yield from _simple(words)


def _simple(words: list[str]) -> Iterator[list[str]]:
    found: list[str] = []
    for word in [*words, ";"]:
        if not _OPERATOR.match(word):
            if found or not (_ASSIGNMENT.match(word) or word in _WORDS_OF_SHELLS):
                found.append(word)
        elif found:
            yield found
            found = []
