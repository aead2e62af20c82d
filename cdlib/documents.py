"""YAML files from outside, read strictly: size, duplicate keys, aliases, and a JSON Schema, all mistakes at once."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from cdlib.errors import UsageProblem

LARGEST = 256 * 1024  # bytes; a file that people write by hand is far below


def read_yaml(text: str, name: str, schema: str) -> dict[str, Any]:
    """The document in `text`, checked against cdlib/schemas/`schema`.json.

    `name` is the file's name for messages. Raises UsageProblem with one detail a mistake, each led by its
    path in the document. Aliases are refused: a few lines of them can stand for gigabytes.
    """
    import yaml

    if len(text) > LARGEST:
        raise UsageProblem(f"{name} is larger than {LARGEST} bytes", hint="move what is not configuration elsewhere")
    try:
        document = yaml.load(text, Loader=_strict_loader())
    except yaml.YAMLError as problem:
        where = getattr(problem, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        raise UsageProblem(f"{name} is no valid YAML{place}: {what}", hint="mend the line") from problem
    mistakes = schema_mistakes(document, schema)
    if mistakes:
        raise UsageProblem(
            f"{name} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}",
            details=mistakes,
            hint=f"docs/reference.md explains every key of {schema}.yaml",
        )
    assert isinstance(document, dict)
    return document


def schema_mistakes(document: object, schema: str) -> list[str]:
    """One line for each way in which `document` breaks the schema, led by its path, in the document's order."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(load_schema(schema))
    found = sorted(validator.iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    return [f"{_path(error.absolute_path)}: {_said(error)}" for error in found]


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema that ships as cdlib/schemas/`name`.json."""
    text = resources.files("cdlib").joinpath("schemas", f"{name}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _said(error: Any) -> str:
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(error.schema.get("properties", {})))
        known = sorted(error.schema.get("properties", {}))
        return f"unknown key {', '.join(map(repr, unknown))}; known are {', '.join(known)}"
    described = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    message = str(error.message)
    if len(message) > 200:
        message = message[:200] + "…"
    return f"{message} ({described})" if error.validator == "pattern" and described else message


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(top)"


def _strict_loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed", event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen = set()
            for key_node, _ in node.value:
                key = key_node.value
                if not isinstance(key, str) or key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Loader
