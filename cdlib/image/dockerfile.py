"""What a Dockerfile is made from: the images that a stage needs, each found and pinned to a digest.

dockerfile-parse splits the file into instructions; what it does not know is added here: heredocs, `${X:-y}`,
stages that a target reaches, COPY --from, and syntax directives.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

from cdlib.errors import UsageProblem

_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?([\"']?)([A-Za-z_]\w*)\1(?=[\s;|&>]|$)")
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^${}]*))?\})")
_DIRECTIVE = re.compile(r"\s*(?:#|//)\s*([A-Za-z][\w-]*)\s*=\s*(.*?)\s*\Z")
_FROM = re.compile(r"(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*\Z", re.IGNORECASE)
_COPY_FROM = re.compile(r"(?:^|\s)--from=(?P<image>\S+)")
_MOUNT_FROM = re.compile(r"(?:^|\s)--mount=(?:\S*,)?from=(?P<image>[^\s,]+)")
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_AUTOMATIC = {
    f"{side}{name}": value
    for side in ("TARGET", "BUILD")
    for name, value in (("OS", "linux"), ("ARCH", _ARCHITECTURE), ("PLATFORM", f"linux/{_ARCHITECTURE}"))
}


@dataclass(frozen=True)
class Use:
    """One place that names an image or a stage: lines `first` to `last`, `written` as it stands there."""

    first: int
    last: int
    written: str
    image: str  # variables filled in
    stage: int | None  # the earlier stage that is meant, where it is one


@dataclass(frozen=True)
class Stage:
    """One stage: its name in lower case, its FROM, and what its other instructions take from elsewhere."""

    name: str
    base: Use
    others: tuple[Use, ...]


class Dockerfile:
    """A Dockerfile's text, read with build arguments `args`. `path` is its name for messages."""

    def __init__(self, text: str, path: str, args: Mapping[str, str]) -> None:
        self.text = text
        self.path = path
        self.stages = list(_stages(text, args))

    def base(self, target: str) -> Use | None:
        """The FROM that stage `target` rests on in the end, None where that is `scratch`."""
        stage = self._stage(target)
        while stage.base.stage is not None:
            stage = self.stages[stage.base.stage]
        return None if stage.base.image == "scratch" else stage.base

    def images(self, target: str) -> tuple[Use, ...]:
        """Each place from which stage `target` takes an image of another build."""
        waiting, seen, found = [self._stage(target)], set[int](), list[Use]()
        while waiting:
            stage = waiting.pop()
            for use in (stage.base, *stage.others):
                if use.stage is None and use.image not in ("", "scratch"):
                    found.append(use)
                elif use.stage is not None and use.stage not in seen:
                    seen.add(use.stage)
                    waiting.append(self.stages[use.stage])
        return tuple(sorted(found, key=lambda use: use.first))

    def pinned(self, pins: Mapping[str, str], target: str) -> str:
        """The text with the images of `target` replaced as `pins` says, line numbers kept."""
        lines = self.text.splitlines(keepends=True)
        for use in self.images(target):
            pin = pins.get(use.image, use.image)
            part = "".join(lines[use.first : use.last + 1])
            part = re.sub(rf"(?<=[\s=]){re.escape(use.written)}(?=[\s,]|\Z)", lambda _, pin=pin: pin, part, count=1)  # type: ignore[misc]
            lines[use.first : use.last + 1] = part.splitlines(keepends=True)
        return "".join(lines)

    def with_labels(self, labels: Mapping[str, str], target: str) -> str:
        """The text with one LABEL instruction more, at the end of stage `target` (of the last, where it is empty).

        The Engine's own builder takes labels as options too, but runs a container for each of them.
        """
        position = self.stages.index(self._stage(target)) if target else len(self.stages) - 1
        lines = self.text.splitlines(keepends=True)
        following = self.stages[position + 1 :]
        end = following[0].base.first if following else len(lines)
        escaped = {name: re.sub(r'([\\"$])', r"\\\1", value) for name, value in labels.items()}
        added = "LABEL " + " ".join(f'{name}="{value}"' for name, value in escaped.items())
        before = "".join(lines[:end])
        newline = "" if before.endswith("\n") or not before else "\n"
        return f"{before}{newline}{added}\n{''.join(lines[end:])}"

    def _stage(self, target: str) -> Stage:
        for stage in self.stages:
            if stage.name == target.lower():
                return stage
        if target.isdigit() and int(target) < len(self.stages):
            return self.stages[int(target)]
        names = ", ".join(stage.name for stage in self.stages if stage.name) or "none with a name"
        raise UsageProblem(
            f"{self.path} has no stage {target!r}, which image.variants in cd.yaml asks for",
            hint=f"name one by FROM … AS {target}, or change image.variants; the file has: {names}",
        )


def syntax_of(text: str) -> tuple[int, str] | None:
    """Line number and image of the frontend that a file's syntax directive asks for, as BuildKit looks for it.

    In comments by # or // at the very top, after a shebang, or as the key of a JSON document.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    if text.lstrip().startswith("{"):
        try:
            document, _ = json.JSONDecoder().raw_decode(text.lstrip())
        except ValueError:
            return None
        # Go matches names case-blind, and BuildKit is written in it.
        return next(((0, str(value)) for key, value in document.items() if key.lower() == "syntax"), None)
    for number, line in enumerate(lines):
        if number == 0 and line.startswith("#!"):
            continue
        directive = _DIRECTIVE.match(line)
        if not directive:
            return None
        if directive[1].lower() == "syntax":
            return (number, directive[2].split(" ")[0])
    return None


def _stages(text: str, args: Mapping[str, str]) -> Iterator[Stage]:
    values = dict(_AUTOMATIC)
    base: Use | None = None
    name, others, indexes = "", list[Use](), dict[str, int]()
    count = 0
    for instruction, first, last, value in _instructions(text):
        if instruction == "ARG" and base is None:
            values.update(_argument(value, args, values))
        elif instruction == "FROM" and (match := _FROM.match(value)):
            if base is not None:
                yield Stage(name, base, tuple(others))
                count += 1
            base = _use(match, first, last, values, indexes)
            name, others = (match["name"] or "").lower(), []
            indexes.update({name: count, str(count): count} if name else {str(count): count})
        elif base is not None and instruction in ("COPY", "ADD", "RUN"):
            pattern = _MOUNT_FROM if instruction == "RUN" else _COPY_FROM
            earlier = {key: index for key, index in indexes.items() if index < count}
            others += [_use(match, first, last, {}, earlier) for match in pattern.finditer(value)]
    if base is not None:
        yield Stage(name, base, tuple(others))


def _use(match: re.Match[str], first: int, last: int, values: Mapping[str, str], indexes: Mapping[str, int]) -> Use:
    written = match["image"]
    image = _expanded(written, values).strip("\"'")
    return Use(first, last, written, image, indexes.get(image.lower()))


def _instructions(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Instruction, first and last line counted from 0, and value, of everything but comments."""
    from dockerfile_parse import DockerfileParser

    plain = _without_heredocs(text).encode()
    for found in DockerfileParser(fileobj=BytesIO(plain)).structure:
        if found["instruction"] != "COMMENT":
            yield found["instruction"], found["startline"], found["endline"], (found["value"] or "").strip()


def _without_heredocs(text: str) -> str:
    """The text with heredocs' lines made comments: they are no instructions, whatever they look like."""
    lines, number = text.splitlines(), 0
    while number < len(lines):
        words = lines[number].split(None, 1)
        wanted = (
            [m[2] for m in _HEREDOC.finditer(lines[number])]
            if words and words[0].upper() in ("RUN", "COPY", "ADD")
            else []
        )
        for word in wanted:
            end = next((n for n in range(number + 1, len(lines)) if lines[n].strip("\t\r") == word), None)
            if end is None:
                break
            lines[number + 1 : end + 1] = ["#"] * (end - number)
            number = end
        number += 1
    return "\n".join(lines) + "\n"


def _argument(value: str, args: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """What an ARG before the first FROM sets: the build argument, or else its default."""
    from dockerfile_parse.util import WordSplitter

    found = {}
    for word in WordSplitter(value).split(dequote=False):
        name, given, default = word.partition("=")
        if name in args:
            found[name] = args[name]
        elif given:
            found[name] = _expanded(WordSplitter(default).dequote(), values)
    return found


def _expanded(text: str, values: Mapping[str, str]) -> str:
    """`text` with $X, ${X}, ${X:-default} and ${X:+alternative} filled in, from the inside out."""

    def fill(match: re.Match[str]) -> str:
        value = values.get(match[1] or match[2], "")
        if match[3] == "-":
            return value or match[4]
        if match[3] == "+":
            return match[4] if value else ""
        return value

    for _ in range(10):
        text, changes = _VARIABLE.subn(fill, text)
        if not changes:
            break
    return text
