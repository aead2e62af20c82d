"""The soak on a real cluster: what breaks only once a rollout is complete, and when the service counts as serving."""

from __future__ import annotations

import json
from typing import Any

import pytest
from amid import containers
from deployments import Deployment, Ran
from test_verdicts import FAILING, READINESS, python, server, write_chart

READY = {"exec": {"command": ["true"]}, "periodSeconds": 1}
# Two failures a second apart, and a grace of a second: with the margin of 5 s a soak of 8 s.
QUICK = {"periodSeconds": 1, "failureThreshold": 2}
DIES = "import time; time.sleep(4); raise SystemExit(6)"
Container = dict[str, Any]


def deploy(web: Deployment, *containers: Container, soak: str = "") -> Ran:
    """Deploy a chart of these containers, and where `soak` is empty without naming any."""
    web.cd["deploy"]["verify"] = {"http": [{"path": "/healthz"}], **({"soak": soak} if soak else {})}
    write_chart(web, *containers)
    web.commit()
    return web.deploy()


def told(web: Deployment) -> list[str]:
    """What of interest the last deploy has told, in order."""
    return [
        f"{event['stage']} {event['about']}" if event["event"] == "stage_end" else event["event"]
        for event in web.events()
        if event["event"] in ("serving", "verdict") or (event.get("stage") in ("http", "soak") and "outcome" in event)
    ]


def restarts(web: Deployment) -> int:
    """The most restarts of a container in what is kept of pods."""
    kept = [json.loads(file.read_text()) for file in (web.folder / ".cd" / "evidence").glob("*.json")]
    pods = [each["object"] for each in kept if "pod" in each]
    return max(int(status["restartCount"]) for pod in pods for status in containers(pod))


def test_a_good_service_serves_before_its_soak_by_its_own_probe(web: Deployment) -> None:
    done = deploy(web, server(livenessProbe=READINESS | QUICK))
    assert done.code == 0, done.err
    assert told(web) == ["http /healthz", "serving", "soak 8 s"]
    (serving,) = [event for event in web.events() if event["event"] == "serving"]
    assert (serving["revision"], serving["commit"]) == (1, web.git("rev-parse", "HEAD"))
    assert serving["seconds"] < done.result["duration_s"] - 7.0, "the soak comes after it"
    assert "✓ serving  web revision 1" in done.err


@pytest.mark.parametrize(
    ("containers", "soak", "says"),
    [
        ((server(livenessProbe=FAILING | QUICK),), "", "killed 3 times because its liveness probe failed"),
        ((server(), python(DIES, "side", readinessProbe=READY)), "35s", "container side: ended 3 times"),
    ],
    ids=["liveness", "sidecar"],
)
def test_what_breaks_after_it_was_complete_goes_back_with_the_evidence(
    web: Deployment, containers: tuple[Container, ...], soak: str, says: str
) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    failed = deploy(web, *containers, soak=soak)
    assert failed.code == 7, failed.err
    assert says in failed.result["cause"], failed.err
    assert told(web)[:4] == ["http /healthz", "serving", f"soak {soak[:-1] or 8} s", "verdict"]
    assert says.rpartition(": ")[2] in web.evidence()
    assert restarts(web) >= 2, "the pod itself is kept, as it was at the verdict"
    assert web.serving()["revision"] == good
    assert [e["status"] for e in web.record()["revisions"]] == ["verified", "failed", "verified"]
    assert "soak" not in " ".join(told(web)[4:]), "rolling back has none"


def test_who_asks_for_no_soak_gets_none(web: Deployment) -> None:
    done = deploy(web, server(livenessProbe=READINESS | QUICK), soak="0s")
    assert done.code == 0, done.err
    assert told(web) == ["http /healthz", "serving"]


def test_the_operators_soak_is_a_floor(web: Deployment) -> None:
    web.targets["environments"]["test"]["verify"] = {"soak": "2s"}
    assert deploy(web, server(), soak="0s").code == 0
    assert told(web) == ["http /healthz", "serving", "soak 2 s"]


def test_a_soak_that_leaves_no_time_to_roll_out_is_refused(web: Deployment) -> None:
    refused = deploy(web, server(), soak="40s")  # of 120 s, 72 are for rolling out
    assert refused.code == 2, refused.err
    assert "a soak of 40 s leaves no time to roll out in a budget of 120 s" in refused.err
    assert web.helm_statuses() == []
