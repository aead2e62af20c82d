"""What runs, compared with what was permitted, once the nodes have said what that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cdlib.deadline import Deadline
from cdlib.reference import Reference
from cdlib.retry import patiently
from cdlib.rollout.api import Object
from cdlib.rollout.permit import Use, foreign_images, unnamed
from cdlib.rollout.release import Release
from cdlib.rollout.verdict import State
from cdlib.rollout.watch import Watch
from cdlib.rollout.workloads import KINDS

NAMED_WITHIN = 5.0  # seconds in which a kubelet says what image a container runs


def as_permitted(release: Release, use: Use | None, image: Reference, state: State, deadline: Deadline) -> State:
    """The state of a rollout, which has failed where it runs something else than was permitted.

    What cannot be told makes it inconclusive. A registry that is away is waited for, to the end of `deadline`.
    """
    if use is None or state.faults:
        return state
    pods = _named(release, str(image), state.pods, deadline)
    return replace(state, faults=patiently(lambda: foreign_images(use, image, pods, deadline), deadline))


def _named(release: Release, image: str, pods: Sequence[Object], deadline: Deadline) -> Sequence[Object]:
    """The pods, looked at again for a while where the API server does not know what they run; without those that are
    gone by then."""
    if not unnamed(pods, image):
        return pods
    share = deadline.part(NAMED_WITHIN, "learning what image runs")
    with Watch(release.api, release.environment.namespace, [KINDS["Pod"]]) as watch:
        while unnamed(pods, image) and not share.over:
            watch.wait(share.left)
            if watch.listed:
                now = {pod["metadata"]["uid"]: pod for pod in watch.objects()["Pod"]}
                pods = [now[uid] for pod in pods if (uid := pod["metadata"]["uid"]) in now]
    return pods
