"""The lab as its users see it: up is up once, its status is true, and what `env` prints works."""

from __future__ import annotations

import json
import shlex
import time
import urllib.request
from pathlib import Path

from lab.processes import known
from lab.testing import RunningLab, command


def _pids() -> dict[str, str]:
    done = command("status")
    assert done.ok, done.stdout
    return {line.split()[0]: line.split()[2] for line in done.stdout.splitlines()[1:]}


def _get(url: str, seconds: float = 30) -> str:
    """What a URL answers, asked again while kube-proxy writes its rules, and past any proxy."""
    end = time.monotonic() + seconds
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_up_twice_is_up_once(lab: RunningLab) -> None:
    before = _pids()
    done = command("up", env=lab.env)
    assert done.ok and "was up already" in "".join(done.stderr)
    assert _pids() == before


def test_what_is_given_is_used(lab: RunningLab, tmp_path: Path) -> None:
    root = tmp_path / "lab"
    root.mkdir()
    for made in ("tools", "images"):  # compiled once is enough
        (root / made).symlink_to(lab.layout.root / made)
    theirs = tmp_path / "kubeconfig"
    theirs.write_text(lab.kubeconfig.read_text())
    env = {**lab.env, "LAB_KUBECONFIG": str(theirs), "LAB_ROOT": str(root)}
    done = command("up", env=env)
    assert done.ok, done.stderr
    shown = command("status", env=env)
    assert shown.ok
    states = {line.split()[0]: line.split()[1] for line in shown.stdout.splitlines()[1:]}
    assert states == {"kubernetes": "given", "docker": "given", "registry": "given"}
    assert f"KUBECONFIG={theirs}" in command("env", env=env).stdout
    assert command("down", env=env).ok
    assert _pids(), "the lab that was used is still up"


def test_status_shows_processes_that_run(lab: RunningLab) -> None:
    pids = {name: pid for name, pid in _pids().items() if pid != "-"}
    assert all(known(int(pid)) for pid in pids.values())


def test_env_is_for_a_shell(lab: RunningLab) -> None:
    lines = command("env").stdout.splitlines()
    pairs = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    assert all(line.startswith("export ") for line in lines)
    assert pairs["KUBECONFIG"] == str(lab.kubeconfig)
    assert pairs["DOCKER_HOST"] == lab.docker_host


def test_docker_answers(lab: RunningLab) -> None:
    assert lab.run("docker", "info", "--format", "{{.ServerVersion}}").stdout.strip()


def test_the_node_is_ready(lab: RunningLab) -> None:
    lab.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")


def test_tools_have_their_versions(lab: RunningLab) -> None:
    assert "v4.3.1" in lab.run("helm", "version").stdout
    assert "v3.21.4" in lab.run(lab.helm3, "version").stdout
    assert "v0.34.1" in lab.run(lab.buildx, "version").stdout
    docker = lab.run("env", f"DOCKER_CONFIG={lab.docker_config}", "docker", "buildx", "version")
    assert "v0.34.1" in docker.stdout


def test_base_images_run_in_docker(lab: RunningLab) -> None:
    image = f"{lab.registry}/lab/python"
    run = ("docker", "run", "--rm", "--network=none")
    assert "pytest 7" in lab.run(*run, f"{image}:3.11", "pytest", "--version", seconds=120).stdout
    slim = lab.run(*run, f"{image}:3.11-slim", "python3", "-c", "import http.server, ssl; import pytest", check=False)
    assert "No module named 'pytest'" in "".join(slim.stderr)


def test_a_container_has_a_network(lab: RunningLab) -> None:
    links = "import socket; print(len(socket.if_nameindex()))"
    image = f"{lab.registry}/lab/python:3.11-slim"
    ran = lab.run("docker", "run", "--rm", image, "python3", "-c", links)
    assert int(ran.stdout) == 2, "a container has loopback and one link"


def test_a_service_answers_at_its_cluster_address(lab: RunningLab, namespace: str) -> None:
    image = f"{lab.registry}/lab/python:3.11-slim"
    kubectl = ("--namespace", namespace)
    lab.kubectl(*kubectl, "create", "deployment", "web", f"--image={image}", "--", "python3", "-m", "http.server")
    lab.kubectl(*kubectl, "expose", "deployment", "web", "--port=80", "--target-port=8000")
    lab.kubectl(*kubectl, "rollout", "status", "deployment/web", "--timeout=90s", seconds=100)
    service = json.loads(lab.kubectl(*kubectl, "get", "service", "web", "--output=json"))
    assert "Directory listing" in _get(f"http://{service['spec']['clusterIP']}/")


def test_a_pod_reaches_the_api(lab: RunningLab, namespace: str) -> None:
    image = f"{lab.registry}/lab/python:3.11-slim"
    ask = (
        "import ssl, urllib.request; c = ssl.create_default_context("
        "cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'); "
        "print(urllib.request.urlopen('https://10.96.0.1/version', context=c).status)"
    )
    here = ("--namespace", namespace)
    lab.kubectl(*here, "run", "ask", f"--image={image}", "--restart=Never", "--", "python3", "-c", ask)
    # Not by --attach: what is over before that has come says nothing to it.
    lab.kubectl(*here, "wait", "pod/ask", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s", seconds=100)
    assert lab.kubectl(*here, "logs", "ask").strip() == "200"


def test_the_registry_answers(lab: RunningLab) -> None:
    assert _get(f"http://{lab.registry}/v2/").strip() == "{}"
