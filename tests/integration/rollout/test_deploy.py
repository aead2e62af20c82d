"""helm-deploy against a real cluster: forward, back, and every way of saying no."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deployments import CRASH, HANG, Deployment, kill_hard, until
from planted import plant

New = Callable[..., Deployment]


@pytest.fixture(params=["helm 3", "helm 4"])
def any_helm(request: pytest.FixtureRequest, web: Deployment, lab: Any) -> Deployment:
    """The service, deployed by each of both Helms in turn."""
    program = lab.helm3 if request.param == "helm 3" else lab.helm4
    web.env = {**web.env, "CD_HELM": str(program)}
    return web


def test_a_commit_serves_and_a_rerun_changes_nothing(any_helm: Deployment) -> None:
    web = any_helm
    commit = web.git("rev-parse", "HEAD")
    first = web.deploy()
    assert first.code == 0, first.err
    assert first.result["outcome"] == "done"
    assert first.result["revision"] == 1
    assert first.result["digest"] == web.digest
    assert len(first.result["pods"]) == 1
    assert web.serving()["revision"] == commit
    before = web.get("deployment", "web")["metadata"]["resourceVersion"], web.get("configmap", "cd-web")
    again = web.deploy()
    assert (again.code, again.result["outcome"], again.result["revision"]) == (0, "unchanged", 1)
    assert before == (web.get("deployment", "web")["metadata"]["resourceVersion"], web.get("configmap", "cd-web"))
    assert web.helm_statuses() == [(1, "deployed")]
    second = web.commit(text="two")
    assert web.deploy().result["revision"] == 2
    assert web.serving() == {"revision": second, "text": "two"}
    assert [e["status"] for e in web.record()["revisions"]] == ["verified", "verified"]
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == ""


def test_a_crash_goes_back_with_the_evidence_kept(any_helm: Deployment, other_digest: str) -> None:
    web = any_helm
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(program=CRASH.replace("boom", "boom password=hunter2222"))
    bad = web.deploy(digest=other_digest)
    assert bad.code == 7, bad.err
    assert bad.result["rolled_back_to"] == 1
    first_lines = "\n".join(line for line in bad.err.splitlines() if not line.startswith(("✓", "  │")))
    assert "ended 3 times, the last time with exit code 3" in first_lines
    assert "no database" in first_lines
    assert web.serving()["revision"] == good
    record = web.record()
    assert [(e["revision"], e["status"]) for e in record["revisions"]] == [
        (1, "verified"),
        (2, "failed"),
        (3, "verified"),
    ]
    assert record["live"] == 3
    assert list(record["quarantine"]) == [other_digest]
    assert web.helm_statuses()[-1] == (3, "deployed")
    evidence = [file.read_text() for file in (web.folder / ".cd" / "evidence").glob("*.json")]
    assert any("no database" in text for text in evidence)
    everything = [*evidence, bad.out, bad.err, (web.folder / ".cd" / "events.jsonl").read_text()]
    assert not any("hunter2222" in text for text in everything)
    web.commit(text="mended")
    refused = web.deploy(digest=other_digest)
    assert (refused.code, refused.result["outcome"]) == (6, "refused")
    assert "quarantined" in refused.err
    assert web.run("cd-hold", "--release", other_digest).code == 0
    assert web.deploy(digest=other_digest).code == 0


def test_a_first_deploy_that_fails_needs_a_person_and_the_next_one_works(web: Deployment) -> None:
    web.commit(program=CRASH)
    failed = web.deploy()
    assert failed.code == 8, failed.err
    assert "no verified revision" in failed.result["error"]["message"]
    web.commit()
    web.run("cd-hold", "--release", web.digest)
    mended = web.deploy()
    assert mended.code == 0, mended.err


@pytest.mark.parametrize(
    ("verify", "values", "said"),
    [
        ({"http": [{"path": "/nothing"}]}, {}, "GET /nothing: answered 404, expected 200"),
        ({"http": [{"path": "/", "contains": "bread"}]}, {}, "answered without 'bread'"),
        ({"helm_test": True}, {"test": "raise SystemExit(1)"}, "helm test failed"),
        ({}, {"hook": "raise SystemExit(1)"}, "a hook failed: the Job web-pre has failed"),
    ],
    ids=["status", "body", "helm test", "hook"],
)
def test_what_does_not_verify_goes_back(
    web: Deployment, verify: dict[str, Any], values: dict[str, Any], said: str
) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.cd["deploy"]["verify"] = verify
    web.commit(**values)
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert said in failed.err
    assert web.serving()["revision"] == good
    assert web.record()["revisions"][-1]["status"] == "verified"


def test_the_operators_floor_cannot_be_taken_away(web: Deployment) -> None:
    web.targets["environments"]["test"]["verify"] = {"http": [{"path": "/floor"}]}
    web.commit()
    assert "GET /floor" in web.deploy().err


def test_operators_values_win_and_hostile_text_arrives_unharmed(web: Deployment) -> None:
    hostile = "q\"uo'te {a,b} $HOME `id` $(id) \\ ; & | <x>\nline\ttab ü 雪 {{ .Values }}"
    (web.folder.parent / "operators.yaml").write_text("replicas: 2\n")
    web.targets["services"]["web"]["environments"]["test"]["values"] = ["operators.yaml"]
    web.commit(text=hostile, replicas=1)
    zuul = {"ZUUL_UUID": "u", "ZUUL_PIPELINE": "check", "ZUUL_PROJECT": "web", "ZUUL_PATCHSET": "1"}
    assert web.deploy(env={**zuul, "ZUUL_CHANGE": hostile}).code == 2, "that is no change's number"
    done = web.deploy(env={**zuul, "ZUUL_CHANGE": "7"})
    assert done.code == 0, done.err
    found = web.get("deployment", "web")["spec"]
    assert found["replicas"] == 2
    assert found["template"]["metadata"]["annotations"]["change"] == "7"
    assert web.serving()["text"] == hostile


def test_a_dry_run_writes_nothing(web: Deployment) -> None:
    planned = web.deploy("--dry-run")
    assert (planned.code, planned.result["outcome"]) == (0, "planned"), planned.err
    assert "would helm upgrade web" in planned.err.replace(str(web.env.get("CD_HELM", "helm")), "helm")
    assert web.get("all,secrets,leases")["items"] == []
    assert "cd-web" not in web.kubectl("get", "configmaps")


def test_only_a_verified_step_forward_is_taken(web: Deployment) -> None:
    old = web.git("rev-parse", "HEAD")
    web.commit(text="newer")
    assert web.deploy().code == 0
    web.git("checkout", "-q", old)
    refused = web.deploy()
    assert refused.code == 6
    assert "is older than" in refused.err
    assert "helm-rollback" in refused.err


def test_a_live_commit_that_git_does_not_know_is_no_step_forward(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.git("checkout", "-q", "--orphan", "elsewhere")
    web.commit(text="unrelated")
    web.git("branch", "-q", "-D", "master")
    web.git("reflog", "expire", "--expire=now", "--all")
    web.git("gc", "-q", "--prune=now")
    refused = web.deploy()
    assert refused.code == 6, refused.err
    assert "git does not know" in refused.err
    assert web.deploy("--unrelated").code == 0


def test_what_cannot_be_judged_goes_back(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    garbage = "self.send_response(200); self.send_header('Content-Encoding', 'gzip'); self.end_headers(); self.wfile.write(b'x')"
    program = (
        "import http.server\nclass H(http.server.BaseHTTPRequestHandler):\n"
        f"    def do_GET(self):\n        {garbage}\nhttp.server.ThreadingHTTPServer(('', 8080), H).serve_forever()\n"
    )
    web.cd["deploy"]["verify"] = {"http": [{"path": "/healthz", "contains": "bread"}]}
    (web.folder / ".cd").mkdir(exist_ok=True)
    (web.folder / ".cd" / "evidence").write_text("a file in the way")
    web.commit(program=program)
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert web.serving()["revision"] == good


@pytest.mark.parametrize("policy", ["reviewed", "signed"])
def test_a_policy_without_a_permit_fails_closed(web: Deployment, policy: str) -> None:
    web.targets["environments"]["test"]["policy"] = policy
    web.commit()
    assert web.deploy().code == 6
    refused = web.deploy(env={"ZUUL_UUID": "u", "ZUUL_PIPELINE": "postmerge", "ZUUL_PROJECT": "web"})
    assert refused.code == 6
    assert "no permit" in refused.err
    assert web.helm_statuses() == []


def test_a_chart_that_does_not_render_changes_nothing(web: Deployment) -> None:
    (web.folder / "chart" / "templates" / "broken.yaml").write_text("{{ .Values.a.b.c.d }}\n{{ fail }")
    web.commit()
    refused = web.deploy()
    assert refused.code == 2
    assert "the chart does not render" in refused.err
    assert web.helm_statuses() == []


def test_a_chart_for_another_namespace_changes_nothing(web: Deployment) -> None:
    web.commit(namespace="default")
    refused = web.deploy()
    assert refused.code == 2
    assert "into the namespace 'default'" in refused.err


def test_an_object_that_the_server_refuses_goes_back(web: Deployment) -> None:
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    web.commit(replicas=-1)
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert web.serving()["revision"] == good


def test_a_chart_from_a_registry(web: Deployment, lab: Any, tmp_path: Path) -> None:
    helm = [str(lab.helm4)]
    subprocess.run([*helm, "package", str(web.folder / "chart"), "-d", str(tmp_path)], check=True, capture_output=True)
    charts = f"oci://{lab.registry}/{web.namespace}/charts"
    pushed = subprocess.run(
        [*helm, "push", str(tmp_path / "web-0.1.0.tgz"), charts, "--plain-http"],
        check=True,
        capture_output=True,
        text=True,
    )
    [digest] = re.findall(r"^Digest: (sha256:[0-9a-f]{64})$", pushed.stdout + pushed.stderr, re.MULTILINE)
    web.git("rm", "-q", "-r", "chart")
    web.cd["deploy"]["chart"] = f"{charts}/web:0.1.0"
    web.commit()
    assert web.deploy().code == 2
    web.targets["services"]["web"]["allow"] = {"charts": [charts]}
    commit = web.commit()
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
    web.cd["deploy"]["chart"] = f"{charts}/web:0.1.0@{digest}"
    commit = web.commit(text="two")
    by_digest = web.deploy()
    assert by_digest.code == 0, by_digest.err
    assert web.serving() == {"revision": commit, "text": "two"}
    web.cd["deploy"]["chart"] = f"{charts}/web:9.9.9"
    web.commit()
    missing = web.deploy()
    assert missing.code == 2
    assert "cannot be pulled" in missing.err


def test_a_chart_from_another_repository(web: Deployment, tmp_path: Path) -> None:
    charts = tmp_path / "charts"
    subprocess.run(["git", "clone", "-q", str(web.folder), str(charts)], check=True, capture_output=True)
    web.git("rm", "-q", "-r", "chart")
    at = {"repository": f"file://{charts}", "commit": web.git("rev-parse", "HEAD"), "path": "chart"}
    web.cd["deploy"]["chart"] = at
    web.targets["services"]["web"]["allow"] = {"charts": [f"file://{charts}"]}
    commit = web.commit()
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["revision"] == commit
    web.cd["deploy"]["chart"] = {**at, "commit": "0" * 40}
    web.commit()
    missing = web.deploy()
    assert missing.code == 2
    assert "cannot be fetched" in missing.err


def test_a_missing_namespace_is_told(web: Deployment) -> None:
    web.targets["services"]["web"]["environments"]["test"]["namespace"] = "not-there"
    web.commit()
    refused = web.deploy()
    assert refused.code == 2
    assert "has no namespace 'not-there'" in refused.err
    assert "kubectl create namespace" in refused.err


def test_an_unknown_environment_is_told(web: Deployment) -> None:
    refused = web.deploy("--environment", "moon")
    assert refused.code == 2
    assert "choose by --environment: test" in refused.err


def test_credentials_without_the_right_are_told(web: Deployment, tmp_path: Path) -> None:
    web.kubectl("create", "serviceaccount", "nobody")
    token = web.kubectl("create", "token", "nobody").strip()
    config = json.loads(web.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token}
    (tmp_path / "nobody.kubeconfig").write_text(json.dumps(config))
    plant("the token of nobody", token, tmp_path / "nobody.kubeconfig")
    web.targets["environments"]["test"]["kubeconfig"] = str(tmp_path / "nobody.kubeconfig")
    web.commit()
    refused = web.deploy()
    assert refused.code == 77, refused.err
    assert "does not allow it" in refused.err
    assert token not in refused.err + refused.out


def test_no_cluster_is_told(web: Deployment, tmp_path: Path) -> None:
    config = json.loads(web.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "gone.kubeconfig").write_text(json.dumps(config))
    web.targets["environments"]["test"]["kubeconfig"] = str(tmp_path / "gone.kubeconfig")
    web.commit()
    refused = web.deploy()
    assert refused.code == 69, refused.err
    assert "cannot be reached" in refused.err


def test_all_mistakes_of_both_files_are_told_at_once(web: Deployment) -> None:
    web.cd = {"service": "Not A Name", "deploy": {"verify": {"soak": "soon"}}, "colour": 1}
    web.targets["environments"]["test"]["budget"] = 180
    web.commit()
    refused = web.deploy()
    assert refused.code == 2
    for path in ("service:", "deploy.verify.soak:", "(top): unknown key 'colour'", "environments.test.budget:"):
        assert path in refused.err, path
    assert "Traceback" not in refused.err


def started(web: Deployment) -> subprocess.Popen[str]:
    """A deploy that hangs in a hook, with Helm at work on it."""
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: any(status.startswith("pending") for _, status in web.helm_statuses()))
    until(lambda: web.get("job", "web-pre")["status"].get("active"))
    return process


def test_a_release_that_somebody_works_on_is_left_alone_and_ctrl_c_is_recorded(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.commit(hook=HANG)
    process = started(web)
    second = web.deploy()
    assert second.code == 9, second.err
    assert "another run holds the release" in second.err
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert web.record()["revisions"][-1]["status"] == "interrupted"
    assert web.get("lease", "cd-web")["spec"]["holderIdentity"] == ""
    web.commit(text="after")
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.serving()["text"] == "after"


def test_a_run_that_is_terminated_while_pods_come_up_is_gone_on_with(web: Deployment) -> None:
    assert web.deploy().code == 0
    web.commit(program=HANG)
    process = web.start("helm-deploy", "--digest", web.digest)
    until(lambda: web.helm_statuses()[-1] == (2, "deployed"))
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["outcome"]) == (143, "interrupted")
    assert [e["status"] for e in web.record()["revisions"]] == ["verified", "interrupted"]
    back = web.run("helm-rollback")
    assert back.code == 0, back.err
    assert back.result["rolled_back_to"] == 1


def test_a_commit_that_was_never_published_is_told(web: Deployment) -> None:
    refused = web.run("helm-deploy")
    assert refused.code == 5, refused.err
    assert "run publish-tag" in refused.err


@pytest.mark.parametrize("live", [False, True], ids=["pending-install", "pending-upgrade"])
def test_what_a_killed_run_left_is_healed_by_the_next(web: Deployment, live: bool) -> None:
    if live:
        assert web.deploy().code == 0
    web.commit(hook=HANG)
    kill_hard(started(web))
    assert web.helm_statuses()[-1][1].startswith("pending-")
    commit = web.commit(text="after")
    done = web.deploy()
    assert done.code == 0, done.err
    assert "by a run that died" in done.err
    assert web.serving() == {"revision": commit, "text": "after"}
    assert web.helm_statuses()[-1][1] == "deployed"
    assert web.record()["revisions"][-1]["status"] == "verified"


def test_a_pending_upgrade_over_a_failed_install_is_healed_without_removing_anything(web: Deployment) -> None:
    web.commit(hook=CRASH)
    assert web.deploy().code == 8
    web.commit(hook=HANG)
    kill_hard(started(web))
    assert [status for _, status in web.helm_statuses()] == ["failed", "pending-upgrade"]
    web.commit(text="after")
    done = web.deploy()
    assert done.code == 0, done.err
    assert web.helm_statuses()[0] == (1, "failed"), "an uninstall would have begun at 1 again"
    assert web.serving()["text"] == "after"


# `helm template` has no cluster to look things up in: this Deployment exists only where it is really applied.
HIDDEN = """\
{{- if lookup "v1" "Namespace" "" .Release.Namespace }}
apiVersion: apps/v1
kind: Deployment
metadata: {name: hidden}
spec:
  selector: {matchLabels: {app: hidden}}
  template:
    metadata: {labels: {app: hidden}}
    spec:
      containers:
        - name: hidden
          image: {{ .Values.image.repository }}@{{ .Values.image.digest }}
          command: [python3, -c, "raise SystemExit(3)"]
{{- end }}
"""

# To Helm a list is whatever has items, and what is in one and has no kind is of the list's.
LISTED = """\
apiVersion: apps/v1
kind: DeploymentList
items:
  - metadata: {name: listed}
    spec:
      selector: {matchLabels: {app: listed}}
      template:
        metadata: {labels: {app: listed}}
        spec:
          containers:
            - name: listed
              image: {{ .Values.image.repository }}@{{ .Values.image.digest }}
              command: [python3, -c, "raise SystemExit(3)"]
"""


@pytest.mark.parametrize(
    ("name", "template"), [("hidden", HIDDEN), ("listed", LISTED)], ids=["only in the cluster", "in a list"]
)
def test_what_is_no_plain_part_of_the_chart_is_judged_too(any_helm: Deployment, name: str, template: str) -> None:
    web = any_helm
    good = web.git("rev-parse", "HEAD")
    assert web.deploy().code == 0
    (web.folder / "chart" / "templates" / f"{name}.yaml").write_text(template)
    web.commit()
    failed = web.deploy()
    assert failed.code == 7, failed.err
    assert f"pod {name}-" in failed.err
    assert web.serving()["revision"] == good


def test_a_release_that_was_removed_and_installed_again_begins_anew(web: Deployment) -> None:
    for text in ("one", "two"):
        web.commit(text=text)
        assert web.deploy().code == 0
    helm = ["helm", "uninstall", "web", "-n", web.namespace, "--wait"]
    subprocess.run(helm, env=dict(web.env), check=True, capture_output=True)
    commit = web.commit(text="three")
    done = web.deploy()
    assert (done.code, done.result["revision"]) == (0, 1), done.err
    listed = web.run("helm-rollback", "--list").result["revisions"]
    assert [(row["revision"], row["commit"], row["live"]) for row in listed] == [(1, commit, True)]
    assert web.run("helm-rollback", "--to", "2").code == 2
    assert web.run("helm-rollback").code == 2
