"""What a Dockerfile is made from: the images that a stage needs, each found and pinned to a digest.

An image that is not seen here is neither pinned nor told of, and may be one that an unreviewed build has left in the
Engine. So the file is split as BuildKit does it, and what versions of it read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cdlib.errors import UsageProblem
from cdlib.image.instructions import FROM, ambiguous, images_taken, instructions
from cdlib.image.platforms import HERE, Platforms

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^${}]*))?\})")
_DIRECTIVE = re.compile(r"\s*(?:#|//)\s*([A-Za-z][\w-]*)\s*=\s*(.*?)\s*\Z")
MOST_EXPANDED = 64 * 1024  # characters that all ARG instructions of a file come to
_MOST_NAMED = 4096  # characters of an image's name


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
    """A Dockerfile's text, read with build arguments `args`, for `platforms`. `path` is its name for messages."""

    def __init__(self, text: str, path: str, args: Mapping[str, str], platforms: Platforms = HERE) -> None:
        self.text = text
        self.path = path
        self.args = args
        self.platforms = platforms
        self.stages = list(_stages(text, path, args, platforms))

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
        """The text with the images of `target` replaced as `pins` says, line numbers kept.

        Raises UsageProblem where one of them is written so that it cannot be replaced.
        """
        lines = self.text.splitlines(keepends=True)
        for use in self.images(target):
            pin = pins.get(use.image, use.image)
            part = "".join(lines[use.first : use.last + 1])
            written = rf"(?:(?<=\s)|(?i:(?<=from=))){re.escape(use.written)}(?=[\s,]|\Z)"
            part = re.sub(written, lambda _, pin=pin: pin, part, count=1)  # type: ignore[misc]
            lines[use.first : use.last + 1] = part.splitlines(keepends=True)
        made, wanted = "".join(lines), [pins.get(use.image, use.image) for use in self.images(target)]
        if [use.image for use in Dockerfile(made, self.path, self.args, self.platforms).images(target)] != wanted:
            raise ambiguous(self.path, "an image's name is written so that no digest can be put in its place")
        return made

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


def syntax_of(text: str, path: str) -> tuple[int, str] | None:
    """Line number and image of the frontend that a file's syntax directive asks for, None where it asks for none.

    BuildKit looks for it in comments by # or // at the very top, after a shebang. Of two the one of Docker 20.10 takes
    the last, later ones the first; and later ones alone look into a JSON document. Raises UsageProblem for those.
    """
    whole = text.removeprefix("\ufeff")
    lines = [line.removesuffix("\r") for line in whole.split("\n")]  # as Go's scanner splits them
    rest = "\n".join(lines[1:]) if whole.startswith("#!") else whole
    if rest.lstrip().startswith("{"):
        raise _unclear(path, "it is a JSON document")
    found = None
    for number, line in enumerate(lines):
        if number == 0 and line.startswith("#!"):
            continue
        if line.lstrip().startswith("#!"):
            raise _unclear(path, f"line {number + 1} is a shebang, and not the first")
        directive = _DIRECTIVE.match(line)
        if not directive:
            break
        if directive[1].lower() == "syntax" and found:
            raise _unclear(path, f"line {number + 1} is a second syntax line")
        if directive[1].lower() == "syntax":
            found = (number, directive[2].split(" ")[0])
    return found


def with_syntax(text: str, path: str, number: int, pin: str) -> str:
    """The text with the frontend `pin` in its syntax directive, which stands on line `number`."""
    lines = text.split("\n")
    before, _, _ = lines[number].partition("=")
    lines[number] = f"{before}={pin}" + ("\r" if lines[number].endswith("\r") else "")
    made = "\n".join(lines)
    if syntax_of(made, path) != (number, pin):
        raise _unclear(path, "its syntax line is written so that no digest can be put in")
    return made


def _unclear(path: str, what: str) -> UsageProblem:
    return UsageProblem(
        f"{path}: versions of BuildKit differ in which frontend it asks for: {what}",
        hint="let the first line be `# syntax=IMAGE`, or leave it out, and have no other comment with = below it",
    )


def _stages(text: str, path: str, args: Mapping[str, str], platforms: Platforms) -> Iterator[Stage]:
    values = {name: args.get(name, value) for name, value in platforms.arguments().items()}
    base: Use | None = None
    name, others, indexes = "", list[Use](), dict[str, int]()
    count, expanded = 0, 0
    for instruction, first, last, value in instructions(text, path):
        if instruction == "ARG" and base is None:
            found = _argument(value, args, values, path)
            expanded += sum(map(len, found.values()))
            if expanded > MOST_EXPANDED:
                raise _too_long(path)
            values.update(found)
        elif instruction == "FROM":
            match = FROM.match(value)
            if match is None:
                raise ambiguous(path, f"line {first + 1}: FROM {value[:80]}")
            if base is not None:
                yield Stage(name, base, tuple(others))
                count += 1
            base = _use(match["image"], first, last, values, indexes, path)
            name, others = (match["name"] or "").lower(), []
            if name in indexes:
                raise ambiguous(path, f"line {first + 1}: the stage {name} is there twice")
            indexes.update({name: count, str(count): count} if name else {str(count): count})
        elif base is not None:
            earlier = {key: index for key, index in indexes.items() if index < count}
            others += [
                _use(image, first, last, {}, earlier, path) for image in images_taken(instruction, value, path, first)
            ]
    if base is not None:
        yield Stage(name, base, tuple(others))


def _use(written: str, first: int, last: int, values: Mapping[str, str], indexes: Mapping[str, int], path: str) -> Use:
    image = _expanded(written, values, path, _MOST_NAMED).strip("\"'")
    return Use(first, last, written, image, indexes.get(image.lower()))


def _argument(value: str, args: Mapping[str, str], values: Mapping[str, str], path: str) -> dict[str, str]:
    """What an ARG before the first FROM sets: the build argument, or else its default."""
    from dockerfile_parse.util import WordSplitter

    found = {}
    for word in WordSplitter(value).split(dequote=False):
        name, given, default = word.partition("=")
        if name in args:
            found[name] = args[name]
        elif given:
            found[name] = _expanded(WordSplitter(default).dequote(), values, path, MOST_EXPANDED)
    return found


def _expanded(text: str, values: Mapping[str, str], path: str, most: int) -> str:
    """`text` with $X, ${X}, ${X:-default} and ${X:+alternative} filled in, from the inside out.

    Raises UsageProblem beyond `most` characters: twenty lines that each name the one before twice are a million.
    """
    size = len(text)

    def fill(match: re.Match[str]) -> str:
        nonlocal size
        value = values.get(match[1] or match[2], "")
        size += len(value)
        if size > most:
            raise _too_long(path)
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


def _too_long(path: str) -> UsageProblem:
    return UsageProblem(
        f"{path}: what its ARG instructions and image names come to is longer than {MOST_EXPANDED // 1024} KiB",
        hint="do not let arguments name each other so often",
    )
