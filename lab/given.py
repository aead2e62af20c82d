"""What the user has running already: the lab uses that, and starts only what is missing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from lab.layout import LOOPBACK, REGISTRY_PORT, Layout
from lab.loop.places import JENKINS_URL
from lab.plan import Probe, Server
from lab.probes import serves

CLUSTER = "LAB_KUBECONFIG"  # never KUBECONFIG: the lab makes and deletes namespaces, and that may be anybody's cluster
DEFAULT_DOCKER = "/var/run/docker.sock"
_PATIENCE = 5.0  # seconds for one answer
_OWN_REGISTRY = (f"localhost:{REGISTRY_PORT}", f"{LOOPBACK}:{REGISTRY_PORT}")
Say = Callable[[str], None]


def find(
    layout: Layout, running: set[str], say: Say, environ: Mapping[str, str] = os.environ, *, loop: bool = False
) -> dict[str, str]:
    """Which of `kubernetes`, `docker` and `registry` serve here without the lab's doing, and where.

    With `loop` also `jenkins`. `running` names the servers that the lab itself runs now: what they serve is not
    given. A variable that names something which does not answer is said, and otherwise ignored.
    """
    found = {}
    if kubeconfig := _cluster(layout, say, environ):
        found["kubernetes"] = kubeconfig
    if host := _docker(layout, say, environ):
        found["docker"] = host
    registry = environ.get("LAB_REGISTRY")
    if registry and not (registry in _OWN_REGISTRY and "registry" in running):
        if registry_answers(registry):
            found["registry"] = registry
        elif registry not in _OWN_REGISTRY:
            say(f"LAB_REGISTRY={registry}: no registry answers there, so the lab has its own")
    if loop and (url := environ.get("JENKINS_URL", "").rstrip("/")) and url != JENKINS_URL:
        if jenkins_answers(url):
            found["jenkins"] = url
        else:
            say(f"JENKINS_URL={url}: no Jenkins answers there, so the lab has its own")
    return found


def _cluster(layout: Layout, say: Say, environ: Mapping[str, str]) -> str:
    """The kubeconfig of a cluster that is meant for the lab; empty where it has its own."""
    given, usual = environ.get(CLUSTER, ""), environ.get("KUBECONFIG", "")
    if given and not _within(layout, given):
        if kubernetes_answers(given):
            return given
        say(f"{CLUSTER}={given}: no cluster answers there, so the lab has its own")
    elif usual and not _within(layout, usual):
        say(f"KUBECONFIG={usual} is left alone: a cluster for the lab is named by {CLUSTER}")
    return ""


def _within(layout: Layout, kubeconfig: str) -> bool:
    """Whether a kubeconfig, which may name several files, names one of the lab's own."""
    root = layout.root.resolve()
    return any(Path(part).resolve().is_relative_to(root) for part in kubeconfig.split(os.pathsep) if part)


def _docker(layout: Layout, say: Say, environ: Mapping[str, str]) -> str:
    host = environ.get("DOCKER_HOST", "")
    if host and host != f"unix://{layout.docker_socket}":
        if docker_answers(host):
            return host
        say(f"DOCKER_HOST={host}: no Docker answers there, so the lab has its own")
    default = f"unix://{DEFAULT_DOCKER}"
    return default if Path(DEFAULT_DOCKER).exists() and docker_answers(default) else ""


def answers(what: str, where: str) -> bool:
    """Whether something given answers still."""
    ask = {
        "kubernetes": kubernetes_answers,
        "docker": docker_answers,
        "registry": registry_answers,
        "jenkins": jenkins_answers,
    }
    return ask[what](where)


def kubernetes_answers(kubeconfig: str) -> bool:
    """Whether the cluster of a kubeconfig answers at all; that it may refuse us is an answer too."""
    from cdlib.deadline import Deadline
    from cdlib.errors import CdError
    from cdlib.rollout.connection import Connection
    from cdlib.rollout.kubeconfig import read_cluster

    first = next((Path(part) for part in kubeconfig.split(os.pathsep) if Path(part).exists()), None)
    if first is None:
        return False
    try:
        with contextlib.closing(Connection(read_cluster(first, None))) as connection:
            deadline = Deadline(_PATIENCE, "asking the given cluster")
            connection.exchange("GET", "/api/v1/namespaces/default", deadline, params={}, headers={})
    except CdError:
        return False
    return True


def docker_answers(host: str) -> bool:
    """Whether a Docker Engine answers at `host`, as DOCKER_HOST writes it."""
    if host.startswith("unix://"):
        engine = Server("docker", (), Probe("http://docker/_ping", host.removeprefix("unix://")))
        return serves(engine, datetime.now(UTC))
    import docker
    from docker.errors import APIError, DockerException

    try:
        # With a version of the API that all know, nothing is asked before the ping; TLS is as the variables say.
        environment = {**os.environ, "DOCKER_HOST": host}
        with contextlib.closing(
            docker.DockerClient.from_env(version="1.41", timeout=int(_PATIENCE), environment=environment)
        ) as client:
            return bool(client.ping())
    except APIError:
        return True
    except (DockerException, OSError, ValueError):
        return False


def registry_answers(registry: str) -> bool:
    """Whether `registry` (host:port) answers as one, be it with a refusal."""
    import requests

    from cdlib.errors import Unavailable
    from lab.images import scheme

    session = requests.Session()
    try:
        answer = session.get(f"{scheme(registry, session)}://{registry}/v2/", timeout=_PATIENCE)
    except (requests.RequestException, Unavailable):
        return False
    return answer.status_code in (200, 401, 403)


def jenkins_answers(url: str) -> bool:
    """Whether a Jenkins answers at `url`, be it with a refusal; the page that it shows while it starts is none."""
    import requests

    try:
        answer = requests.get(f"{url}/login", timeout=_PATIENCE)
    except requests.RequestException:
        return False
    return "X-Jenkins" in answer.headers and answer.status_code < 500
