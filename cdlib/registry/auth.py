"""Who we are to a registry: credentials as the docker command keeps them, and what a registry asks for."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.errors import OutOfTime, UsageProblem

_HELPER = 30.0  # seconds for one answer of a credential helper

_SCHEME = re.compile(r"(?:^|,)\s*(Basic|Bearer)(?:\s+|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


@dataclass(frozen=True)
class Credentials:
    """A name and its password, or an OAuth2 refresh token, which registries call an identity token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown, in each form that it travels in."""
        return tuple(filter(None, (self.password, self.identity_token, self.basic.split(" ")[1])))

    @property
    def basic(self) -> str:
        """The Authorization header of RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class Challenge:
    """One scheme of a WWW-Authenticate header. `scope` is empty where the registry names none."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def find_credentials(host: str, deadline: Deadline | None = None) -> Credentials | None:
    """The credentials for the registry `host` in the docker configuration, None where it has none.

    Reads $DOCKER_CONFIG or ~/.docker/config.json with its `auths`, `credHelpers` and `credsStore`. Raises
    UsageProblem where a credential helper fails, because going on without would only say "denied"; OutOfTime where it
    does not answer by `deadline`.
    """
    if not _may_have(host):
        return None
    import docker.auth
    import docker.errors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a missing helper warns first, and raises afterwards
            config = docker.auth.load_config()
            end_helpers_in_time(config, deadline or Deadline(_HELPER))
            found = config.resolve_authconfig(host)
    except (docker.errors.DockerException, ValueError, KeyError, OSError) as problem:
        raise UsageProblem(
            f"the docker configuration has credentials for {host} that cannot be read: {problem}",
            hint="mend config.json or its credential helper, or run docker login again",
        ) from problem
    if not found:
        return None
    lower = {str(key).lower(): str(value) for key, value in found.items() if value}
    return Credentials(lower.get("username", ""), lower.get("password", ""), lower.get("identitytoken", ""))


def end_helpers_in_time(config: Any, deadline: Deadline) -> None:
    """Have docker-py's `config`, an AuthConfig, run its credential helpers by `process`: by itself it knows no end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in filter(None, {config.creds_store, *config.cred_helpers.values()}):
            store = config._get_store_instance(name)
            if store.exe:
                store._execute = partial(_ask_helper, store.exe, store.program, deadline)


def _ask_helper(path: str, program: str, deadline: Deadline, verb: str, said: bytes | None) -> bytes:
    """What a credential helper answers. Raises docker-py's StoreError where it fails, OutOfTime."""
    from docker.credentials.errors import process_store_error

    deadline.require(f"asking the credential helper {program}")
    limit = deadline.part(_HELPER, program)
    try:
        done = process.run([path, verb], limit, stdin=said or b"")
    except OutOfTime as problem:
        raise OutOfTime(
            f"the credential helper {program} did not answer within {limit.seconds:.0f} s",
            hint=f"run it by hand, echo HOST | {program} get, and see what it waits for",
        ) from problem
    if not done.ok:
        raise process_store_error(subprocess.CalledProcessError(done.returncode, program, done.raw), program)
    return done.raw


def _may_have(host: str) -> bool:
    """Whether the docker configuration speaks of `host` at all, or of a store that may know it.

    Most registries that ask who we are ask nobody in particular, and docker's reader takes 60 ms to import.
    """
    home = Path.home()
    folders = (os.environ.get("DOCKER_CONFIG"), home / ".docker")
    files = (Path(folder) / "config.json" for folder in folders if folder)
    file = next((file for file in files if file.exists()), home / ".dockercfg")
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return file.name == ".dockercfg" or host in text or "credsStore" in text


def parse_challenges(header: str) -> list[Challenge]:
    """The schemes that we speak in a WWW-Authenticate header, in its order."""
    starts = list(_SCHEME.finditer(header))
    found = []
    for start, following in zip(starts, [*starts[1:], None], strict=False):
        part = header[start.end() : following.start() if following else len(header)]
        said = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(part)}
        found.append(Challenge(start[1].lower(), said.get("realm", ""), said.get("service", ""), said.get("scope", "")))
    return found
