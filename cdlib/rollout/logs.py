"""Containers' logs: their last lines, and those of Jobs, which may be gone by the time anybody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cdlib.deadline import Deadline
from cdlib.errors import CdError
from cdlib.rollout.api import Api, Object, path
from cdlib.rollout.progress import container_statuses, owner_kind

# How many lines are asked for. The kubelet cuts what is longer than LARGEST at its end, where the cause is, so that
# fewer are asked for then; the runtime splits lines at 16 KiB, so that the fewest fit.
LINES = (200, 64, 16)
LARGEST = 256 * 1024  # bytes of one answer
UNREADABLE = "unable to retrieve container logs"
LOOK = 1.0  # seconds that keeping logs may take of one look at a rollout
MOST_ENDS = 5  # of one container whose log is asked for
MOST_KEPT = 10  # pods

Logs = dict[str, str]  # `now` and `previous`


def read_log(api: Api, namespace: str, pod: str, container: str, deadline: Deadline) -> Logs:
    """The end of the container's log and of its predecessor's: one of them is often gone already. Raises CdError."""
    found = {}
    for key, previous in (("now", "false"), ("previous", "true")):
        text = _tail(api, path("pods", namespace, pod) + "/log", container, previous, deadline)
        if text and not text.startswith(UNREADABLE):
            found[key] = text
    return found


def _tail(api: Api, where: str, container: str, previous: str, deadline: Deadline) -> str:
    text = ""
    for lines in LINES:
        asked = {"container": container, "previous": previous, "tailLines": str(lines), "limitBytes": str(LARGEST)}
        text = api.text(where, deadline, **asked) or ""
        if len(text.encode()) < LARGEST:
            break
    return text


class Keepsakes:
    """The logs of Jobs' pods, kept as their containers end: a Job that gives up deletes its pod, log and all.

    So does Helm with a hook whose delete policy says so. Call it with the pods at each look.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._kept: dict[str, Object] = {}  # by the pod's uid
        self._read: dict[tuple[str, str], int] = {}  # the number of the end whose log was read last
        self._asked: dict[tuple[str, str], int] = {}

    def see(self, pods: Iterable[Object], deadline: Deadline) -> tuple[Object, ...]:
        """Take the pods in; returns those that were seen to fail, each with its `logs` as they were then."""
        limit = deadline.part(LOOK, "keeping logs")
        for pod in pods:
            if owner_kind(pod) in ("Job", ""):
                for container, number in _ended_badly(pod):
                    self._keep(pod, container, number, limit)
        return tuple(self._kept.values())

    def _keep(self, pod: Object, container: str, number: int, limit: Deadline) -> None:
        uid, name = str(pod["metadata"]["uid"]), str(pod["metadata"]["name"])
        place = (uid, container)
        if self._read.get(place, 0) >= number or self._asked.get(place, 0) >= MOST_ENDS or limit.over:
            return
        if uid not in self._kept and len(self._kept) >= MOST_KEPT:
            return
        self._asked[place] = self._asked.get(place, 0) + 1
        kept = self._kept.get(uid, {"logs": {}})
        self._kept[uid] = {**pod, "logs": kept["logs"]}
        try:
            log = read_log(self._api, self._namespace, name, container, limit)
        except CdError:  # the next look tries again
            return
        if log:
            self._read[place] = number
            kept["logs"][container] = log


def _ended_badly(pod: Object) -> Iterator[tuple[str, int]]:
    """The containers that have ended with an exit code other than 0, and how often they have ended."""
    for each in container_statuses(pod):
        now, last = (each.get("state") or {}).get("terminated"), (each.get("lastState") or {}).get("terminated")
        restarts = int(each.get("restartCount", 0))
        if (now or last or {}).get("exitCode"):
            yield str(each["name"]), restarts + bool(now)
