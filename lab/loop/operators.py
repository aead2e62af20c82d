"""What the operators of the lab's agents say: targets.yaml, and the files that it names.

Production is `signed`: votes, signatures and keys are checked as docs/trust.md and docs/keys.md describe it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from cdlib.files import replace_file
from cdlib.trust.approval import NAMESPACE
from lab.loop import gerrit, identity, projects
from lab.loop.places import PRODUCTION, Places
from lab.loop.rest import part, rest
from lab.plan import write_json

_REVIEWER, _MACHINE, _READER = "bob", "zuul", "cd"
# Who signs what: the purposes of targets.yaml by the keys of identity.SIGNING.
_PURPOSES = {"provenance": "build", "test-result": "test", "permit": "permit", "break-glass": "break-glass"}
_MOST = 500  # accounts


def write(places: Places, registry: str, services: Mapping[str, str]) -> None:
    """Write all of it, for `services` by the environment of each: a namespace of its name, as its project is."""
    for name in _PURPOSES.values():
        _replace(places.config / f"{name}.pub", identity.public_pem(places, name))
    key = " ".join(identity.public_key(places, _REVIEWER).split()[:2])
    _replace(places.config / "allowed_signers", f'{_REVIEWER} namespaces="{NAMESPACE}" {key}\n')
    # As docs/trust.md has an administrator export it.
    everybody = {"q": "is:active OR is:inactive", "o": ["DETAILS", "ALL_EMAILS"], "n": _MOST}
    write_json(places.config / "accounts.json", rest(places, "admin").get("accounts/", **everybody))
    write_json(places.targets, _targets(places, registry, services))


def believe(places: Places, project: str) -> str:
    """Believe what a project's branch has now: only what comes after it is judged. Returns that commit."""
    commit = projects.head(places, project)
    _believed(places, project).parent.mkdir(exist_ok=True)
    _replace(_believed(places, project), commit)
    return commit


def forget(places: Places, project: str) -> None:
    """Keep nothing of a project that is not deployed any more."""
    _believed(places, project).unlink(missing_ok=True)
    for mirror in places.mirrors.glob(f"{project}-*"):
        shutil.rmtree(mirror) if mirror.is_dir() else mirror.unlink()


def _targets(places: Places, registry: str, services: Mapping[str, str]) -> dict[str, object]:
    return {
        "version": 1,
        "environments": {name: {"policy": "signed" if name == PRODUCTION else "none"} for name in services.values()},
        "keys": {purpose: [f"{name}.pub"] for purpose, name in _PURPOSES.items()},
        "gerrit": {
            "url": projects.server(_READER),
            "server_id": gerrit.setting(places, "gerrit.serverId"),
            "mail": gerrit.setting(places, "user.email"),
            "accounts": ["accounts.json"],
            "allowed_signers": "allowed_signers",
            "mirrors": str(places.mirrors),
        },
        "services": {service: _service(places, registry, service, place) for service, place in services.items()},
    }


def _service(places: Places, registry: str, service: str, environment: str) -> dict[str, object]:
    file = _believed(places, service)
    since = file.read_text() if file.exists() else believe(places, service)
    return {
        "project": service,
        "image": f"{registry}/{service}",
        "candidates": f"{registry}/candidates/{service}",
        "moving_tags": ["latest"],
        "environments": {environment: {"namespace": service, "release": service}},
        "review": {"approvers": [_REVIEWER], "verifiers": [_MACHINE], "since": since},
    }


def _replace(file: Path, text: str) -> None:
    """Jobs read these files at any time."""
    replace_file(file, text.encode())


def _believed(places: Places, project: str) -> Path:
    """Kept where Gerrit's repositories are: it goes when they go."""
    return places.gerrit / "believed" / part(project)
