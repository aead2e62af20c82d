"""What of a rollout has been seen to run: without data, the best of counts is no pass."""

from __future__ import annotations

from collections.abc import Iterator

from cdlib.rollout.api import Object
from cdlib.rollout.progress import condition, containers_of, counted_available, workload_done


def shown_images(kind: str, o: Object) -> Iterator[str]:
    """The images of a workload of which something has been seen to run, or that shall run nothing; else none.

    It shall run nothing where its replicas are 0, whoever has set them, or where it is a Job that is suspended. What
    OnDelete or a partition leave to a person has not run, and neither has what no node may run.
    """
    if workload_done(kind, o)[0] and (_has_run(kind, o) or _shall_not(kind, o)):
        pod = ((o.get("spec") or {}).get("template") or {}).get("spec") or {}
        yield from (str(container.get("image")) for container in containers_of(pod))


def _has_run(kind: str, o: Object) -> bool:
    if kind == "Job":
        return condition(o, "Complete").get("status") == "True"
    return counted_available(kind, o) > 0


def _shall_not(kind: str, o: Object) -> bool:
    spec = o.get("spec") or {}
    if kind == "Job":
        return bool(spec.get("suspend"))
    return bool(spec.get("replicas", 1) == 0)  # a DaemonSet has no such field
