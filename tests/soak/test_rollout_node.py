"""A rollout whose node is in trouble for a moment: it is waited for, and ends well.

It is the lab's only node, so that nothing else may use the lab meanwhile.
"""

from __future__ import annotations

import time

from amid import HELD, deploy_amid, let_go, pods_of, running, serves
from charts import through, write_chart
from deployments import Deployment, until

from lab.layout import NODE
from lab.testing import RunningLab, without

CORDONED = 15.0  # seconds
AWAY = 3.0


def test_a_node_that_is_cordoned_for_15_seconds(lab: RunningLab, web: Deployment) -> None:
    assert web.deploy().code == 0
    commit = web.commit(text="two")

    def unschedulable() -> bool:
        told = [c for pod in pods_of(web, commit) for c in pod["status"].get("conditions") or []]
        return any(c["type"] == "PodScheduled" and "were unschedulable" in c.get("message", "") for c in told)

    def opened_again() -> None:
        until(unschedulable)
        time.sleep(CORDONED)  # it is this that is tried
        lab.kubectl("uncordon", NODE)

    lab.kubectl("cordon", NODE)
    try:
        done = deploy_amid(web, opened_again)
    finally:
        lab.kubectl("uncordon", NODE)
    serves(web, done, commit)


def test_a_kubelet_that_crashes_and_comes_back(web: Deployment) -> None:
    """A kubelet that has just begun shows pods as ready, for up to 2 s, that have never been: a soak sees through it."""
    assert web.deploy().code == 0
    web.cd["deploy"]["verify"]["soak"] = "5s"
    write_chart(web, through(HELD))
    commit = web.commit()

    def restarted() -> None:
        until(lambda: running(web, commit))
        with without("kubelet"):
            time.sleep(AWAY)  # as above

    serves(web, deploy_amid(web, restarted, lambda: let_go(web, commit)), commit)


def test_a_kubelet_that_hears_of_a_new_pod_after_its_progress_deadline(web: Deployment) -> None:
    """As after an API server that was away: the scheduler has placed the pod, and nobody starts it."""
    assert web.deploy().code == 0
    write_chart(web, through(HELD), workload={"progressDeadlineSeconds": 15})
    commit = web.commit()

    def passed() -> bool:
        told = web.get("deployment/web")["status"]["conditions"]
        return any(c["reason"] == "ProgressDeadlineExceeded" for c in told)

    def late() -> None:
        with without("kubelet"):
            until(passed)
            (new,) = pods_of(web, commit)
            assert new["spec"]["nodeName"] == NODE and "containerStatuses" not in new["status"]

    serves(web, deploy_amid(web, late, lambda: let_go(web, commit)), commit)
