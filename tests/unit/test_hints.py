"""Every error says what to do next: each call that makes one gives it a hint."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from cdlib import errors

ROOT = Path(__file__).parents[2]
KINDS = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CdError)}
BY_CHANCE = {"kind"}  # how a class is called that a table chose


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """Every call in which the library or a command makes an error, with its file's name."""
    found = []
    for file in sorted([*(ROOT / "cdlib").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [(str(file.relative_to(ROOT)), call) for call in made(tree)]
    return found


def kinds(tree: ast.Module) -> set[str]:
    """What makes an error in this module: the classes of cdlib.errors, and those that it makes of them."""
    bases = {each.name: {base.id for base in each.bases if isinstance(base, ast.Name)}
             for each in ast.walk(tree) if isinstance(each, ast.ClassDef)}  # fmt: skip
    return KINDS | BY_CHANCE | {name for name, of in bases.items() if of & KINDS}


def made(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call in which an error is made."""
    names = kinds(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def is_hinted(call: ast.Call) -> bool:
    hints = [word.value for word in call.keywords if word.arg == "hint"]
    return bool(hints) and not (isinstance(hints[0], ast.Constant) and not hints[0].value)


def test_every_error_has_a_hint() -> None:
    bare = [f"{name}:{call.lineno}: {ast.unparse(call)[:120]}"
            for name, call in calls() if not is_hinted(call)]  # fmt: skip
    assert bare == [], "these say nothing of what to do next:\n" + "\n".join(bare)


def test_there_are_errors_to_look_at() -> None:
    assert len(calls()) > 250


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("raise UsageProblem('x')", False),
        ("raise UsageProblem('x', hint='')", False),
        ("raise UsageProblem('x', hint='y') from None", True),
        ("return kind('x', details=[])", False),
        ("class Own(Refused): pass\nraise Own('x')", False),
        ("problem = NotAllowed('x', hint=HINT)", True),
    ],
)
def test_what_counts(source: str, good: bool) -> None:
    assert [is_hinted(call) for call in made(ast.parse(source))] == [good]
