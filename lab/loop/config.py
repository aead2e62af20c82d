"""The loop set up for the story: `python -m lab.loop.config LAB_ROOT`, as often as one likes.

It runs before Zuul starts for the first time, so that Zuul finds a whole configuration, and with every later `up`,
which brings a changed zuul.d or playbook into a Zuul that runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from cdlib.errors import CdError, UsageProblem
from lab import lock, processes, settings
from lab.loop import (
    cluster,
    definitions,
    gitserver,
    identity,
    jenkins,
    jobs,
    node,
    operators,
    projects,
    review,
    scheduler,
    vault,
)
from lab.loop.places import (
    CHECKOUT,
    CONFIG_PROJECT,
    CONNECTION,
    GERRIT_URL,
    GIT_URL,
    JENKINS_URL,
    PRODUCTION,
    SERVICES,
    TENANT,
    Places,
)
from lab.plan import read, read_json
from lab.servers import write_config

JENKINS_PATIENCE = 60  # seconds; the stand-in starts in one, but somebody has to start it
_TAKEN_UP = 60.0  # seconds for Zuul to read a project; two are usual
_USERS = {"cd-jenkins-build": "zuul", "cd-jenkins-deploy": "deploy"}


def apply(places: Places) -> None:
    """Bring Gerrit, the git server, Jenkins and Zuul's configuration to what this checkout says. Raises CdError."""
    with _alone(places):
        _apply(places)


def _apply(places: Places) -> None:
    """As `apply`, for whoever has the list of projects to itself."""
    given = read(places.layout.plan).given
    known, services = _projects(places)
    review.configure(places)
    for project in (CONFIG_PROJECT, *known):
        review.ensure_project(places, project)
        gitserver.ensure_repository(places, project)
    changed = False
    for service in SERVICES:
        folder = CHECKOUT / "examples" / service
        if folder.is_dir():
            changed |= projects.import_folder(places, service, folder)
    # Before anybody starts a job for them.
    _open_cluster(places, given, services)
    if "jenkins" not in given:
        jenkins.update(places, services)
    site = definitions.Site(_secrets(places, given), tuple(services))
    files = definitions.files(CHECKOUT, site)
    files["zuul.d/node.yaml"] = definitions.dump(node.definition(identity.public_key(places, "node-host")))
    changed |= projects.replace_files(places, CONFIG_PROJECT, files)
    _write_tenants(places, known)
    if changed:  # pushed past review, of which Zuul takes no notice by itself
        scheduler.reconfigure(places)


def begin_anew(places: Places, service: str) -> None:
    """Have nothing live of a service, and believe what its branch has by now, as before its first deploy."""
    given = read(places.layout.plan).given
    with _alone(places):
        operators.believe(places, service)
        cluster.renew_namespace(places, given, service)
        _open_cluster(places, given, _projects(places)[1], service)


def add_project(places: Places, project: str, folder: Path, environment: str = PRODUCTION) -> None:
    """Add a project that starts with the files in `folder`, and let Zuul work for it. Raises CdError.

    One with a cd.yaml, whose service must have the project's name, gets what a service needs: a target in
    `environment`, Jenkins jobs, and its place among those that are deployed. Zuul must run.
    """
    review.ensure_project(places, project)
    gitserver.ensure_repository(places, project)
    place = environment if (folder / "cd.yaml").exists() else ""
    projects.import_folder(places, project, folder)
    with _alone(places):
        if place:  # Zuul starts the first deploy some seconds after the import, whatever we do meanwhile
            services = {**_projects(places)[1], project: place}
            _open_cluster(places, read(places.layout.plan).given, services, project)
        _change_projects(places, {**_more(places), project: place})
        # The deploy jobs name their projects, and Zuul must know each of them by then.
        if not processes.wait_until(lambda: project in scheduler.projects(), _TAKEN_UP):
            raise CdError(f"Zuul has not taken up the project {project} after {_TAKEN_UP:g} s")
        if place:
            _apply(places)


def forget_project(places: Places, project: str) -> None:
    """Let Zuul no longer work for a project that was added; Gerrit and Jenkins keep what they have of it."""
    with _alone(places):
        more = _more(places)
        if more.pop(project, False):
            write_config(_projects_file(places), more)
            _apply(places)
            cluster.forget_service(places, read(places.layout.plan).given, project)
            operators.forget(places, project)
        _change_projects(places, more)


def _alone(places: Places) -> AbstractContextManager[None]:
    """The list of projects to ourselves: tests that run side by side add to it."""
    return lock.held(places.layout.root / "projects.lock", lambda _: None)


def _open_cluster(places: Places, given: Mapping[str, str], services: Mapping[str, str], only: str = "") -> None:
    """Let the services, or one of them, be deployed: by targets.yaml, in namespaces, with rights there."""
    operators.write(places, given.get("registry", settings.REGISTRY), services)
    cluster.ensure_namespaces(places, given, services)
    cluster.grant(places, given, only)


def _change_projects(places: Places, more: Mapping[str, str]) -> None:
    write_config(_projects_file(places), more)
    _write_tenants(places, _projects(places)[0])
    scheduler.tell(places, "smart-reconfigure")


def _write_tenants(places: Places, known: tuple[str, ...]) -> None:
    source = {"config-projects": [CONFIG_PROJECT], "untrusted-projects": list(known)}
    write_config(places.tenants, [{"tenant": {"name": TENANT, "source": {CONNECTION: source}}}])


def _projects_file(places: Places) -> Path:
    return places.zuul / "projects.json"


def _more(places: Places) -> dict[str, str]:
    """The projects that were added, each with the environment that it is deployed to; empty for what is no service."""
    # A lab that is older than the environments has true and false there.
    return {
        name: PRODUCTION if place is True else place or "" for name, place in read_json(_projects_file(places)).items()
    }


def _projects(places: Places) -> tuple[tuple[str, ...], dict[str, str]]:
    """All projects that Zuul works for, and those of them that are services, with the environment of each."""
    more = _more(places)
    return (*SERVICES, *more), {**dict.fromkeys(SERVICES, PRODUCTION), **{name: e for name, e in more.items() if e}}


def _secrets(places: Places, given: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The data of each of Zuul's secrets."""
    users = dict(_USERS)
    tokens = [identity.password(places, f"jenkins-{user}") for user in users.values()]
    if "jenkins" in given:
        users = dict.fromkeys(users, os.environ.get("JENKINS_USER", ""))
        if not (token := jenkins.given_token()):
            raise UsageProblem("Zuul needs a token for the given Jenkins", hint="set JENKINS_USER, JENKINS_TOKEN")
        tokens = [token] * len(users)
    *pieces, comments = vault.encrypted(places, [*tokens, identity.password(places, "cd")])
    found: dict[str, dict[str, object]] = {
        secret: {
            "url": given.get("jenkins", JENKINS_URL),
            "user": user,
            "token": definitions.Encrypted(token),
            "source_url": GIT_URL,
            "commands": str(Path(sys.prefix) / "bin"),
            "patience": JENKINS_PATIENCE,
        }
        for (secret, user), token in zip(users.items(), pieces, strict=True)
    }
    gerrit = {"gerrit_url": GERRIT_URL, "gerrit_user": "cd", "gerrit_password": definitions.Encrypted(comments)}
    found["cd-jenkins-deploy"] |= gerrit
    return found


if __name__ == "__main__":
    jobs.main(apply)
