"""Permits from the review to what serves, against a real cluster and a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deployments import BIN, CRASH, Deployment, Ran, kill_hard, until
from manuals import follow
from reviewed import GATED, Reviewed

TRUST = Path(__file__).parents[3] / "docs" / "trust.md"


@pytest.fixture
def service(web: Deployment, tmp_path: Path) -> Reviewed:
    return Reviewed.create(web, tmp_path, web.digest)


def refused(ran: Ran, *words: str) -> None:
    """It was refused, and says why."""
    assert ran.code == 6, ran.err
    assert all(word in ran.err for word in words), ran.err


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran.err
    return ran


def test_what_was_reviewed_built_and_tested_is_what_runs(service: Reviewed) -> None:
    web = service.web
    service.change(text="one")
    service.attest()
    refused(service.deploy(), "there is no permit for the deploy")
    assert web.helm_statuses() == []
    permitted = done(service.authorize()).result
    (verdict,) = permitted["verdicts"]
    assert (verdict["basis"], verdict["voters"]) == ("change", ["Code-Review+2 bob", "Verified+2 zuul"])
    deployed = done(service.deploy()).result
    assert web.serving()["text"] == "one"
    record = web.record()
    assert record["permit_sequence"] == permitted["sequence"] == 1
    assert record["revisions"][0]["permit"] == permitted["permit"]["permit"] == deployed["permit"]["permit"]
    (pod,) = web.get("pods")["items"]
    assert pod["metadata"]["annotations"]["permit"] == permitted["permit"]["permit"], "the chart is told of it"
    again = done(service.deploy())
    assert again.result["outcome"] == "unchanged" and "permit" not in again.result, "that needs none"
    dead = {"spec": {"holderIdentity": "https://jenkins.test/7/", "leaseDurationSeconds": 1}}
    web.kubectl("patch", "lease", "cd-web", "--type=merge", "-p", json.dumps(dead))
    killed = done(service.deploy())  # as its rerun, where it was killed before it gave the lease back
    assert killed.result["outcome"] == "unchanged" and "permit" not in killed.result, "it has spent the permit"
    service.change(text="two")
    service.attest()
    refused(service.deploy(), "does not cover the deploy", "another commit")
    assert [each["commit"] for each in done(service.authorize()).result["verdicts"]] == [web.git("rev-parse", "HEAD")]
    done(service.deploy())
    assert web.serving()["text"] == "two"
    assert service.audited("authorizer") == ["permit", "permit"]
    assert service.audited("deployer") == ["refused", "spent", "refused", "spent"]


def test_a_permit_covers_the_return_and_nothing_after_it(service: Reviewed) -> None:
    web = service.web
    good = service.ship(text="good")
    service.change(program=CRASH)
    service.attest()
    label = done(service.authorize()).result["permit"]["permit"]
    failed = service.deploy()
    assert failed.code == 7, failed.err
    assert web.serving()["revision"] == good
    assert [(e["status"], e["permit"] == label) for e in web.record()["revisions"]] == [
        ("verified", False), ("failed", True), ("verified", True)]  # fmt: skip
    refused(service.deploy(), "used or overtaken")
    assert service.audited("deployer")[-3:] == ["spent", "rolled-back", "refused"]


def test_a_killed_run_is_gone_on_with_by_the_permit_that_it_spent(service: Reviewed) -> None:
    web = service.web
    service.change(text="one")
    service.attest()
    done(service.authorize())
    run = web.start("helm-deploy", "--digest", service.digest, env=GATED)
    until(lambda: web.record()["permit_sequence"] == 1)
    kill_hard(run)
    gone_on = done(service.deploy("--wait-lease"))
    assert web.serving()["text"] == "one"
    assert web.record()["permit_sequence"] == 1 and gone_on.result["permit"]["permit"].startswith("1-")
    assert next(event for event in web.events() if event["event"] == "permit")["again"]


def test_a_rollback_by_hand_has_a_permit_of_its_own(service: Reviewed) -> None:
    web = service.web
    first = service.ship(text="one")
    service.ship(text="two")
    before = web.helm_statuses()
    refused(service.rollback("--to", "1"))
    assert web.helm_statuses() == before and web.record()["hold"] is None
    done(service.authorize("--rollback", "--to", "1"))
    back = done(service.rollback("--to", "1")).result
    assert web.serving()["revision"] == first and back["permit"]["kind"] == "permit"
    again = done(service.rollback("--to", "1")).result
    assert again["outcome"] == "unchanged" and "permit" not in again
    refused(service.authorize(), "on hold")
    assert service.audited("authorizer") == ["permit", "permit", "permit", "refused"]
    assert service.audited("deployer") == ["spent", "spent", "refused", "spent", "rollback"]


def test_broken_glass_by_hand_with_an_image_that_was_never_published(service: Reviewed) -> None:
    """As docs/trust.md says it: no pipeline, no Gerrit, and the deploy job, which publishes, does not work."""
    web, candidates = service.web, service.image
    web.targets["services"]["web"] |= {"candidates": candidates, "image": f"{candidates}-published"}
    web.write_targets()
    service.branch.push({"values.yaml": "text: urgent\n"})
    service.take()
    (service.base / "served").rename(service.base / "away")
    says = {
        "authorize-deploy -e production": f"authorize-deploy -e test --digest {service.digest}",
        "helm-deploy -e production": f"helm-deploy -e test --digest {service.digest}",  # it is of another tree
        "/media/safe/break-glass.pem": str(service.signers.file("break-glass")),
    }
    env = {**web.env, "CD_TARGETS": str(web.targets_file), "PATH": f"{BIN}:{web.env['PATH']}"}
    follow(TRUST, "break-glass-by-hand", web.folder, says, **env)
    assert web.serving()["text"] == "urgent"
    (revision,) = web.record()["revisions"]
    assert revision["image"] == f"{candidates}-published@{service.digest}" and "the site is down" in revision["reason"]


def test_broken_glass_is_in_the_record_the_result_and_the_audit(service: Reviewed) -> None:
    web = service.web
    service.branch.push({"values.yaml": "text: urgent\n"})
    evil = service.take()
    refused(service.authorize(), evil[:12], "pushed past review")
    argv = ("--break-glass", "--reason", "the site is down")
    assert service.authorize(*argv).code == 2, "that is not the key for it"
    assert "nobody has checked" in done(service.authorize(*argv, key="break-glass")).err
    deployed = done(service.deploy())
    assert "nobody has checked" in deployed.err and deployed.result["permit"]["kind"] == "break-glass"
    assert web.serving()["text"] == "urgent"
    assert "the site is down" in web.record()["revisions"][0]["reason"]
    service.change(text="later")
    service.attest()
    refused(service.authorize(), evil[:12], "pushed past review")  # it vouches for nothing
    refused(service.authorize("--rollback", "--to", "1"), evil[:12], "nobody has reviewed it")
