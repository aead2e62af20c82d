"""Jobs that are gone before anybody has seen how they ended: `ttlSecondsAfterFinished: 0` removes one at once.

Helm has just applied them, so that they have ended; whether well, only their Events still say. No data is no pass.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from cdlib.deadline import Deadline
from cdlib.retry import patiently
from cdlib.rollout.api import Api, path
from cdlib.rollout.causes import brief
from cdlib.rollout.happenings import last_told
from cdlib.rollout.verdict import INCONCLUSIVE, Fault

LAG = 5.0  # seconds that Events may be later than what they tell of
ASK_EVERY = 0.5  # seconds
_WELL = "Completed"
# What the Job controller says with a Warning where it gives a Job up (its reasons for the condition Failed).
_BADLY = ("BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy", "FailedIndexes", "MaxFailedIndexesExceeded")


def how_ended(api: Api, namespace: str, jobs: Sequence[str], since: str, deadline: Deadline) -> tuple[Fault, ...]:
    """A fault for each of these Jobs that ended badly, or of which nobody can say how; none where all ended well.

    `since`, in RFC 3339 by the cluster's clock, leaves out what an earlier Job of that name has left. Raises CdError.
    """
    found = (_how_ended(api, namespace, job, since, deadline) for job in jobs)
    return tuple(fault for fault in found if fault)


def _how_ended(api: Api, namespace: str, job: str, since: str, deadline: Deadline) -> Fault | None:
    share = deadline.part(LAG, "learning how a Job ended")
    params = {"fieldSelector": f"involvedObject.kind=Job,involvedObject.name={job}"}
    about = f"Job {job}"
    while True:
        listed = patiently(lambda: api.get(path("events", namespace), deadline, **params), deadline) or {}
        told = {str(e.get("reason")): e for e in listed.get("items") or [] if last_told(e) >= since.removesuffix("Z")}
        for reason in _BADLY:
            if reason in told:
                text = brief(f"the Job {job} has failed: {told[reason].get('message') or reason}")
                return Fault("", "", "JobFailed", text, about=about)
        if _WELL in told:
            return None
        if share.over:
            break
        time.sleep(min(ASK_EVERY, share.left))
    text = f"the Job {job} is gone, and nothing tells how it ended; ttlSecondsAfterFinished keeps it for that long"
    return Fault("", "", INCONCLUSIVE, text, about=about)
