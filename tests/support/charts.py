"""Charts that a test writes: one workload of containers of its choice, and a Service in front of it."""

from __future__ import annotations

from typing import Any

import yaml
from deployments import Deployment

IMAGE = "{{ .Values.image.repository }}@{{ .Values.image.digest }}"
SERVE = "{{ .Values.program }}"
READINESS = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
# What outlives a container, and goes with its pod.
KEPT = [{"name": "kept", "emptyDir": {}}]
MOUNT = [{"name": "kept", "mountPath": "/kept"}]
# Runs until it has allocated a gigabyte, of which it is allowed 24 MiB.
GREEDY = "x = b''.join(b'x' * 10**7 for _ in range(100))"
LIMITS = (
    '{"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": '
    '[{"type": "Container", "max": {"cpu": "100m"}, "default": {"cpu": "100m"}}]}}'
)


def python(program: str, name: str = "web", **more: Any) -> dict[str, Any]:
    """A container that runs a program, with the environment that the chart's own needs."""
    env = [{"name": "REVISION", "value": "{{ .Values.cd.revision }}"}, {"name": "TEXT", "value": ""}]
    return {"name": name, "image": IMAGE, "command": ["python3", "-u", "-c", program], "env": env, **more}


def server(**more: Any) -> dict[str, Any]:
    """The chart's own program, with more."""
    return python(SERVE, readinessProbe=READINESS, **more)


def through(shell: str, **more: Any) -> dict[str, Any]:
    """The chart's own program, started by a shell, which is given it as $0."""
    return server(**more) | {"command": ["sh", "-c", shell, SERVE]}


def write_chart(service: Deployment, *containers: dict[str, Any], kind: str = "Deployment",
                workload: dict[str, Any] | None = None, **pod: Any) -> None:  # fmt: skip
    """A chart of one workload with these containers, and a Service; `workload` is added to its spec."""
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [*containers], **pod},
    }
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": template}
    if kind != "DaemonSet":
        spec["replicas"] = 1
    if kind == "StatefulSet":
        spec["serviceName"] = "web"
    spec |= workload or {}
    made = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}
    ports = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    front = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": ports}
    text = (
        yaml.safe_dump_all([made, front]).replace(f"'{SERVE}'", SERVE).replace(SERVE, "{{ .Values.program | quote }}")
    )
    (service.folder / "chart" / "templates" / "all.yaml").write_text(text, encoding="utf-8")


def prepare(service: Deployment, before: tuple[str, ...]) -> None:
    """Put into the namespace what a case needs there."""
    if before and before[0] == "label":
        service.kubectl("label", "namespace", service.namespace, before[1])
    elif before:
        file = service.folder.parent / "before.json"
        file.write_text(before[1], encoding="utf-8")
        service.kubectl("apply", "-f", str(file))
