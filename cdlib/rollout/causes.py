"""What keeps a rollout from coming up, and when that is a failure: the limits, each with where it comes from.

All numbers were read off recorded rollouts of a real kubelet, broken and harmless; docs/verdicts.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from cdlib.rollout.api import Object

NEVER = inf  # seconds; a cause that never decides alone, and is only told
AT_ONCE = 0.0

# How often something must happen. The first two times look the same in rollouts that end well.
ENDS = 3  # ends of one container; at 17 s where it crashes at once, at 29 s where after 5 s
ENDS_IN_ALLOWANCE = 4  # the same while the startup probe's own allowance runs; at 44 s where it crashes at once
OOM_KILLS = 2  # in a row: a limit that was too small twice will be the third time; at 2 s
START_ERRORS = 2  # in a row, where the text does not tell the image's fault from the node's
REFUSED_PULLS = 2  # not found, 401, 403: a tag pushed late or a rotated token mends the second; at 14 to 17 s
FAILED_PULLS = 4  # refused connections, time-outs, 5xx, 429: registries restart; at 79 to 92 s
STARTUP_KILLS = 2  # the probe's allowance has been used up twice; at 25 s
LIVENESS_KILLS = 3  # one pause for collecting garbage is one kill; at 30 s
HOOK_FAILURES = 2  # of postStart; at 3 to 6 s

# How long something must last, in seconds of our own clock, because neither objects nor events change any more.
MISSING = 20.0  # a ConfigMap, Secret or key; one that was mended needs up to 15 s to show
QUOTA = 20.0  # a quota that was lifted showed 2.3 s later
SERVICE_ACCOUNT = 5.0
UNSCHEDULABLE = 30.0  # a node that was cordoned for 15 s
UNSCHEDULABLE_SCALING = 300.0  # an autoscaler has said that it is adding a node
UNSCHEDULABLE_DRAINED = 120.0  # nodes are cordoned, or not ready: they are being worked on, and come back
CLAIM = 30.0  # a PersistentVolumeClaim is being bound
CONTAINER_NOT_MADE = 30.0  # CreateContainerError: names and cgroups that the runtime has not given back yet
UNKNOWN_CONFIG = 60.0  # CreateContainerConfigError for a reason not known here; a cache that is late takes 15 s
POD_REFUSED = 60.0  # by an admission webhook or an unknown rule; tries come after 5, 10, 20 and 40 s
UNASKED = 2.0  # times as long, where we may not look ourselves whether an object is there

INCONCLUSIVE = "Inconclusive"  # the reason of a failure that is only the want of data

# Reasons that lie in the image, or in how the chart starts it: no hook that Helm runs after the workloads can mend
# them, as a migration ends a crash loop, or another Job brings the ConfigMap that is missing.
UNMENDABLE = frozenset({"ImagePull", "InvalidImageName", "ErrImageNeverPull", "StartError", "RunsAsRoot"})

LONGEST = 500  # characters of a message; the whole of it is kept with the evidence
STEADY = 10.0  # seconds in which a container was ready, and after which its ends count from none again


@dataclass(frozen=True)
class Question:
    """What to look up before a cause counts: `kind` and `name`, and a `key` of its data.

    `there` is the answer that confirms the cause.
    """

    kind: str
    name: str
    key: str = ""
    there: bool = False


@dataclass(frozen=True)
class Cause:
    """One thing that keeps a container, pod or workload from coming up.

    It is a failure once it has lasted `after` seconds and `question` is answered so. `key` is the same from look
    to look as long as it is the same thing. `about` names the object where there is no pod. While `stands`, its time
    stands still, or where that is 2, even runs back: whoever tries again and again has longer and longer pauses, and
    may be as late as what it waited for.
    """

    key: tuple[str, ...]
    reason: str
    message: str
    after: float = AT_ONCE
    question: Question | None = None
    pod: str = ""
    container: str = ""
    about: str = ""
    exit_code: int | None = None
    stands: int = 0

    def __str__(self) -> str:
        where = f"pod {self.pod}" if self.pod else self.about
        return f"{where}{f', container {self.container}' if self.container else ''}: {self.message}"


@dataclass(frozen=True)
class Place:
    """A container of a pod, or with no `container` the pod itself."""

    uid: str
    pod: str
    container: str = ""

    @classmethod
    def of(cls, pod: Object, container: Object | None = None) -> Place:
        """The place of a pod, or of one of its container statuses."""
        return cls(str(pod["metadata"]["uid"]), str(pod["metadata"]["name"]), str((container or {}).get("name", "")))

    def cause(self, what: str, reason: str, message: str, after: float = AT_ONCE, question: Question | None = None,
              exit_code: int | None = None) -> Cause:  # fmt: skip
        """A cause here; `what` tells it from others at this place."""
        key = (self.uid, self.container, what)
        return Cause(key, reason, brief(message), after, question, self.pod, self.container, exit_code=exit_code)

    @property
    def alive(self) -> Question:
        """Whether the pod is still there: a cluster that cannot be asked must not be judged by old news."""
        return Question("Pod", self.pod, there=True)


def before_and_since(before: int, since: int, limit: int) -> int:
    """How often something counts that had happened `before` the first look: one more must be seen in any case.

    A pod may be older than what was just applied, as where a deploy is run again after its image was pushed.
    """
    return min(before, limit - 1) + since


def brief(message: str) -> str:
    """A message on one line and not without end: what a runtime, a webhook or a program says can be anything."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def counted(times: int, limit: int) -> float:
    """When something that has happened `times` times is a failure: at once from `limit` on, before that never."""
    return AT_ONCE if times >= limit else NEVER
