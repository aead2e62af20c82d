"""This checkout's zuul.d and playbooks, as the lab's Zuul gets them: with its addresses, passwords and projects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDERS = ("playbooks", "zuul.d")
_TAG = "!encrypted/pkcs1-oaep"


class Encrypted(list[str]):
    """The pieces of an encrypted value."""


class _Dumper(yaml.SafeDumper):
    """Knows encrypted values, and writes no references: a file that is read is easier without."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(Encrypted, lambda dumper, value: dumper.represent_sequence(_TAG, list(value)))


@dataclass(frozen=True)
class Site:
    """What is the site's own: the data of each secret by its name, and the projects that are deployed."""

    secrets: dict[str, dict[str, Any]]
    services: tuple[str, ...]


def files(checkout: Path, site: Site) -> dict[str, str]:
    """Every file of the config project, by its path in there."""
    found = {}
    for path in _sources(checkout):
        text = path.read_text(encoding="utf-8")
        name = str(path.relative_to(checkout))
        found[name] = adapted(text, site) if name.startswith("zuul.d/") else text
    return found


def adapted(text: str, site: Site) -> str:
    """One file of zuul.d, with the site's own values in place of the examples."""
    objects = yaml.safe_load(text)
    for entry in objects:
        if secret := entry.get("secret"):
            secret["data"] = site.secrets[secret["name"]]
        elif "allowed-projects" in (job := entry.get("job", {})):
            job["allowed-projects"] = list(site.services)
    return dump(objects)


def dump(objects: Any) -> str:
    """Configuration objects as text."""
    return yaml.dump(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _sources(checkout: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(path for path in (checkout / folder).rglob("*.yaml") if path.is_file())
