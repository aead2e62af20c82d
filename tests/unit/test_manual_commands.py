"""Every command in the manuals exists, with its options and their choices, and so does what make, tox and python run."""

from __future__ import annotations

import importlib.util
import re
import runpy
from functools import cache
from pathlib import Path

import click
import pytest
from manuals import commands, in_shell

from lab.__main__ import cli as lab

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
OURS: dict[str, click.Command] = {
    str(command.name): command for command in runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["commands"]()
}


@cache
def targets() -> frozenset[str]:
    """What the Makefile makes."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def environments() -> frozenset[str]:
    """The environments of tox.ini."""
    return frozenset(
        re.split(r"[{},]", "".join(re.findall(r"^\[testenv:(.*)\]$", (ROOT / "tox.ini").read_text(), re.M)))
    )


def mistake(words: list[str]) -> str | None:
    """Why nobody can run this command; empty where they can, None where it is none of ours."""
    plain = [word.strip("[]") for word in words]  # what may be left out is in brackets
    name, *args = [word for word in plain if word not in ("…", "OPTIONS")] or [""]
    name = Path(name).name if "/" in name else name
    if name in OURS:
        return in_command(OURS[name], args)
    if name == "make":
        named = [word for word in args if re.fullmatch(r"[a-z-]+", word)]
        return ", ".join(f"no target {word}" for word in named if word not in targets())
    if name == "tox" and args[:1] == ["-e"]:
        return "" if args[1] in environments() and (args[2:3] in ([], ["--"])) else f"no environment {args[1]}"
    if name.startswith("python") and args[:1] == ["-m"]:
        return in_module(args[1], args[2:])
    if name == "python" and args[:1]:
        return "" if (ROOT / args[0]).exists() else f"no file {args[0]}"
    return None


def in_command(command: click.Command, args: list[str]) -> str:
    try:
        given, rest, _ = command.make_parser(click.Context(command)).parse_args(list(args))
        for option in command.params:
            value = given.get(str(option.name))
            if isinstance(option.type, click.Choice) and isinstance(value, str):
                option.type.convert(value, option, None)
    except click.UsageError as problem:
        return problem.format_message()
    return f"too many words: {rest}" if rest and not any(isinstance(p, click.Argument) for p in command.params) else ""


def in_module(module: str, args: list[str]) -> str | None:
    if module == "lab" and args:
        inner = lab.commands.get(args[0])
        if args[0].isupper():  # COMMAND
            return ""
        return in_command(inner, args[1:]) if inner else f"the lab has no command {args[0]}"
    if module.partition(".")[0] not in ("lab", "bench", "cdlib", "jobs", "tests"):
        return None
    return "" if importlib.util.find_spec(module) else f"no module {module}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists(page: Path) -> None:
    wrong = {" ".join(words): said for words in commands(page) if (said := mistake(words))}
    assert wrong == {}, "\n".join(f"{command}: {said}" for command, said in wrong.items())


def test_there_are_commands_to_check() -> None:
    found = [words for page in PAGES for words in commands(page) if mistake(words) is not None]
    assert len(found) > 100 and len({words[0] for words in found}) >= len(OURS)


@pytest.mark.parametrize(
    "line",
    [
        "helm-rollback --too 1",
        "CD_X=1 helm-rollback --list extra",
        "echo a && cd-hold --action sit",
        "make no-such-target",
        "if ! build-image --builder nothing; then",
        "tox -e no-such",
        ".venv/bin/python -m lab upp",
        "python -m bench.nothing",
        "cd-hold --set",
        "$ cd-status -x | head",
    ],
)
def test_a_wrong_one_is_found(line: str) -> None:
    assert [said for words in in_shell(line) if (said := mistake(words))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=b c --d 'e f' # g", [["c", "--d", "e f"]]),
        ("a && b || c; d | e > f", [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]),
        ("a \\\n  --b", [["a", "--b"]]),
        ("cat > x <<'END'\nhelm-deploy --wrong\nEND\na", [["cat"], ["x"], ["END"], ["a"]]),
        ("it's open", []),
    ],
)
def test_how_commands_are_found(text: str, found: list[list[str]]) -> None:
    assert list(in_shell(text)) == found
