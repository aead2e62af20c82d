"""Write docs/reference.md and docs/reference/ from the code itself: `python docs/make_reference.py`.

They are committed, so that they can be read where the code is; a test keeps both alike.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cdlib import errors
from cdlib.documents import load_schema

DOCS = Path(__file__).parent
COMMANDS = ("build_image", "run_tests", "publish_tag", "helm_deploy", "helm_rollback", "cd_hold", "cd_status",
            "jenkins_run", "cd_checkout", "authorize_deploy", "gerrit_comment", "cd_approve",
            "cd_report", "cd_rights")  # fmt: skip
MADE = "Made from the code by `make reference`.\n"
CD_EXAMPLE = "examples/hello/cd.yaml"
TARGETS_EXAMPLE = """\
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
"""


def pages() -> dict[str, str]:
    """The text of every page of the reference, by its path in docs/."""
    example = (DOCS.parent / CD_EXAMPLE).read_text(encoding="utf-8")
    made = {
        "reference.md": _overview(),
        "reference/commands.md": _commands(),
        "reference/cd-yaml.md": _file(
            "cd", "The service's own; it travels with the change. What the example has:\n", example
        ),
        "reference/targets-yaml.md": _file(
            "targets", "The operators'; `--targets` or `CD_TARGETS` names it, and nothing looks for it.\n",
            TARGETS_EXAMPLE,
        ),
        "reference/json.md": "\n".join(
            ("# What `--json` prints", MADE, "One object on stdout; cd-result.json in `--out` holds the same.\n",
             *_keys(load_schema("result")))
        ),
    }  # fmt: skip
    return {name: text.rstrip("\n") + "\n" for name, text in made.items()}


def commands() -> Iterator[click.Command]:
    """Every command, in the order of the reference."""
    for name in COMMANDS:
        command: click.Command = importlib.import_module(f"jobs.{name}").main
        yield command


def _overview() -> str:
    names = ", ".join(f"[{c.name}](reference/commands.md#{c.name})" for c in commands())
    return "\n".join(
        (
            "# Reference", MADE,
            "## Commands", f"All options, with the variable that sets each: {names}.\n",
            "## Exit codes\n", *_exit_codes(),
            "## cd.yaml", "[Every key of cd.yaml](reference/cd-yaml.md), the service's file.\n",
            "## targets.yaml", "[Every key of targets.yaml](reference/targets-yaml.md), the operators' file.\n",
            "## What `--json` prints", "[Every key of the result](reference/json.md).",
        )
    )  # fmt: skip


def _file(schema: str, about: str, example: str) -> str:
    return "\n".join((f"# {schema}.yaml", MADE, about, f"```yaml\n{example}```\n", *_keys(load_schema(schema))))


def _commands() -> str:
    text = "Options win over variables, which win over the files. A secret is never an option.\n"
    return "\n".join(("# Commands", MADE, text, *(line for command in commands() for line in _command(command))))


def _command(command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=command.name, show_default=True)
    arguments = " ".join(p.make_metavar(context) for p in command.params if isinstance(p, click.Argument))
    yield f"## {command.name}\n"
    yield f"`{' '.join(filter(None, (command.name, '[OPTIONS]', arguments)))}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    yield "| option | environment | |\n|---|---|---|"
    for option in command.params:
        record = option.get_help_record(context)
        if record is not None and isinstance(option, click.Option) and option.name != "help":
            variable = option.envvar if isinstance(option.envvar, str) else ""
            words, text = (part.replace("|", "\\|").replace("\n", " ") for part in record)
            yield f"| `{words}` | {f'`{variable}`' if variable else ''} | {_said(text)} |"
    yield ""


def _said(text: str) -> str:
    """An option's help on one line; its variable has a column of its own."""
    return " ".join(re.sub(r"\[env var: \w+(?:; |\])", lambda found: "[" * found[0].endswith("; "), text).split())


def _exit_codes() -> Iterator[str]:
    yield "| exit | outcome | meaning |\n|---|---|---|\n| 0 | done, unchanged, planned | Done, or nothing to do. |"
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.CdError)]
    for kind in sorted(kinds, key=lambda kind: kind.exit_code):
        first = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        meaning = "A defect of ours." if kind is errors.CdError else first
        yield f"| {kind.exit_code} | {kind.outcome} | {meaning} |"
    yield "| 130, 143 | interrupted | Ended by SIGINT, by SIGTERM or SIGHUP (a terminal that is gone). |\n"
    yield "Where something was written to a cluster, 0, 7 or 8 say how it ended, whatever the cause.\n"


def _keys(schema: dict[str, Any]) -> Iterator[str]:
    yield "| key | type | |\n|---|---|---|"
    yield from _rows(schema, "")


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
    for name, text in pages().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
