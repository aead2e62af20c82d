"""Metrics as Prometheus' own parser reads them: what a file says after many runs, and what a Pushgateway is given."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from stand_ins import Fault, Server, serving
from test_checks import GOING, Story

from cdlib.errors import Unavailable, UsageProblem
from cdlib.report.metrics import FAMILIES, MOST_SERVICES, Samples, samples
from cdlib.report.prometheus import push, write

ABOUT = {"service": "hello", "environment": "production"}
OF = {"command": "helm-deploy", **ABOUT}


def deployed(
    code: int = 0, *, about: dict[str, str] = ABOUT, stages: tuple[str, ...] = GOING, **result: Any
) -> Samples:
    return samples(Story().stages(*stages).end(code), result, about)


def value(text: str, name: str, **labels: str) -> float | None:
    found = {
        tuple(sorted(sample.labels.items())): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
        if sample.name == name
    }
    return found.get(tuple(sorted({**OF, **labels}.items())))


def test_a_run_says_how_long_it_took_and_how_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "cd.prom"
    write(file, deployed())
    text = file.read_text()
    assert value(text, "cd_run_duration_seconds") == len(GOING) and value(text, "cd_run_success") == 1
    assert value(text, "cd_stage_duration_seconds", stage="http") == 2, "two checks, together"
    assert value(text, "cd_runs_total", exit_code="0") == 1
    assert value(text, "cd_run_last_success_timestamp_seconds") == value(text, "cd_run_end_timestamp_seconds")
    assert [path.name for path in tmp_path.glob("*.prom")] == ["cd.prom"], "nothing half-written that would be read"
    assert list(tmp_path.glob(".cd.prom.[0-9]*")) == []


def test_counters_go_on_and_gauges_are_the_last_runs(tmp_path: Path) -> None:
    file = tmp_path / "cd.prom"
    write(file, deployed())
    good = value(file.read_text(), "cd_run_last_success_timestamp_seconds")
    for _ in range(2):
        write(file, deployed(7, stages=("helm upgrade",), rolled_back_to=3))
    write(file, deployed(about={**ABOUT, "service": "other"}))
    text = file.read_text()
    assert value(text, "cd_runs_total", exit_code="7") == 2 and value(text, "cd_runs_total", exit_code="0") == 1
    assert value(text, "cd_rollbacks_total", kind="automatic") == 2
    assert value(text, "cd_run_seconds_total") == len(GOING) + 2
    assert value(text, "cd_run_exit_code") == 7 and value(text, "cd_run_success") == 0
    assert value(text, "cd_stage_duration_seconds", stage="soak") is None, "this run had none"
    assert value(text, "cd_run_last_success_timestamp_seconds") == good, "still when it last went well"
    assert value(text, "cd_run_success", service="other") == 1, "others stay as they were"


def test_rollbacks_by_hand_and_the_lead_time(tmp_path: Path) -> None:
    file = tmp_path / "cd.prom"
    back = Story("helm-rollback").stages("helm rollback").end(0)
    write(file, samples(back, {"rolled_back_to": 3, "outcome": "done"}, ABOUT))
    write(file, samples(back, {"rolled_back_to": 3, "outcome": "unchanged"}, ABOUT))
    write(file, samples(Story("gerrit-comment").end(0), {"lead_time_s": 58.5}, ABOUT))
    write(file, samples(Story("gerrit-comment").end(0), {}, ABOUT))
    text = file.read_text()
    assert value(text, "cd_rollbacks_total", command="helm-rollback", kind="manual") == 1
    assert value(text, "cd_lead_time_seconds", command="gerrit-comment") == 58.5


def test_many_runs_at_once_lose_nothing(tmp_path: Path) -> None:
    file, runs = tmp_path / "cd.prom", 12
    threads = [threading.Thread(target=write, args=(file, deployed())) for _ in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(file.read_text(), "cd_runs_total", exit_code="0") == runs


def test_labels_are_few_and_names_follow_the_conventions(tmp_path: Path) -> None:
    file = tmp_path / "cd.prom"
    many = {
        key: number
        for i in range(MOST_SERVICES)
        for key, number in samples(Story("build-image").end(0), {}, {"service": f"s{i}"}).items()
    }
    write(file, many)
    for hostile in ('"}\n# TYPE x', "\\", "ü" * 300):
        write(file, samples(Story("build-image").end(0), {}, {"service": hostile}))
    names = {s.labels["service"] for m in text_string_to_metric_families(file.read_text()) for s in m.samples}
    assert names == {*(f"s{i}" for i in range(MOST_SERVICES)), "other"}
    for name, family in FAMILIES.items():
        assert name.startswith("cd_") and name.endswith("_total") is (family.kind == "counter")
        assert name.endswith(("_seconds", "_total", "_success", "_exit_code")) and family.help.endswith(".")


@pytest.mark.parametrize("content", ["up 1\n", "cd_run_success 1\n", "cd_run_success{", "\x00", "no metrics"])
def test_a_file_of_somebody_else_stays_as_it_is(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.prom"
    file.write_text(content)
    with pytest.raises(UsageProblem, match="not ours"):
        write(file, deployed())
    assert file.read_text() == content


def test_a_pushgateway_is_given_the_gauges_of_a_group_of_its_own() -> None:
    with serving(Server(lambda _: (200, {}, b""))) as gateway:
        push(f"{gateway.url}/", deployed(about={"service": "a/b"}), 5)
    (seen,) = gateway.seen
    *_, job, _, command, _, service, _, environment = seen.path.split("/")
    decoded = [base64.urlsafe_b64decode(word).decode() for word in (job, command, service)]
    assert decoded == ["cd", "helm-deploy", "a/b"] and environment == "=" and seen.method == "POST"
    text = seen.body.decode()
    assert value(text, "cd_run_success", service="a/b", environment="") == 1 and "_total" not in text


def test_what_a_pushgateway_does_not_take_is_said_without_secrets() -> None:
    with serving(Server(lambda _: (200, {}, b""))) as gateway:
        gateway.faults.append(Fault("POST", "", 400, b"pushed metrics are invalid"))
        with pytest.raises(Unavailable, match="localhost answers 400: pushed metrics are invalid"):
            push(gateway.url, deployed(), 5)
    with pytest.raises(Unavailable, match="localhost does not answer"):
        push(gateway.url, deployed(), 5)
    for url in ("http://me:pass@word@host", "ftp://host", "host:9091", "http://:secret@"):
        with pytest.raises(UsageProblem) as raised:
            push(url, deployed(), 5)
        assert "pass" not in raised.value.message.replace("password", "") and "secret" not in raised.value.message
