"""What is kept of rollouts that fail, on a real cluster: the cause, before it is gone, and no Secret's value."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import prepare, python
from deployments import CRASH, Deployment, Ran, until
from test_hooks import write_hook

VALUE = "open-sesame-4711"
SECRET = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"},
                     "stringData": {"password": VALUE}})  # fmt: skip
WORD = {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}}
# Ready, and answers what it should not with what nobody should see.
LEAKY = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print('boom: cannot log in', flush=True)
        self.send_response(200 if self.path == '/healthz' else 500)
        self.end_headers()
        self.wfile.write(f"no such user: {os.environ['WORD']}".encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('', 8080), Handler).serve_forever()
"""
ALL_YAML = Path("chart") / "templates" / "all.yaml"


def knows(container: dict[str, Any]) -> dict[str, Any]:
    """The container with the Secret in its variables."""
    return container | {"env": [*container["env"], WORD]}


def everything(web: Deployment, ran: Ran) -> str:
    """All that a deploy has shown or written."""
    files = [file.read_text(encoding="utf-8") for file in (web.folder / ".cd").rglob("*") if file.is_file()]
    return "\n".join([*files, ran.out, ran.err, json.dumps(web.record())])


def add(web: Deployment, o: dict[str, Any]) -> None:
    """Add an object to the service's chart."""
    file = web.folder / "chart" / "templates" / "more.yaml"
    file.write_text(yaml.safe_dump(o), encoding="utf-8")


def migrate(program: str, *, restart: str = "Never", **spec: Any) -> dict[str, Any]:
    """A Job that is no hook."""
    pod = {"restartPolicy": restart, "terminationGracePeriodSeconds": 0, "containers": [python(program, "main")]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"},
            "spec": {"template": {"spec": pod}, **spec}}  # fmt: skip


def test_a_check_that_fails_keeps_the_log_of_pods_that_are_ready_and_no_secret(web: Deployment) -> None:
    prepare(web, ("apply", SECRET))
    file = web.folder / ALL_YAML
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace("          env:\n", f"          env:\n            - {json.dumps(WORD)}\n"), encoding="utf-8"
    )
    web.cd["deploy"]["verify"] = {"http": [{"path": "/"}]}
    web.commit(program=LEAKY)
    failed = web.deploy()
    assert failed.code == 8, failed.err
    assert "GET /: answered 500, expected 200: no such user: [hidden]" in failed.err
    assert "boom: cannot log in" in web.evidence()
    assert "  boom: cannot log in" in failed.err, "a person sees it first"
    assert VALUE not in everything(web, failed)


def test_what_a_chart_s_test_prints_is_hidden(web: Deployment) -> None:
    prepare(web, ("apply", SECRET))
    web.cd["deploy"]["verify"] = {"helm_test": True}
    program = "import os; print('logged in with', os.environ['WORD'])"
    write_hook(web, knows(python(program, "hook")), on="test", kind="Pod")
    web.commit()
    done = web.deploy()
    assert done.code == 0, done.err
    assert "logged in with [hidden]" in everything(web, done)
    assert VALUE not in everything(web, done)


@pytest.mark.parametrize("hook", [False, True], ids=["a Job that deletes its pod", "a hook that Helm deletes"])
def test_the_log_of_a_job_that_is_gone_is_kept(web: Deployment, hook: bool) -> None:
    if hook:
        write_hook(web, python(f"import time; time.sleep(3); {CRASH}", "main"), backoffLimit=0)
        file = web.folder / "chart" / "templates" / "hook.yaml"
        file.write_text(file.read_text().replace("before-hook-creation", "before-hook-creation,hook-failed"))
    else:
        add(web, migrate(CRASH, restart="OnFailure", backoffLimit=1))
    web.commit()
    failed = web.deploy()
    assert failed.code == 8, failed.err
    assert "boom: no database" in web.evidence()
    assert "  boom: no database" in failed.err


@pytest.mark.parametrize(("program", "code"), [(CRASH, 8), ("print('done')", 0)], ids=["failed", "ended well"])
def test_a_job_that_is_gone_at_once_is_judged_by_how_it_ended(web: Deployment, program: str, code: int) -> None:
    add(web, migrate(program, backoffLimit=0, ttlSecondsAfterFinished=0))
    web.commit()
    ran = web.deploy()
    assert ran.code == code, ran.err
    assert ("the Job migrate has failed" in ran.err) is (code == 8)


def test_pods_that_are_replaced_as_the_soak_ends_are_waited_for(web: Deployment) -> None:
    web.cd["deploy"]["verify"] = {"soak": "6s"}
    web.commit(replicas=2)
    began = time.time()
    process = web.start("helm-deploy", "--digest", web.digest)
    events = web.folder / ".cd" / "events.jsonl"
    until(lambda: events.exists() and '"serving"' in events.read_text(encoding="utf-8"))
    time.sleep(5.0)
    web.kubectl("delete", "pods", "--all", "--wait=false")
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert time.time() - began > 6.0
    assert web.record()["revisions"][-1]["status"] == "verified"


def test_a_rollback_that_fails_overwrites_nothing(web: Deployment) -> None:
    write_hook(web, python("", "hook") | {"command": ["/no/such"]}, on="pre-rollback")
    web.commit()
    assert web.deploy().code == 0
    web.commit(program=CRASH)
    failed = web.deploy()
    assert failed.code == 8, failed.err
    folder = web.folder / ".cd" / "evidence"
    reasons = [
        json.loads((folder / name).read_text())["faults"][0]["reason"]
        for name in ("verdict.json", "rollback/verdict.json")
    ]
    assert reasons == ["CrashLoop", "StartError"]
    assert "boom: no database" in web.evidence()
