"""What is kept of a failed rollout: everything that explains it, and nothing that is secret."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from clusters import kubeconfig
from stand_ins import Seen, Server, serving

from cdlib.deadline import Deadline
from cdlib.redact import Redactor
from cdlib.rollout.api import Api
from cdlib.rollout.confidential import _secrets, without_values
from cdlib.rollout.evidence import FIRST, MOST_PODS, gather
from cdlib.rollout.verdict import Fault, State
from cdlib.run import Run

NS = "/api/v1/namespaces/ns"
JSON = {"Content-Type": "application/json"}


Answers = Callable[[Seen], tuple[int, dict[str, str], bytes]]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def event(kind: str, name: str, reason: str, message: str, type_: str = "Warning") -> dict[str, Any]:
    about = {"kind": kind, "name": name}
    return {"involvedObject": about, "type": type_, "reason": reason, "message": message, "count": 2,
            "lastTimestamp": "2026-01-01T00:00:00Z"}  # fmt: skip


POD = {
    "metadata": {"name": "web-1", "uid": "p1", "managedFields": [{"manager": "kubelet"}]},
    "spec": {
        "initContainers": [{"name": "migrate", "envFrom": [{"secretRef": {"name": "database"}}]}],
        "containers": [
            {"name": "side", "env": [{"name": "PLAIN", "value": "plain-value-of-a-variable"}]},
            {"name": "web", "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "forbidden", "key": "t"}}}]},
        ],
        "volumes": [{"name": "v", "secret": {"secretName": "files"}}],
    },
    "status": {"phase": "Running"},
}
READY = {"metadata": {"name": "web-2", "uid": "p2"}, "spec": {"containers": [{"name": "web"}]},
         "status": {"conditions": [{"type": "Ready", "status": "True"}]}}  # fmt: skip
LOGS = {
    ("web", "false"): "".join(f"now {n}\n" for n in range(3)),
    ("web", "true"): "".join(f"before {n}\n" for n in range(40)) + "cannot log in as root with open-sesame\n",
    ("side", "false"): "side is fine\n",
    ("side", "true"): "unable to retrieve container logs for containerd://1",
    ("migrate", "false"): "migrated with open-sesame and key line two\n",
}
EVENTS = [
    event("Pod", "web-1", "Started", "started", "Normal"),
    event("Pod", "web-1", "BackOff", "back-off, first"),
    event("Pod", "web-1", "BackOff", "back-off, last"),
]
SECRETS = {"database": {"data": {"password": encoded("open-sesame\n"), "binary": "/w=="}},
           "files": {"data": {"key.pem": encoded("key line one\nkey line two\n")}}}  # fmt: skip


def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
    where = urlsplit(seen.path)
    asked = {key: values[0] for key, values in parse_qs(where.query).items()}
    if where.path.endswith("/log"):
        text = LOGS.get((asked["container"], asked["previous"]))
        return (
            (200, {}, text.encode())
            if text is not None and "gone" not in where.path and "x1" not in where.path
            else (400, {}, b"{}")
        )
    if where.path == f"{NS}/events":
        name = asked.get("fieldSelector", "").rpartition("=")[2]
        items = [e for e in EVENTS if not name or e["involvedObject"]["name"] == name]
        quota = event("ReplicaSet", "api-5d8f", "FailedCreate", "exceeded quota: q")
        other = event("ReplicaSet", "other-5d8f", "FailedCreate", "of somebody else")
        return 200, JSON, json.dumps({"items": items if name else [*items, quota, other]}).encode()
    name = where.path.rpartition("/")[2]
    if name in SECRETS:
        return 200, JSON, json.dumps(SECRETS[name]).encode()
    return 403, JSON, b'{"message": "no"}'


@pytest.fixture
def run() -> Run:
    return Run("helm-deploy", Deadline(60.0), Redactor({}))


def gathered(
    run: Run, state: State, tmp_path: Path, answers: Answers = answer, part: str = "", seconds: float = 10.0
) -> list[str]:
    with serving(Server(answers)) as server:
        api = Api(kubeconfig(tmp_path, server.url), None)
        try:
            return gather(run, api, "ns", state, tmp_path / "out", Deadline(seconds), part)
        finally:
            api.close()


def kept(tmp_path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "out" / "evidence" / f"{name}.json").read_text())
    return found


CRASH = State(
    False, "0 of 1 available", (Fault("web-1", "web", "CrashLoop", "ended 3 times", exit_code=3),), (READY, POD)
)


def test_the_first_lines_name_the_cause_and_show_the_log_of_who_is_to_blame(run: Run, tmp_path: Path) -> None:
    lines = gathered(run, CRASH, tmp_path)
    assert lines[0] == "pod web-1, container web: ended 3 times"
    assert lines[1] == "the last lines of web-1, container web:"
    assert lines[13] == "  cannot log in as root with [hidden]"
    assert lines[14:] == ["event BackOff: back-off, last"]
    assert len(lines) <= FIRST


def test_all_of_it_is_on_disk_without_secrets(run: Run, tmp_path: Path) -> None:
    gathered(run, CRASH, tmp_path)
    folder = tmp_path / "out" / "evidence"
    assert sorted(file.name for file in folder.iterdir()) == ["verdict.json", "web-1.json"]
    (fault,) = json.loads((folder / "verdict.json").read_text())["faults"]
    assert fault == {"object": "Pod web-1", "container": "web", "reason": "CrashLoop", "exit_code": 3,
                     "message": "ended 3 times"}  # fmt: skip
    kept = json.loads((folder / "web-1.json").read_text())
    assert kept["object"]["status"] == POD["status"]
    assert kept["logs"]["web"]["now"] == ["now 0", "now 1", "now 2"]
    assert len(kept["logs"]["web"]["previous"]) == 41
    assert kept["logs"]["side"] == {"now": ["side is fine"]}
    assert kept["logs"]["migrate"] == {"now": ["migrated with [hidden] and [hidden]"]}
    assert [e["reason"] for e in kept["events"]] == ["Started", "BackOff", "BackOff"]
    text = "".join(file.read_text() for file in folder.iterdir())
    assert not any(secret in text for secret in ("open-sesame", "key line", "plain-value", "managedFields"))


def test_what_an_earlier_run_has_left_goes(run: Run, tmp_path: Path) -> None:
    gathered(run, CRASH, tmp_path)
    gathered(run, CRASH, tmp_path, part="rollback")
    assert kept(tmp_path, "verdict")["run"] == kept(tmp_path, "rollback/verdict")["run"] == run.events.run_id
    fault = Fault("web-2", "web", "FailedLivenessProbe", "killed 3 times")
    later = Run("helm-deploy", Deadline(60.0), Redactor({}))
    gathered(later, State(True, "", (fault,), (READY,)), tmp_path)
    folder = tmp_path / "out" / "evidence"
    assert sorted(file.name for file in folder.rglob("*.json")) == ["verdict.json", "web-2.json"]
    assert kept(tmp_path, "verdict")["run"] == later.events.run_id


def test_a_pod_that_is_ready_just_now_is_looked_at_where_it_is_to_blame(run: Run, tmp_path: Path) -> None:
    fault = Fault("web-2", "web", "FailedLivenessProbe", "killed 3 times")
    gathered(run, State(True, "", (fault,), (READY,)), tmp_path)
    assert (tmp_path / "out" / "evidence" / "web-2.json").exists()


def test_where_there_is_no_pod_its_maker_is_looked_at(run: Run, tmp_path: Path) -> None:
    fault = Fault("", "", "Quota", "its pods cannot be made", about="Deployment api")
    lines = gathered(run, State(False, "", (fault,)), tmp_path)
    assert lines == ["Deployment api: its pods cannot be made", "event FailedCreate: exceeded quota: q"]
    assert "exceeded quota" in (tmp_path / "out" / "evidence" / "deployment-api.json").read_text()


@pytest.mark.parametrize("reason", ["HttpCheck", "Unsteady", "HelmTest"])
def test_where_no_pod_is_blamed_and_all_are_ready_all_are_looked_at(run: Run, tmp_path: Path, reason: str) -> None:
    pods = tuple({**READY, "metadata": {"name": f"web-{n}", "uid": f"p{n}"}} for n in range(1, 31))
    lines = gathered(run, State(True, "", (Fault("", "", reason, "no"),), pods), tmp_path)
    assert kept(tmp_path, "web-1")["logs"]["web"]["now"] == ["now 0", "now 1", "now 2"]
    assert lines[1] == "the last lines of web-1, container web:"
    assert len(list((tmp_path / "out" / "evidence").iterdir())) == 1 + MOST_PODS


def test_what_a_check_was_answered_is_written_without_secrets(run: Run, tmp_path: Path) -> None:
    fault = Fault("", "", "HttpCheck", "GET /: answered 500, expected 200: no such user: open-sesame")
    lines = gathered(run, State(True, "", (fault,), (POD,)), tmp_path)
    assert lines[0].endswith("no such user: [hidden]")
    assert "open-sesame" not in (tmp_path / "out" / "evidence" / "verdict.json").read_text()


def test_a_secret_of_a_ready_pod_is_hidden_too(run: Run, tmp_path: Path) -> None:
    """What a check was answered may come from any pod."""
    ready = {**POD, "metadata": {"name": "web-3", "uid": "p3"}, "status": READY["status"]}
    lines = gathered(run, State(True, "", (Fault("web-2", "", "R", "open-sesame"),), (READY, ready)), tmp_path)
    assert lines[0] == "pod web-2: [hidden]"


def test_logs_that_may_not_be_read_cost_neither_object_nor_events(run: Run, tmp_path: Path) -> None:
    def answers(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return (403, JSON, b'{"message": "no logs for you"}') if "/log?" in seen.path else answer(seen)

    lines = gathered(run, CRASH, tmp_path, answers)
    found = kept(tmp_path, "web-1")
    assert found["object"]["status"] == POD["status"] and len(found["events"]) == 3 and found["logs"] == {}
    assert lines == [str(CRASH.faults[0]), "event BackOff: back-off, last"]


def test_events_that_may_not_be_read_cost_neither_object_nor_logs(run: Run, tmp_path: Path) -> None:
    def answers(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return (403, JSON, b"{}") if "/events" in seen.path else answer(seen)

    gathered(run, CRASH, tmp_path, answers)
    assert kept(tmp_path, "web-1")["events"] == [] and len(kept(tmp_path, "web-1")["logs"]["web"]["previous"]) == 41


def test_one_containers_log_in_trouble_costs_no_others(run: Run, tmp_path: Path) -> None:
    def answers(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        wrong = "/log?" in seen.path and "container=web" in seen.path
        return (418, JSON, b'{"message": "a teapot"}') if wrong else answer(seen)

    gathered(run, CRASH, tmp_path, answers)
    assert set(kept(tmp_path, "web-1")["logs"]) == {"migrate", "side"}


def test_a_node_that_does_not_answer_takes_only_its_pods_share(run: Run, tmp_path: Path) -> None:
    over = threading.Event()

    def answers(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if "web-0/log?" in seen.path:
            over.wait(9.0)
        return answer(seen)

    silent = {**POD, "metadata": {"name": "web-0", "uid": "p0"}}
    fault = Fault("web-0", "web", "CrashLoop", "ended 3 times")
    try:
        gathered(run, State(False, "", (fault,), (silent, POD)), tmp_path, answers, seconds=2.0)
    finally:
        over.set()
    assert kept(tmp_path, "web-0")["object"]["status"] == POD["status"]
    assert "web" in kept(tmp_path, "web-1")["logs"]


def test_a_rollback_that_fails_leaves_what_made_it_necessary(run: Run, tmp_path: Path) -> None:
    gathered(run, CRASH, tmp_path)
    again = State(False, "", (Fault("web-1", "web", "StuckPod", "is in the way"),), (POD,))
    gathered(run, again, tmp_path, part="rollback")
    assert kept(tmp_path, "verdict")["faults"][0]["reason"] == "CrashLoop"
    assert kept(tmp_path, "rollback/verdict")["faults"][0]["reason"] == "StuckPod"
    assert kept(tmp_path, "rollback/web-1")["pod"] == "web-1"


def test_what_was_kept_of_a_pod_that_is_gone_is_evidence(run: Run, tmp_path: Path) -> None:
    gone = {**POD, "metadata": {"name": "migrate-x1", "uid": "p9"},
            "logs": {"web": {"now": "cannot migrate: open-sesame\n"}}}  # fmt: skip
    fault = Fault("", "", "JobFailed", "the Job migrate has failed", about="Job migrate")
    lines = gathered(run, State(False, "", (fault,), kept=(gone,)), tmp_path)
    assert kept(tmp_path, "migrate-x1")["logs"]["web"] == {"now": ["cannot migrate: [hidden]"]}
    assert lines[:3] == ["Job migrate: the Job migrate has failed", "the last lines of migrate-x1, container web:",
                         "  cannot migrate: [hidden]"]  # fmt: skip


def test_a_log_that_was_kept_is_there_where_its_pod_is_still_listed_and_its_log_is_gone(
    run: Run, tmp_path: Path
) -> None:
    listed = {**POD, "metadata": {"name": "migrate-x1", "uid": "p9"}, "status": {"phase": "Failed"}}
    before = {**listed, "status": {"phase": "Running"}, "logs": {"web": {"now": "cannot migrate\n"}}}
    fault = Fault("migrate-x1", "web", "Ended", "ended with exit code 1")
    gathered(run, State(False, "", (fault,), (listed,), kept=(before,)), tmp_path)
    saved = kept(tmp_path, "migrate-x1")
    assert saved["logs"]["web"] == {"now": ["cannot migrate"]} and "logs" not in saved["object"]
    assert saved["object"]["status"] == {"phase": "Failed"}, "the pod is as it was last"


def test_values_of_a_debugging_containers_variables_are_left_out() -> None:
    secret = {"name": "keys", "key": "k"}
    debugger = {"name": "d", "env": [{"name": "P", "value": "sesame-street"},
                                     {"name": "Q", "valueFrom": {"secretKeyRef": secret}}]}  # fmt: skip
    pod = {"metadata": {"name": "p"}, "spec": {"ephemeralContainers": [debugger]}, "status": {}}
    assert "sesame-street" not in json.dumps(without_values(pod))
    assert list(_secrets(pod["spec"])) == ["keys"]


def test_nothing_that_goes_wrong_stands_in_the_way(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evidence").write_text("a file in the way")
    assert gathered(run, CRASH, tmp_path)[0] == str(CRASH.faults[0])
    lines = gather(run, _Gone(), "ns", CRASH, tmp_path / "other", Deadline(10.0))  # type: ignore[arg-type]
    assert lines == [str(CRASH.faults[0])]


class _Gone:
    """A cluster that has gone away."""

    def get(self, *_: object, **__: object) -> None:
        """No answer."""
        from cdlib.errors import Unavailable

        raise Unavailable("no answer")

    text = get
