"""Write docs/reference.md from the code itself: `python docs/make_reference.py`. A test keeps the two alike."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cdlib import errors
from cdlib.documents import load_schema

FILE = Path(__file__).with_name("reference.md")
COMMANDS = ("build_image", "run_tests", "publish_tag", "helm_deploy", "helm_rollback", "cd_hold", "cd_status",
            "jenkins_run", "cd_checkout", "authorize_deploy", "gerrit_comment", "cd_approve",
            "cd_report", "cd_rights")  # fmt: skip

HEAD = """\
# Reference
Made from the code by `python docs/make_reference.py`.
"""
TARGETS_EXAMPLE = """\
```yaml
version: 1
environments:
  production:
    kubeconfig: /etc/cd/production.kubeconfig
    context: production
    policy: none
    budget: 180s
    verify: {http: [{path: /healthz, status: 200}]}
services:
  hello:
    image: registry.example.org/hello
    candidates: registry.example.org/candidates/hello
    moving_tags: [latest]
    environments:
      production: {namespace: hello, release: hello, values: [hello-production.yaml]}
```
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, *_commands(), "## Exit codes\n", *_exit_codes()]
    parts += ["## cd.yaml\n", "The service's own; it travels with the change.\n", *_keys(load_schema("cd"))]
    parts += ["## targets.yaml\n", "The operators'; `--targets` or `CD_TARGETS` names it, and nothing looks for it.\n"]
    parts += [TARGETS_EXAMPLE, *_keys(load_schema("targets"))]
    parts += ["## What `--json` prints\n", "cd-result.json holds the same object.\n", *_keys(load_schema("result"))]
    return "\n".join(parts)


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    for name in COMMANDS:
        command: click.Command = importlib.import_module(f"jobs.{name}").main
        context = click.Context(command, info_name=command.name, show_default=True)
        yield f"### {command.name}\n"
        yield inspect.cleandoc(command.help or "") + "\n"
        yield "| option | environment | |\n|---|---|---|"
        for option in command.params:
            record = option.get_help_record(context)
            if record is not None and isinstance(option, click.Option) and option.name != "help":
                variable = option.envvar if isinstance(option.envvar, str) else ""
                words, text = (part.replace("|", "\\|").replace("\n", " ") for part in record)
                yield f"| `{words}` | {f'`{variable}`' if variable else ''} | {' '.join(text.split())} |"
        yield ""


def _exit_codes() -> Iterator[str]:
    yield "| exit | outcome | meaning |\n|---|---|---|\n| 0 | done, unchanged, planned | Done, or nothing to do. |"
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CdError)]
    for kind in sorted(kinds, key=lambda kind: kind.exit_code):
        first = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        meaning = "A defect of ours." if kind is errors.CdError else first
        yield f"| {kind.exit_code} | {kind.outcome} | {meaning} |"
    yield "| 130, 143 | interrupted | Ended by SIGINT, by SIGTERM. |\n"
    yield "Where something was written to a cluster, 0, 7 or 8 say how it ended, whatever the cause.\n"


def _keys(schema: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | |\n|---|---|---|"
    yield from _rows(schema, "")
    yield ""


def _rows(schema: dict[str, Any], path: str) -> Iterator[str]:
    if path:
        text = schema.get("description", "") or schema.get("$comment", "")
        yield f"| `{path}` | {_type(schema)} | {text} |".replace("\\", "\\\\")
    for name, inner in schema.get("properties", {}).items():
        needed = " (required)" if name in schema.get("required", ()) else ""
        first, *rest = _rows(inner, f"{path}.{name}" if path else name)
        yield first.replace("` |", f"`{needed} |", 1)
        yield from rest
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rows(schema["additionalProperties"], f"{path}.NAME")
    if isinstance(schema.get("items"), dict) and schema["items"].get("properties"):
        yield from _rows(schema["items"], f"{path}[]")


def _type(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind) or "string or object"


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
