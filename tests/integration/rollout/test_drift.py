"""What somebody has changed beside the release: shown, and set right, by both Helms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deployments import Deployment, until


@pytest.fixture(params=["helm 3", "helm 4"])
def live(request: pytest.FixtureRequest, web: Deployment, lab: Any) -> Deployment:
    """The service, deployed by each of both Helms in turn."""
    program = lab.helm3 if request.param == "helm 3" else lab.helm4
    web.env = {**web.env, "CD_HELM": str(program)}
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.deploy().result["outcome"] == "unchanged"
    return web


def set_right(web: Deployment, *shown: str) -> None:
    """Deploy the same again: the drift is shown, set right, and then there is none."""
    planned = web.deploy("--dry-run")
    assert planned.result["outcome"] == "planned"
    done = web.deploy()
    assert done.code == 0, done.err
    assert done.result["outcome"] == "done"
    for line in shown:
        assert any(line in each for each in done.result["drift"]), done.result["drift"]
        assert line in done.err
        assert any(line in each for each in planned.result["drift"])
    again = web.deploy()
    assert (again.code, again.result["outcome"]) == (0, "unchanged"), again.err
    entry = web.record()["revisions"][-1]
    assert (entry["status"], entry["reason"].split(":")[0]) == ("verified", "sets again what was changed")
    assert not [e for e in web.record()["revisions"] if e["status"] == "deploying"]


def test_an_image_set_by_hand(live: Deployment, other_digest: str) -> None:
    other = f"{live.image}@{other_digest}"
    live.kubectl("set", "image", "deployment/web", f"web={other}")
    live.kubectl("rollout", "status", "deployment/web")
    set_right(live, f"image is {other[:50]}")
    assert live.digest in live.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["image"]


def test_replicas_set_by_hand(live: Deployment) -> None:
    live.kubectl("scale", "deployment/web", "--replicas=2")
    live.kubectl("rollout", "status", "deployment/web")
    set_right(live, "spec.replicas is 2, the release says 1")
    assert live.get("deployment", "web")["spec"]["replicas"] == 1


def test_a_service_that_was_deleted(live: Deployment) -> None:
    live.kubectl("delete", "service", "web")
    set_right(live, "Service web is gone")
    assert until(live.serving)["revision"]


def test_what_a_secret_held_is_not_shown(live: Deployment) -> None:
    live.kubectl("set", "env", "deployment/web", "TEXT=hunter2222")
    live.kubectl("rollout", "status", "deployment/web")
    done = live.deploy()
    assert done.code == 0, done.err
    assert "env[TEXT].value differs" in done.err
    assert "hunter2222" not in done.err + done.out + json.dumps(live.record())


def test_a_rollback_to_what_is_live_sets_drift_right_too(live: Deployment) -> None:
    live.kubectl("delete", "service", "web")
    back = live.run("helm-rollback", "--to", "1")
    assert back.code == 0, back.err
    assert back.result["drift"] == ["Service web is gone"]
    assert until(live.serving)["revision"]


def test_an_autoscaler_is_no_drift(live: Deployment) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 3,
        },
    }
    file = live.folder.parent / "scaler.json"
    file.write_text(json.dumps(scaler), encoding="utf-8")
    live.kubectl("apply", "-f", str(file))
    live.kubectl("scale", "deployment/web", "--replicas=2")  # as the autoscaler would
    live.kubectl("rollout", "status", "deployment/web")
    again = live.deploy()
    assert (again.code, again.result["outcome"]) == (0, "unchanged"), again.err


def test_restarts_and_notes_of_people_are_no_drift(live: Deployment) -> None:
    live.kubectl("rollout", "restart", "deployment/web")
    live.kubectl("rollout", "status", "deployment/web")
    live.kubectl("annotate", "service", "web", "note=ours")
    assert live.deploy().result["outcome"] == "unchanged"
