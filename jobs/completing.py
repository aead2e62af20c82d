"""What a shell completes: the names of environments and services in targets.yaml. It never fails, and is fast."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_LARGEST = 256 * 1024  # bytes; as for every other reader of the file


def environments(context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Those of the service that is named before it, or all."""
    document = _targets(context)
    entry = _names(document, "services", context.params.get("service"), "environments")
    return _beginning(entry or _names(document, "environments"), begun)


def services(context: click.Context, _option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Those that go to the environment that is named before it, or all."""
    document, environment = _targets(context), context.params.get("environment")
    known = _names(document, "services")
    there = [name for name in known if environment in _names(document, "services", name, "environments")]
    return _beginning(there or known, begun)


def _beginning(names: list[str], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted(names) if name.startswith(begun) and name.isprintable()]


def _names(document: Any, *path: Any) -> list[str]:
    """The keys at a place in the document; none where there is no such place."""
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return [name for name in document if isinstance(name, str)] if isinstance(document, dict) else []


def _targets(context: click.Context) -> Any:
    """The document, unchecked; None where there is none that can be read: a shell has no place for a message."""
    given = context.params.get("targets") or os.environ.get("CD_TARGETS", "")
    with suppress(Exception):
        import yaml

        file = Path(os.path.expanduser(given))  # a shell hands the word on as it was typed
        if file.is_file() and file.stat().st_size <= _LARGEST:
            return yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return None
