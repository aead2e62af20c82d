"""One workload: what its controller says of why it cannot go on, such as a quota that allows no more pods."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cdlib.rollout.api import Object
from cdlib.rollout.causes import AT_ONCE, INCONCLUSIVE, POD_REFUSED, QUOTA, SERVICE_ACCOUNT, Cause, Question, brief
from cdlib.rollout.happenings import Happenings
from cdlib.rollout.progress import condition, observed, own_replicaset, pod_ready, workload_done

_FORBIDDEN = re.compile(r"violates PodSecurity|(?:maximum|minimum) \S+ (?:usage|request|limit)|is invalid:", re.I)
PAUSED = "paused, so nothing of it is rolled out (spec.paused, which the chart or a person has set)"
_QUOTA = "exceeded quota"
_ACCOUNT = re.compile(r'serviceaccount "([^"]+)" not found', re.I)
_LATE = re.compile(r'^ReplicaSet "([^"]+)" has timed out')
_PLAIN = re.compile(r'^(?:\(combined from similar events\): )?(?:Error creating: )?pods "[^"]*" is forbidden: ')


def workload_causes(kind: str, o: Object, replicasets: list[Object], pods: Sequence[Object],
                    told: Happenings, missed: float = 0.0, leaving: bool = False) -> Iterator[Cause]:  # fmt: skip
    """What keeps a workload from going on that shows in none of its pods.

    `missed` is for how many seconds of the rollout its controllers could not act; `leaving` is whether pods of it are
    on their way out, whose place in a quota the next one may wait for.
    """
    name = f"{kind} {o['metadata']['name']}"
    if kind == "Deployment":
        if held_back(kind, o, replicasets):
            yield Cause((str(o["metadata"]["uid"]), "paused"), INCONCLUSIVE, PAUSED, about=name)
            return
        mine = own_replicaset(o, replicasets)
        yield from _late(o, name, mine, pods, missed)
        failure = condition(mine, "ReplicaFailure") if mine is not None and observed(o) else {}
        if mine is not None and failure.get("status") == "True":
            yield _refused(name, "ReplicaSet", mine, str(failure.get("message", "")), leaving)
        return
    if kind == "Pod":
        yield from _pod_failed(o, name)
        return
    if kind == "Job":
        yield from _failed(o, name, pods)
    if _short_of_pods(kind, o) and (message := _newest_refusal(o, pods, told)):
        yield _refused(name, kind, o, message, leaving)


def held_back(kind: str, o: Object, replicasets: list[Object]) -> bool:
    """Whether a Deployment is paused, by its chart or by a person, so that what was applied is not rolled out.

    One whose template is as it was is whole all the same, and may even be scaled.
    """
    if kind != "Deployment" or not (o.get("spec") or {}).get("paused") or not observed(o) or workload_done(kind, o)[0]:
        return False
    status = o.get("status") or {}
    behind = status.get("updatedReplicas", 0) < status.get("replicas", 0)
    return bool(behind or own_replicaset(o, replicasets) is None)


def _newest_refusal(o: Object, pods: Sequence[Object], told: Happenings) -> str:
    """Why the last pod could not be made; empty where none was refused since one was made."""
    made = max((str(pod["metadata"].get("creationTimestamp", "")) for pod in pods), default="").rstrip("Z")
    refusals = [h for h in told.about(str(o["metadata"]["uid"])) if h.reason == "FailedCreate" and h.count > h.before]
    newest = max(refusals, key=lambda h: h.last, default=None)
    return newest.message if newest is not None and (newest.last > made or not newest.last) else ""


def _late(o: Object, name: str, mine: Object | None, pods: Sequence[Object], missed: float) -> Iterator[Cause]:
    """A passed progress deadline is a failure by contract: somebody has set it.

    Kubernetes measures it by the wall clock. Where its own controllers were away meanwhile, the pods get the
    `missed` seconds on top.

    The condition stays as it is until there is progress, so that after a rollback it still speaks of the former pods.
    """
    progress = condition(o, "Progressing") if observed(o) else {}
    named = _LATE.search(str(progress.get("message", "")))
    if mine is not None and named and named.group(1) != mine["metadata"]["name"]:
        return
    if progress.get("reason") == "ProgressDeadlineExceeded":
        text = str(progress.get("message") or "its progress deadline has passed")
        first = next((str(p["metadata"]["name"]) for p in pods if not pod_ready(p)), "")
        yield Cause((str(o["metadata"]["uid"]), "late"), "ProgressDeadlineExceeded", brief(text), missed, pod=first,
                    about=name)  # fmt: skip


def _failed(o: Object, name: str, pods: Sequence[Object]) -> Iterator[Cause]:
    """FailureTarget is set as soon as it is decided, Failed once the last pod has ended."""
    for kind in ("Failed", "FailureTarget"):
        found = condition(o, kind)
        if found.get("status") == "True":
            pod, code = _last_end(pods)
            text = f"the Job {o['metadata']['name']} has failed: {found.get('message', found.get('reason', ''))}"
            more = f"; its last pod ended with exit code {code}" if code is not None else ""
            yield Cause((str(o["metadata"]["uid"]), "job"), "JobFailed", brief(text + more), pod=pod, about=name,
                        exit_code=code)  # fmt: skip
            return


def _pod_failed(o: Object, name: str) -> Iterator[Cause]:
    """A pod that nothing makes anew, as a hook may be one.

    One that Helm deletes before it makes the next of that name may fail as it is ended, which says nothing.
    """
    status = o.get("status") or {}
    if status.get("phase") == "Failed" and "deletionTimestamp" not in o["metadata"]:
        _, code = _last_end([o])
        text = f"the {name} has failed: {status.get('message') or 'it ended'}"
        more = f" with exit code {code}" if code is not None else ""
        yield Cause((str(o["metadata"]["uid"]), "pod"), "PodFailed", brief(text + more),
                    pod=str(o["metadata"]["name"]), about=name, exit_code=code)  # fmt: skip


def _last_end(pods: Sequence[Object]) -> tuple[str, int | None]:
    for pod in sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True):
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            ended = (container.get("state") or {}).get("terminated") or {}
            if ended.get("exitCode"):
                return str(pod["metadata"]["name"]), int(ended["exitCode"])
    return "", None


def _refused(name: str, kind: str, maker: Object, message: str, leaving: bool) -> Cause:
    """Why no pod is made. What the maker has got done is part of the key: progress begins the time anew."""
    status = maker.get("status") or {}
    done = tuple(str(status.get(k, 0)) for k in ("replicas", "readyReplicas", "currentNumberScheduled", "numberReady"))
    key = (str(maker["metadata"]["uid"]), "refused", *done)
    text = brief(f"its pods cannot be made: {_PLAIN.sub('', message)}")
    alive = Question(kind, str(maker["metadata"]["name"]), there=True)
    if _FORBIDDEN.search(message):
        return Cause(key, "PodForbidden", text, AT_ONCE, about=name)
    if account := _ACCOUNT.search(message):
        text = f"its pods cannot be made: the ServiceAccount {account.group(1)} does not exist"
        question = Question("ServiceAccount", account.group(1))
        return Cause(key, "MissingServiceAccount", text, SERVICE_ACCOUNT, question, about=name)
    if _QUOTA in message:
        return Cause(key, "Quota", text, QUOTA, alive, about=name, stands=2 if leaving else 0)
    return Cause(key, "PodRefused", text, POD_REFUSED, alive, about=name)


def _short_of_pods(kind: str, o: Object) -> bool:
    status, spec = o.get("status") or {}, o.get("spec") or {}
    if kind == "Job":
        return not any(status.get(k) for k in ("active", "succeeded", "failed"))
    if kind == "DaemonSet":
        return bool(status.get("currentNumberScheduled", 0) < status.get("desiredNumberScheduled", 0))
    return bool(status.get("replicas", 0) < spec.get("replicas", 1))
