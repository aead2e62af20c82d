"""YAML files from outside, read strictly: size, duplicate keys, aliases, and a JSON Schema, all mistakes at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sized
from functools import cache
from importlib import resources
from typing import Any

from cdlib.errors import UsageProblem

LARGEST = 256 * 1024  # bytes; a file that people write by hand is far below
DEEPEST = 50  # levels of lists and mappings; schemas know of 10


def read_yaml(text: str, name: str, schema: str) -> dict[str, Any]:
    """The document in `text`, checked against cdlib/schemas/`schema`.json.

    `name` is the file's name for messages. Raises UsageProblem with one detail a mistake, each led by its
    path in the document. Aliases are refused: a few lines of them can stand for gigabytes. So are explicit tags.
    """

    def check(document: Any) -> list[str]:
        return schema_mistakes(document, schema) if document is not None else []

    document, found = _read(text, name, check)
    if document is None:
        raise UsageProblem(f"{name} is empty", hint=explained(schema))
    if found:
        raise UsageProblem(f"{name} has {mistakes(found)}", details=found, hint=explained(schema))
    assert isinstance(document, dict)
    return document


def read_foreign_yaml(text: str, name: str) -> Any:
    """The document in `text`, of which somebody else knows the schema; read as strictly as our own."""
    return _read(text, name, lambda _: [])[0]


def _read(text: str, name: str, check: Callable[[Any], list[str]]) -> tuple[Any, list[str]]:
    """The document in `text`, and what `check` finds in it."""
    import yaml

    if len(text) > LARGEST:
        raise UsageProblem(f"{name} is larger than {LARGEST} bytes", hint="move what is not configuration elsewhere")
    try:
        document = _parse(text)
        return document, check(document)  # a number of 5000 digits it cannot even name
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        where = getattr(problem, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        raise UsageProblem(f"{name} is no valid YAML{place}: {what}", hint="mend the line") from problem


def explained(schema: str) -> str:
    """Where somebody who has the library, and perhaps nothing else of it, finds every key explained."""
    return (
        f"every key of {schema}.yaml is explained in {resources.files('cdlib').joinpath('schemas', f'{schema}.json')}"
    )


def mistakes(found: Sized) -> str:
    """How many there are."""
    return f"{len(found)} mistake{'' if len(found) == 1 else 's'}"


def prepare() -> None:
    """Import what read_yaml takes: 60 ms of work, for which a program that is waited for leaves the time."""
    import jsonschema  # noqa: F401
    import yaml  # noqa: F401


def read_all(*readers: Callable[[], Any]) -> list[Any]:
    """What each reader returns; where several raise UsageProblem, one that tells of them all."""
    found: list[Any] = []
    problems: list[UsageProblem] = []
    for reader in readers:
        try:
            found.append(reader())
        except UsageProblem as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UsageProblem(
            "; ".join(problem.message for problem in problems),
            details=[detail for problem in problems for detail in problem.details],
            hint="; ".join(dict.fromkeys(problem.hint for problem in problems)),
        )
    return found


def schema_mistakes(document: object, schema: str) -> list[str]:
    """One line for each way in which `document` breaks the schema, led by its path, in the document's order."""
    found = sorted(
        _validator(schema).iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path]
    )
    return [f"{_path(error.absolute_path)}: {_said(error)}" for error in found]


@cache
def _validator(schema: str) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(load_schema(schema))


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema that ships as cdlib/schemas/`name`.json."""
    text = resources.files("cdlib").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _said(error: Any) -> str:
    if error.validator == "additionalProperties":
        unknown = sorted(str(key) for key in set(error.instance) - set(error.schema.get("properties", {})))
        known = sorted(error.schema.get("properties", {}))
        return f"unknown key {', '.join(map(repr, unknown))}; known are {', '.join(known)}"
    explained = error.schema.get("$comment", "") if isinstance(error.schema, dict) else ""
    if explained and error.validator != "type":
        shown = f"{error.instance!r}: " if isinstance(error.instance, str) else ""
        return f"{shown[:200]}{explained}"
    return str(error.message)[:300]


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(top)"


def _parse(text: str) -> Any:
    """The document in `text`. Raises YAMLError for aliases, tags, keys that stand twice, and what is nested too deeply.

    All but keys is looked for in the parser's events, before anything is made: what makes the document follows its
    levels on the C stack, and 30,000 end the process.
    """
    import yaml

    loader, level = _strict_loader(), 0
    for event in yaml.parse(text, Loader=loader):
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", mark)
        if (tag := getattr(event, "tag", None)) is not None:  # what makes values of them raises whatever Python does
            raise yaml.composer.ComposerError(None, None, f"tags ({tag[:40]}) are not allowed", mark)
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} levels", mark)
    return yaml.load(text, Loader=loader)


@cache
def _strict_loader() -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key_node, _ in node.value:
                key = key_node.value
                if not isinstance(key, str) or key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} stands twice", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Loader
