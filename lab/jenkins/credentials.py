"""Credentials bound to a build's environment, as the credentials-binding plugin does."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cdlib.files import PRIVATE, replace_file
from lab.jenkins.definition import Binding
from lab.jenkins.settings import Credential


class MissingCredential(Exception):
    """A job binds what is not there, or what is of another kind."""


@dataclass(frozen=True)
class Bound:
    """Variables for the build, and the values that its log must not show."""

    environment: dict[str, str]
    hidden: tuple[str, ...]


def bind(bindings: Iterable[Binding], credentials: Iterable[Credential], private: Path) -> Bound:
    """What the bindings give. Secret files are written below `private`, which goes when the build ends."""
    known = {credential.id: credential for credential in credentials}
    environment: dict[str, str] = {}
    hidden: list[str] = []
    for binding in bindings:
        credential = known.get(binding.credential)
        if credential is None or credential.kind != binding.kind:
            raise MissingCredential(f"Could not find credentials entry with ID '{binding.credential}'")
        values, secret = _values(credential, binding, private)
        environment.update(zip(binding.variables, values, strict=True))
        hidden += secret
    return Bound(environment, tuple(sorted(filter(None, hidden), key=len, reverse=True)))


def _values(credential: Credential, binding: Binding, private: Path) -> tuple[list[str], list[str]]:
    if credential.kind == "text":
        return [credential.text], [credential.text]
    if credential.kind == "file":
        file = private / "secretFiles" / uuid.uuid4().hex / credential.name
        file.parent.mkdir(parents=True, mode=0o700)
        replace_file(file, credential.text.encode(), PRIVATE)
        return [str(file)], [str(file)]
    if len(binding.variables) == 1:
        return [f"{credential.username}:{credential.password}"], [credential.password]
    return [credential.username, credential.password], [credential.password]
