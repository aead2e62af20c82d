"""What the stand-in is told: its users, agents, credentials and delays, in one YAML file."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cdlib.errors import UsageProblem
from cdlib.files import PRIVATE, replace_file

FILE = "lab.yaml"
TOKEN_FILE = "admin-token"
ADMINISTER = "Overall/Administer"
LABELS = ("cd-build", "cd-authorize", "cd-deploy")


@dataclass(frozen=True)
class User:
    """Somebody who may log in. `may` holds permissions as Jenkins' matrix names them, such as Job/Build."""

    name: str
    password: str = ""
    token: str = ""
    may: frozenset[str] = frozenset({ADMINISTER})


@dataclass(frozen=True)
class Agent:
    """A machine that runs builds: this one, under a name. `env` is added to the environment of its builds."""

    name: str
    labels: frozenset[str]
    executors: int = 2
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Credential:
    """Something secret that jobs bind by its id: `text`, `file` (content in `text`), or `username-password`."""

    id: str
    kind: str
    text: str = ""
    name: str = "secret"
    username: str = ""
    password: str = ""


@dataclass(frozen=True)
class Settings:
    """All of it. Delays are in seconds."""

    users: tuple[User, ...]
    agents: tuple[Agent, ...]
    credentials: tuple[Credential, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    quiet_period: float = 5.0
    queue_memory: float = 300.0  # how long an item that left the queue is remembered
    starting: float = 0.0  # how long the starting page is shown
    ending: float = 0.02  # between a build's result and the end of its log
    kill_after: float = 10.0  # between SIGTERM and SIGKILL
    minute: float = 60.0  # tests of time limits have no minutes to spare
    longest_url: int = 8192


def read(home: Path, file: Path | None) -> Settings:
    """The settings in `file`, or in lab.yaml below `home`; without either, an administrator and one agent.

    That administrator's token is made once and kept in the file admin-token below `home`.
    """
    chosen = file or home / FILE
    if not chosen.exists():
        if file:
            raise UsageProblem(f"{file} does not exist", hint="check --config")
        admin = User("admin", token=_kept_token(home))
        return Settings((admin,), (Agent("agent", frozenset(LABELS)),))
    document = yaml.safe_load(chosen.read_text(encoding="utf-8")) or {}
    try:
        return _settings(document, chosen.parent)
    except (TypeError, KeyError, ValueError) as problem:
        raise UsageProblem(f"{chosen}: {problem}", hint="see the classes of lab/jenkins/settings.py") from problem


def _settings(document: dict[str, Any], folder: Path) -> Settings:
    lists = {name: document.pop(name, []) for name in ("users", "agents", "credentials")}
    users = tuple(User(**{**entry, "may": frozenset(entry.get("may", [ADMINISTER]))}) for entry in lists["users"])
    agents = tuple(_agent(entry, folder) for entry in lists["agents"])
    credentials = tuple(Credential(**entry) for entry in lists["credentials"])
    return Settings(users, agents or (Agent("agent", frozenset(LABELS)),), credentials, **document)


def _agent(entry: dict[str, Any], folder: Path) -> Agent:
    """One agent. `env_file` names a file of NAME=VALUE lines, beside the settings."""
    entry = dict(entry)
    env = {str(name): str(value) for name, value in entry.pop("env", {}).items()}
    file = entry.pop("env_file", "")
    if file:
        lines = (folder / file).read_text(encoding="utf-8").splitlines()
        pairs = (line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))
        env = {**dict(pair for pair in pairs if len(pair) == 2), **env}
    return Agent(**{**entry, "labels": frozenset(entry["labels"]), "env": env})


def _kept_token(home: Path) -> str:
    file = home / TOKEN_FILE
    if not file.exists():
        replace_file(file, secrets.token_hex(16).encode(), PRIVATE)
    return file.read_text().strip()
