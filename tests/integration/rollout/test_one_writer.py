"""One writer on a real cluster: queueing for the lease, and a network that is cut in the middle."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import CRASH, HANG, Deployment, kill_hard, until
from severed import Severed, severed

BUDGET = 60  # seconds
# What may come after the budget: Helm's grace, the record's last word, the lease given back, and Python.
TAIL = 15.0


def hangs_in_a_hook(web: Deployment) -> subprocess.Popen[str]:
    """A deploy that holds the lease, because a hook of it hangs."""
    web.commit(hook=HANG)
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    return process


def ended(process: subprocess.Popen[str], seconds: float = 150.0) -> tuple[int, dict[str, Any], str]:
    """Exit status, result and messages of a command that was started."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, json.loads(out), err


def waits(process: subprocess.Popen[str]) -> list[str]:
    """Read a command's messages until it says that it waits for the lease."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "waits for the run that holds the release" in line:
            return lines
    raise AssertionError(f"it does not wait: {lines}")


def test_who_waits_for_the_lease_goes_on_when_it_is_free(web: Deployment) -> None:
    assert web.deploy().code == 0
    first = hangs_in_a_hook(web)
    commit = web.commit(text="second")
    second = web.start("helm-deploy", "--digest", web.digest, "--wait-lease")
    waits(second)
    first.terminate()
    assert ended(first)[0] == 143
    code, result, err = ended(second)
    assert code == 0, err
    assert result["commit"] == commit
    assert web.serving()["text"] == "second"


# A hook that lasts until it is told that it may end.
SLOW = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: web-slow
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
        - name: hook
          image: {{ .Values.image.repository }}@{{ .Values.image.digest }}
          command: [sh, -c, "until test -e /tmp/go; do sleep 0.2; done"]
"""


def test_who_waited_is_judged_by_what_is_live_then(web: Deployment) -> None:
    """The same commit has nothing left to do, and an older one comes too late."""
    older = web.commit(text="older")
    (web.folder / "chart" / "templates" / "slow.yaml").write_text(SLOW, encoding="utf-8")
    newer = web.commit(text="newer")
    first = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.get("job", "web-slow")["status"].get("ready"))
    same = web.start("helm-deploy", "--digest", web.digest, "--wait-lease")
    waits(same)
    web.git("checkout", "-q", older)
    late = web.start("helm-deploy", "--digest", web.digest, "--wait-lease")
    waits(late)
    web.kubectl("exec", "job/web-slow", "--", "touch", "/tmp/go")
    code, _, err = ended(first)
    assert code == 0, err
    code, result, err = ended(same)
    assert (code, result["outcome"]) == (0, "unchanged"), err
    code, result, err = ended(late)
    assert code == 6, err
    assert "is older than" in result["error"]["message"]
    assert web.serving() == {"revision": newer, "text": "newer"}


def test_who_waits_for_one_that_was_killed_heals_what_it_left(web: Deployment) -> None:
    assert web.deploy().code == 0
    first = hangs_in_a_hook(web)
    commit = web.commit(text="after")
    second = web.start("helm-deploy", "--digest", web.digest, "--wait-lease")
    waits(second)
    kill_hard(first)
    code, _, err = ended(second)
    assert code == 0, err
    assert "by a run that died" in err
    assert web.serving() == {"revision": commit, "text": "after"}


def test_a_rollback_waits_too(web: Deployment) -> None:
    assert web.deploy().code == 0
    first = hangs_in_a_hook(web)
    second = web.start("helm-rollback", "--to", "1", "--wait-lease")
    waits(second)
    first.terminate()
    assert ended(first)[0] == 143
    code, _, err = ended(second)
    assert code == 0, err


def test_who_waits_in_vain_says_who_holds_it(web: Deployment) -> None:
    assert web.deploy().code == 0
    first = hangs_in_a_hook(web)
    web.commit(text="second")
    second = web.deploy("--wait-lease", "--timeout", "8")
    assert second.code == 9, second.err
    assert "another run holds the release" in second.err
    first.terminate()
    first.communicate(timeout=60)


def test_ctrl_z_leaves_the_release_to_who_has_it_and_a_terminal_that_is_gone_gives_it_back(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.commit(hook=HANG)
    # In a group of its own, as a shell starts it: one that no shell waits for is never stopped.
    process = subprocess.Popen(
        web.argv("helm-deploy", "--digest", web.digest), env=dict(web.env), process_group=0, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    process.send_signal(signal.SIGTSTP)
    before = web.get("lease", "cd-web")["spec"]["renewTime"]
    until(lambda: web.get("lease", "cd-web")["spec"]["renewTime"] != before, 30)
    assert web.deploy().code == 9
    process.send_signal(signal.SIGHUP)
    code, result, err = ended(process)
    assert (code, result["outcome"]) == (143, "interrupted"), err
    assert err.count("Ctrl-Z is ignored") == 1
    assert web.record()["revisions"][-1]["status"] == "interrupted"
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == ""


def die_with_the_lease(web: Deployment) -> None:
    """As a run that was killed after its last word, and before it gave the lease back."""
    dead = {"holderIdentity": "https://jenkins.test/7/", "leaseDurationSeconds": 1}
    web.kubectl("patch", "lease", "cd-web", "--type=merge", "-p", json.dumps({"spec": dead}))


def test_what_a_run_had_done_before_it_was_killed_is_not_rolled_out_again(web: Deployment) -> None:
    first = web.deploy()
    assert first.code == 0, first.err
    die_with_the_lease(web)
    again = web.deploy()
    assert (again.code, again.result["outcome"]) == (0, "unchanged"), again.err
    assert len(web.helm_statuses()) == 1
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == "", "what it took it has given back"


@pytest.fixture
def cuttable(web: Deployment, tmp_path: Path) -> Iterator[tuple[Deployment, Severed]]:
    """The service, whose commands reach the API server through a network that can be cut; kubectl does not."""
    web.targets["environments"]["test"]["budget"] = f"{BUDGET}s"
    web.write_targets()
    direct = json.loads(web.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    with severed(direct, tmp_path / "through.kubeconfig") as proxy:
        web.commit()
        assert web.deploy().code == 0
        web.targets["environments"]["test"]["kubeconfig"] = str(tmp_path / "through.kubeconfig")
        web.write_targets()
        yield web, proxy


def cut_in_the_hook(web: Deployment, proxy: Severed, *words: str) -> tuple[subprocess.Popen[str], float]:
    """A deploy whose network is cut while Helm waits for a hook, and when it began."""
    web.commit(hook=HANG)
    began = time.monotonic()
    process = web.start("helm-deploy", "--digest", web.digest, *words)
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    proxy.cut()
    return process, began


def lease_is_lost(process: subprocess.Popen[str]) -> None:
    """Wait for Helm to be stopped."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: not children.read_text().split())


def test_helm_is_stopped_before_the_lease_runs_out_and_a_mended_network_lets_it_go_back(
    cuttable: tuple[Deployment, Severed],
) -> None:
    web, proxy = cuttable
    process, _ = cut_in_the_hook(web, proxy)
    renewed = web.get("lease", "cd-web")["spec"]["renewTime"]
    lease_is_lost(process)
    found = web.get("lease", "cd-web")["spec"]
    assert found["renewTime"] == renewed, "nothing came through"
    assert found["holderIdentity"], "and nobody else has it yet"
    proxy.mend()
    code, result, err = ended(process)
    assert code == 7, err
    assert result["rolled_back_to"] == 1
    assert web.record()["quarantine"] == {}, "the image is not to blame"
    assert web.serving()["text"] == ""
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == ""


def test_a_short_cut_while_pods_come_up_changes_nothing(cuttable: tuple[Deployment, Severed]) -> None:
    web, proxy = cuttable
    values = yaml.safe_load((web.folder / "chart" / "values.yaml").read_text(encoding="utf-8"))
    commit = web.commit(program=f"import time; time.sleep(20)\n{values['program']}", text="slow")
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.helm_statuses()[-1] == (2, "deployed"))
    proxy.cut()
    time.sleep(12)  # longer than the lease can do without: what is tried here is that very length
    proxy.mend()
    code, result, err = ended(process)
    assert code == 0, err
    assert result["commit"] == commit
    assert web.serving()["text"] == "slow"


def test_what_another_has_taken_meanwhile_is_left_to_it(cuttable: tuple[Deployment, Severed]) -> None:
    web, proxy = cuttable
    process, _ = cut_in_the_hook(web, proxy)
    through = web.targets["environments"]["test"].pop("kubeconfig")
    commit = web.commit(text="other")
    other = web.deploy("--wait-lease")
    assert other.code == 0, other.err
    web.targets["environments"]["test"]["kubeconfig"] = through
    proxy.mend()
    code, _, err = ended(process)
    assert code == 9, err
    assert "is not ours any more" in err
    assert web.serving() == {"revision": commit, "text": "other"}


# Whether it may queue: a lease that was free is bound by the budget all the same.
MAY_QUEUE = pytest.mark.parametrize("words", [(), ("--wait-lease",)], ids=["at once", "may queue"])


@MAY_QUEUE
def test_cut_off_for_good_it_ends_with_its_budget_and_says_what_to_look_at(
    cuttable: tuple[Deployment, Severed], words: tuple[str, ...]
) -> None:
    web, proxy = cuttable
    process, began = cut_in_the_hook(web, proxy, *words)
    code, result, err = ended(process)
    assert code == 8, err
    assert time.monotonic() - began < BUDGET + TAIL
    assert f"kubectl -n {web.namespace} get pods" in result["error"]["hint"]
    assert f"helm history web -n {web.namespace}" in result["error"]["hint"]
    assert "does not answer" in result["error"]["message"]
    web.targets["environments"]["test"].pop("kubeconfig")
    commit = web.commit(text="after")
    healed = web.deploy()
    assert healed.code == 0, healed.err
    assert web.serving() == {"revision": commit, "text": "after"}


def held_helm(folder: Path, program: Path) -> Path:
    """A Helm that has rolled back, says so by the file `rolled-back`, and ends once there is the file `go`."""
    script, done, go = folder / "held-helm", folder / "rolled-back", folder / "go"
    script.write_text(
        f"#!/bin/sh\nhelm={shlex.quote(str(program))}\n"
        'case " $* " in *" rollback "*) ;; *) exec "$helm" "$@";; esac\n'
        f'"$helm" "$@"; code=$?\ntouch {shlex.quote(str(done))}\n'
        f"until test -e {shlex.quote(str(go))}; do sleep 0.1; done\nexit $code\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return script


@MAY_QUEUE
def test_cut_off_in_the_rollback_it_ends_with_its_budget(
    cuttable: tuple[Deployment, Severed], words: tuple[str, ...], lab: Any, tmp_path: Path
) -> None:
    web, proxy = cuttable
    web.commit(program=CRASH)
    began = time.monotonic()
    env = {"CD_HELM": str(held_helm(tmp_path, lab.helm4))}
    process = web.start("helm-deploy", "--digest", web.digest, *words, env=env)
    until((tmp_path / "rolled-back").exists)
    proxy.cut()
    (tmp_path / "go").touch()
    code, result, err = ended(process)
    assert code == 8, err
    assert time.monotonic() - began < BUDGET + TAIL
    assert f"kubectl -n {web.namespace} get pods" in result["error"]["hint"]


def test_a_hook_that_hangs_leaves_the_rollback_its_share(web: Deployment) -> None:
    web.targets["environments"]["test"]["budget"] = f"{BUDGET}s"
    web.commit()
    assert web.deploy().code == 0
    web.commit(hook=HANG)
    began = time.monotonic()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert time.monotonic() - began < BUDGET
    stages = [json.loads(line) for line in (web.folder / ".cd" / "events.jsonl").read_text().splitlines()]
    helm = [e["seconds"] for e in stages if e["event"] == "stage_end" and e["stage"] == "helm upgrade"]
    assert helm[-1] <= 0.6 * BUDGET + 4.0  # what a Helm that is told to end is given
