"""What happens in the middle of a deploy, and what the pods of the new version are at meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deployments import Deployment, Ran, until

Pod = dict[str, Any]
# What a shell does before it becomes the chart's own program: it waits until `let_go` says that it may.
HELD = 'until test -e /tmp/go; do sleep 0.2; done; exec python3 -u -c "$0"'


def deploy_amid(web: Deployment, trouble: Callable[[], object], then: Callable[[], object] = lambda: None) -> Ran:
    """Deploy what is committed, with `trouble` as soon as that has begun; fails where it is over before `trouble` is.

    `then` lets what is held go on. What the deploy has said is added to whatever fails in `trouble` or `then`.
    """
    run = web.start("helm-deploy", "--digest", web.digest)
    try:
        trouble()
        over = run.poll() is not None
        then()
        out, err = run.communicate(timeout=200)
    except BaseException as problem:
        run.kill()
        problem.add_note(f"the deploy said:\n{run.communicate()[1]}")
        raise
    assert not over, f"the deploy was over before what should have come in its middle:\n{err}"
    return Ran(run.returncode, out, err)


def serves(web: Deployment, done: Ran, commit: str, replicas: int = 1) -> None:
    """See that a deploy is good, that the commit serves, and that so many of its pods are ready."""
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
    assert web.record()["revisions"][-1]["status"] == "verified"
    assert len(ready(web, commit)) == replicas


def pods_of(web: Deployment, commit: str) -> list[Pod]:
    """The pods of a commit, without those that are being deleted."""
    revision = {"name": "REVISION", "value": commit}
    return [
        pod
        for pod in web.get("pods", "-l", "app=web")["items"]
        if revision in pod["spec"]["containers"][0]["env"] and "deletionTimestamp" not in pod["metadata"]
    ]


def name_of(pod: Pod) -> str:
    return str(pod["metadata"]["name"])


def running(web: Deployment, commit: str) -> list[str]:
    """The names of the commit's pods whose first container runs, ready or not."""
    return [name_of(pod) for pod in pods_of(web, commit) if "running" in state_of(pod)]


def ready(web: Deployment, commit: str) -> list[str]:
    """The names of the commit's pods whose containers are all ready."""
    return [name_of(pod) for pod in pods_of(web, commit) if _is_ready(pod)]


def ends(pod: Pod) -> int:
    """How often its first container has ended."""
    state, first = state_of(pod), next(iter(containers(pod)), {})
    # While it waits for its next start, the last end is not among the restarts.
    waits = "waiting" in state and "terminated" in first.get("lastState", {})
    return int(first.get("restartCount", 0)) + ("terminated" in state or waits)


def let_go(web: Deployment, commit: str, replicas: int = 1) -> None:
    """Let the commit's pods go on that are HELD, as they come, until so many have."""

    def all_are() -> bool:
        pods = running(web, commit)
        for pod in pods:
            web.kubectl("exec", pod, "--", "touch", "/tmp/go")
        return len(pods) == replicas

    until(all_are)  # a container that cannot be reached yet is asked again


def containers(pod: Pod) -> list[dict[str, Any]]:
    """The statuses of a pod's containers; none before the kubelet has seen it, which may be long on a busy machine."""
    return pod["status"].get("containerStatuses") or []


def state_of(pod: Pod) -> dict[str, Any]:
    """The state of its first container; empty before the kubelet has seen it."""
    found: dict[str, Any] = next(iter(containers(pod)), {}).get("state") or {}
    return found


def _is_ready(pod: Pod) -> bool:
    return len(containers(pod)) == len(pod["spec"]["containers"]) and all(c["ready"] for c in containers(pod))
