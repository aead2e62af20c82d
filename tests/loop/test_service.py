"""A service's changes through Gerrit, Zuul and Jenkins together: votes, comments, aborted builds, and what serves."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
import yaml
from services import BAD, SLOW, Service

from cdlib import process
from cdlib.deadline import Deadline
from cdlib.report.audit import check
from lab.loop.cluster import kubeconfig
from lab.loop.places import NODES
from lab.loop.testing import Author, Change, Loop, until
from lab.testing import command


@pytest.fixture(scope="module")
def service(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service of the tests' own."""
    return Service.add(loop, tmp_path_factory.mktemp("service"))


@pytest.fixture
def author(service: Service, tmp_path: Path) -> Author:
    """alice's clone of the service."""
    return service.clone(tmp_path / "clone")


def test_what_was_pushed_past_the_gate_is_deployed_after_a_gate_by_hand(service: Service, author: Author) -> None:
    # What the project began with. Whether Zuul takes notice of that depends on whether it knows the project by then.
    imported = author.git("rev-parse", "origin/master")
    where = {"ZUUL_REF": "refs/heads/master", "ZUUL_COMMIT": imported}
    said = service.operate("authorize", 5, **where, ZUUL_PIPELINE="postmerge")
    assert "has no candidate" in said["error"]["message"]
    service.operate("gate", **where, ZUUL_PIPELINE="gate")
    for stage in ("authorize", "deploy"):
        service.operate(stage, **where, ZUUL_PIPELINE="postmerge")
    assert service.answer()["revision"] == imported


def test_a_newer_patchset_aborts_the_build_and_alone_votes(service: Service, author: Author) -> None:
    change = author.push("slow", {"tests/test_new.py": SLOW.format(seconds=100)})
    service.started("check")
    author.amend({"tests/test_new.py": BAD})
    until(lambda: [b for b in service.builds("check") if b.result == "ABORTED"], "the first build aborted", 90)
    change.wait_vote(-1)
    assert "test_sum" in change.messages()[-1] and f"/job/{service.name}-check/2/" in change.messages()[-1]
    assert [build.result for build in service.builds("check")] == ["FAILURE", "ABORTED"]
    assert not [message for message in change.messages() if "Patch Set 1: Verified" in message]


def test_a_topic_is_not_evaluated_on_zuuls_executor(service: Service, author: Author) -> None:
    """Ansible would evaluate it with all of `zuul`, where Zuul marks the message alone as unsafe."""
    change = author.push("topic", {"VERSION": "topic\n"}, topic="{{nobody.knows}}")
    change.wait_vote(1)
    change.abandon()


def test_a_projects_variables_run_nothing_on_zuuls_executor(loop: Loop, service: Service, author: Author) -> None:
    """Those by which Ansible asks how to run a task, and which Zuul takes from any change: see playbooks/cd-settings."""
    (file,) = yaml.safe_load((author.git.folder / ".zuul.yaml").read_text())
    steal = "env > $ZUUL_JOBDIR/work/logs/stolen"  # which is kept with the build's logs
    file["project"]["vars"] = {
        "ansible_remote_tmp": f"/tmp/x$({steal})",
        "ansible_async_dir": f"$({steal})",
        "ansible_system_tmpdirs": [f"/tmp/x$({steal})"],
        "ansible_become": True,
        "ansible_become_user": "nobody",
        "ansible_become_exe": f"sh -c '{steal}' x",
        # Ours, which the job's secret, Zuul and the playbooks say.
        "cd_jenkins": {"url": "http://127.0.0.1:9", "commands": "/nowhere"},
        "cd_job": "nobody-check",
        "cd_runner": "zuul",
    }
    change = author.push("steered", {".zuul.yaml": yaml.safe_dump([file]), "VERSION": "steered\n"})
    change.wait_vote(1)
    build = loop.wait_build(job_name="cd-check", change=str(change.number))
    logs = loop.places.job_logs / build["uuid"]
    assert (logs / "cd-check" / "cd-result.json").is_file() and not (logs / "stolen").exists()
    change.abandon()


def test_a_change_cannot_have_its_check_left_out(service: Service, author: Author) -> None:
    own = (author.git.folder / ".zuul.yaml").read_text()
    assert yaml.safe_load(own) == [{"project": {"templates": ["cd-service"]}}]
    change = author.push("left out", {".zuul.yaml": f"{own}    vars: {{cd_runner: zuul}}\n", "tests/test_new.py": BAD})
    change.wait_vote(-1)
    assert "test_sum" in change.messages()[-1]
    change.abandon()


def test_a_retry_finds_the_build_that_runs(service: Service, author: Author) -> None:
    before = service.last("check")
    change = author.push("retried", {"tests/test_new.py": SLOW.format(seconds=15)})
    service.started("check", before)
    assert command("stop", "zuul-executor", "--kill").ok
    assert command("start", "zuul-executor").ok
    change.wait_vote(1, 240)
    assert service.last("check") == before + 1, "the second attempt has started no second build"


def _deploy(loop: Loop, author: Author, version: str) -> tuple[Change, str]:
    """A change that is approved, merged and deployed, and its commit."""
    change = author.push(f"version {version}", {"VERSION": f"{version}\n"})
    change.sign()
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-deploy", newrev=commit)["result"] == "SUCCESS"
    return change, commit


def test_an_approved_change_serves(loop: Loop, service: Service, author: Author) -> None:
    change, commit = _deploy(loop, author, "7")
    answer = service.answer()
    assert answer["revision"] == commit and answer["version"] == "7"
    until(lambda: [told for told in change.messages("Deploys") if commit[:12] in told], "a comment on the deploy", 90)


def test_a_bare_vote_merges_and_is_not_deployed_until_it_is_signed(
    loop: Loop, service: Service, author: Author
) -> None:
    live, before = service.answer()["revision"], service.last("deploy")
    change = author.push("bare", {"VERSION": "7.1\n"})
    change.vote(2)
    commit = change.wait_merged()
    assert loop.wait_build(job_name="cd-authorize", newrev=commit)["result"] == "FAILURE"
    (said,) = until(lambda: change.messages("Deploys"), "a comment on the refusal", 90)
    assert "Not deployed to production" in said and f"cd-approve {change.number} -e production" in said
    assert (service.last("deploy"), service.answer()["revision"]) == (before, live)
    change.sign()
    for stage in ("authorize", "deploy"):
        service.operate(stage, ZUUL_PIPELINE="postmerge")
    assert service.answer()["revision"] == commit


def test_the_agents_accounts_may_do_their_work_and_no_more(loop: Loop, service: Service) -> None:
    def may(agent: str, *what: str) -> bool:
        argv = ["kubectl", "--kubeconfig", str(kubeconfig(loop.places, agent)), "auth", "can-i", "--quiet", *what]
        return process.run(argv, Deadline(30, "kubectl"), env=loop.lab.env).ok

    inside, elsewhere = ("--namespace", service.name), ("--namespace", "default")
    assert may("deploy", "create", "deployments", *inside) and not may("deploy", "create", "deployments", *elsewhere)
    assert may("authorize", "get", f"configmaps/cd-{service.name}", *inside)
    assert not may("authorize", "create", "deployments", *inside) and not may("deploy", "create", "namespaces")
    for agent, event in (("authorize", "permit"), ("deploy", "spent")):
        entries = check(loop.places.audit / f"{agent}.jsonl")
        ours = [(entry["event"], problem) for entry, problem in entries if entry.get("service") == service.name]
        assert (event, "") in ours, "a record outlives builds, and other tests kill these"


def test_a_rollback_by_hand_is_told_once_and_a_job_lifts_the_hold(loop: Loop, service: Service, author: Author) -> None:
    kept, old = _deploy(loop, author, "8")
    taken, new = _deploy(loop, author, "9")
    before = len(kept.messages("Deploys"))
    service.operate("authorize", CD_ROLLBACK="true")
    back = service.operate("rollback", CD_REASON="orders are lost")
    assert (back["commit"], back["previous"]) == (old, new)
    (said,) = (each for each in taken.messages("Deploys") if "Rolled back by hand" in each)
    assert "Not live any more: this change" in said and "Reason: orders are lost" in said
    assert f"{author.project}-hold" in said and f"/job/{author.project}-rollback/1/" in said
    again = service.operate("rollback", CD_REASON="orders are lost")
    assert again["outcome"] == "unchanged"
    assert len([each for each in taken.messages("Deploys") if "Rolled back by hand" in each]) == 1
    assert len(kept.messages("Deploys")) == before, "what is live again by its own deploy is told nothing"
    assert service.operate("hold")["hold"]["reason"] == "orders are lost"
    assert service.operate("hold", CD_HOLD="lift")["hold"] is None
    assert service.operate("hold", CD_HOLD="set", CD_REASON="a freeze")["hold"]["reason"] == "a freeze"
    assert service.operate("hold", CD_HOLD="lift")["hold"] is None


def test_without_jenkins_on_a_node(loop: Loop, tmp_path: Path) -> None:
    """The happy way of `cd_runner: zuul`, in an environment that asks for no permit."""
    service = Service.add(loop, tmp_path, "cd-service-on-nodes")
    author = service.clone(tmp_path / "clone")
    bad = author.push("bad", {"tests/test_new.py": BAD})
    bad.wait_vote(-1)
    assert "test_sum" in bad.messages()[-1]
    change = author.amend({"tests/test_new.py": BAD.replace("3", "2")})
    change.wait_vote(1)
    change.vote(2)
    commit = change.wait_merged()
    build = loop.wait_build(job_name="cd-node-deploy", newrev=commit)
    assert build["result"] == "SUCCESS" and service.answer()["revision"] == commit
    assert {each["name"] for each in build["artifacts"]} == {"deploy result", "deploy page"}
    page = requests.get(f"{build['log_url']}cd-deploy/report.html", timeout=10)
    assert page.ok and f"{author.project} to {NODES}: serving" in page.text and commit[:12] in page.text
    assert not service.builds("check")
    until(lambda: not list(Path("/root").glob("cd-*")), "nothing left on the node", 90)
