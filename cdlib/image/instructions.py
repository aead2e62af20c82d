"""A Dockerfile's instructions, split as BuildKit does it, and what their flags take from.

What versions of BuildKit read in two ways is refused: an image that only one of them sees could be one that an
unreviewed build has left in the Engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cdlib.errors import UsageProblem

_HEREDOC = re.compile(r"(?:^|\s)\d*<<(-?)([\"']?)([A-Za-z_]\w*)\2(?=\s|$)")
_ANY_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?(?=[^\s<])")
_ESCAPE = re.compile(r"\s*#\s*escape\s*=", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t\r]*\Z")
_TWO_ESCAPES = re.compile(r"\\\\[ \t\r]*\Z")
_COMMENT = re.compile(r"\s*#")
# One flag as BuildKit splits them: quotes and backslashes may stand anywhere in it.
_FLAG = re.compile(r"""--(?:\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\\])*(?=\s|\Z)""")
FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*\Z", re.IGNORECASE)


def images_taken(instruction: str, value: str, path: str, first: int) -> Iterator[str]:
    """What an instruction's flags take from: that of COPY --from, those of RUN --mount."""
    if instruction == "ONBUILD":
        instruction, value = _split(value)
    if instruction not in ("COPY", "ADD", "RUN"):
        return
    while value.startswith("--"):
        flag = _FLAG.match(value)
        if flag is None or not flag[0].isascii():
            raise ambiguous(path, f"line {first + 1}: {value[:80]}")
        value = value[flag.end() :].lstrip()
        bare = re.sub(r"""\\(.)|["']""", r"\1", flag[0])
        if bare != flag[0] and "from" in bare.lower():
            raise ambiguous(path, f"line {first + 1}: quotes or backslashes in {flag[0][:80]}")
        name, _, said = bare.removeprefix("--").partition("=")
        if name == "from":
            yield said
        elif name == "mount":  # keys in any case, as BuildKit takes them
            fields = (field.partition("=") for field in said.split(","))
            yield from (image for key, _, image in fields if key.lower() == "from")


def instructions(text: str, path: str, *, heredocs: bool = True) -> Iterator[tuple[str, int, int, str]]:
    """Instruction, first and last line counted from 0, and value, of everything but comments and heredocs."""
    lines = text.removeprefix("\ufeff").split("\n")
    if len(text.splitlines()) != len(lines) - (not lines[-1]) or "\x1f" in text:
        raise ambiguous(path, "it has other line ends than those of Linux and Windows")
    number = 0
    while number < len(lines):
        first, whole, continued = number, "", True
        while continued and number < len(lines):
            line, number = lines[number], number + 1
            if _ESCAPE.match(line) and "`" in line:
                raise ambiguous(path, f"line {number}: an escape directive")
            if _COMMENT.match(line) or (not line.strip() and whole):
                continued = bool(whole)
                continue
            if _TWO_ESCAPES.search(line):
                raise ambiguous(path, f"line {number} ends with two backslashes")
            continued = bool(_CONTINUED.search(line))
            whole += _CONTINUED.sub("", line)
        if not whole.strip():
            continue
        instruction, value = _split(whole)
        last = number - 1
        yield instruction, first, last, value
        if heredocs and instruction in ("RUN", "COPY", "ADD", "ONBUILD"):
            number = _after_heredocs(lines, number, value, path)


def _split(line: str) -> tuple[str, str]:
    """The instruction in capitals, and what follows it."""
    word, _, value = re.sub(r"\s+", " ", line.strip(), count=1).partition(" ")
    return word.upper(), value.strip()


def _after_heredocs(lines: list[str], number: int, value: str, path: str) -> int:
    """The number of the first line after an instruction's heredocs, which are no instructions.

    Docker 20.10 knows no heredocs, and takes their lines for instructions: those that name an image are refused.
    """
    found = list(_HEREDOC.finditer(value))
    if len(found) != len(_ANY_HEREDOC.findall(value)):
        raise ambiguous(path, f"line {number}: a heredoc's name is not made of letters, digits and _ alone")
    for match in found:
        chomp, word = match[1], match[3]
        ends = (line.rstrip("\r").lstrip("\t" if chomp else "") for line in lines[number:])
        length = next((index for index, line in enumerate(ends) if line == word), None)
        if length is None:
            raise ambiguous(path, f"line {number}: the heredoc {word} has no end")
        body = "\n".join(lines[number : number + length])
        for instruction, first, _, said in instructions(body, path, heredocs=False):
            named = FROM.match(said) if instruction == "FROM" else list(images_taken(instruction, said, path, first))
            if named:
                raise ambiguous(path, f"line {number + first + 1}: a heredoc has the instruction {instruction}")
        number += length + 1
    return number


def ambiguous(path: str, what: str) -> UsageProblem:
    return UsageProblem(
        f"{path} can be read in more than one way, so that an image in it may not be seen: {what}",
        hint="write FROM, COPY --from and RUN --mount=…,from= without quotes, escapes or anything clever",
    )
