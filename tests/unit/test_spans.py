"""Traces as a receiver gets them: a real HTTP server, and what OTLP's own messages say."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from stand_ins import Fault, Server, serving
from test_checks import GOING, Story, recorded

from cdlib.errors import Unavailable, UsageProblem
from cdlib.report.spans import send, wanted

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FACTS = {"service": "hello", "environment": "production", "commit": "c" * 40, "pods": ["no text"], "cause": ""}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(Server(lambda _: (200, {"Content-Type": "application/x-protobuf"}, b""))) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def export(run: Any, receiver: Server, seconds: float = 5, **environment: str) -> None:
    send(run, FACTS, {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **environment}, seconds)


def received(receiver: Server) -> dict[str, Span]:
    (seen,) = receiver.requests("POST", "^/v1/traces$")
    assert {name.lower(): value for name, value in seen.headers.items()}["content-type"] == "application/x-protobuf"
    (resource,) = ExportTraceServiceRequest.FromString(seen.body).resource_spans
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "cdlib"
    return {span.name: span for scope in resource.scope_spans for span in scope.spans}


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


def test_a_span_of_the_run_and_within_it_one_of_each_stage(receiver: Server) -> None:
    run, result = recorded("serving")
    send(run, result, {}, 5)
    spans = received(receiver)
    root = spans.pop(run.command)
    assert list(spans) == [stage.name for stage in run.stages] and len(spans) > 2
    assert {span.parent_span_id for span in spans.values()} == {root.span_id} and not root.parent_span_id
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    for stage in run.stages:
        span = spans[stage.name]
        assert stage.end is not None
        assert span.start_time_unix_nano == pytest.approx(stage.start * 1e9, abs=2000)
        assert span.end_time_unix_nano == pytest.approx(stage.end * 1e9, abs=2000)
        assert span.status.code == Status.STATUS_CODE_OK
    assert root.start_time_unix_nano == pytest.approx(run.start * 1e9, abs=2000)
    assert attributes(root)["deployment.environment.name"] == result["environment"]


def test_a_failure_marks_the_run_and_the_stage_that_was_judged(receiver: Server) -> None:
    run = (
        Story()
        .stages(*GOING[:3])
        .add("verdict", outcome="failed", reason="why")
        .stages("evidence")
        .end(7, "rolled-back")
    )
    export(run, receiver)
    spans = received(receiver)
    bad = {name for name, span in spans.items() if span.status.code == Status.STATUS_CODE_ERROR}
    assert bad == {"helm-deploy", "rollout"} and spans["helm-deploy"].status.message == "rolled-back"
    told = attributes(spans["helm-deploy"])
    assert told == {"cd.run": "r", "cd.exit_code": 7, "cd.outcome": "rolled-back", "cd.service": "hello",
                    "deployment.environment.name": "production", "vcs.ref.head.revision": "c" * 40}  # fmt: skip


def test_it_joins_the_trace_of_the_ci(receiver: Server) -> None:
    run = Story().stages("rollout").end(0)
    export(run, receiver, TRACEPARENT=f"00-{TRACE}-{PARENT}-01", TRACESTATE="zuul=1")
    root = received(receiver)["helm-deploy"]
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.trace_state) == (TRACE, PARENT, "zuul=1")


@pytest.mark.parametrize("parent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
def test_no_parent_or_a_broken_one_begins_a_trace(receiver: Server, parent: str) -> None:
    export(Story().end(0), receiver, TRACEPARENT=parent)
    root = received(receiver)["helm-deploy"]
    assert root.trace_id.hex() not in (TRACE, "0" * 32) and not root.parent_span_id


def test_a_trace_that_is_not_sampled_is_not_sent(receiver: Server) -> None:
    export(Story().end(0), receiver, TRACEPARENT=f"00-{TRACE}-{PARENT}-00")
    assert receiver.seen == []


def test_what_a_change_says_is_bounded(receiver: Server) -> None:
    export(Story().stages(f"http|{'x' * 10_000}").end(0), receiver)
    assert len(attributes(received(receiver)["http"])["cd.stage.about"]) == 300


def test_a_receiver_that_is_away_or_says_no(receiver: Server, capfd: pytest.CaptureFixture[str]) -> None:
    receiver.faults.append(Fault("POST", "", 401, b"no"))
    with pytest.raises(Unavailable, match="401"):
        export(Story().end(0), receiver)
    receiver.close()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        export(Story().end(0), receiver, seconds=0.3)
    assert time.monotonic() - began < 2 and capfd.readouterr() == ("", ""), "the warning is ours to say"


def test_another_protocol_is_refused(receiver: Server) -> None:
    with pytest.raises(UsageProblem, match="grpc"):
        export(Story().end(0), receiver, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")


def test_without_the_library_it_says_what_to_install(receiver: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageProblem, match="not installed") as told:
        export(Story().end(0), receiver)
    assert "pip install 'PATH[otel]'" in told.value.hint  # by its name, pip finds somebody else's


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_whether_anybody_asks(environment: dict[str, str], asked: bool) -> None:
    assert wanted(environment) is asked
