"""A run as a trace: one span of the command, and within it one of each stage, sent by OTLP over HTTP.

The environment says where to, as OpenTelemetry has it: OTEL_EXPORTER_OTLP_ENDPOINT with its headers and certificates.
TRACEPARENT, where a CI gives one, is what the run is a part of (W3C Trace Context).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cdlib.errors import Unavailable, UsageProblem
from cdlib.report.timeline import CommandRun, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXTRA = "install cdlib's wheel or checkout with its extra, by its path: pip install 'PATH[otel]'"
_LONGEST = 300  # characters of an attribute
_FACTS = {"environment": "deployment.environment.name", "service": "cd.service", "release": "cd.release",
          "commit": "vcs.ref.head.revision", "digest": "cd.digest", "cause": "cd.cause"}  # fmt: skip


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether anybody asks for traces."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in _ENDPOINTS)


def send(run: CommandRun, facts: Mapping[str, Any], environment: Mapping[str, str], seconds: float) -> None:
    """Send the spans of a run that has ended, `facts` as attributes, within so many seconds.

    Raises UsageProblem where OpenTelemetry is not installed, or another protocol is asked for; Unavailable.
    """
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise UsageProblem(
            f"traces are sent by http/protobuf only, and {protocol} is asked for",
            hint="set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf",
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as problem:
        raise UsageProblem("OpenTelemetry is not installed", hint=_EXTRA) from problem
    with _heard() as said:
        spans = _spans(run, facts, environment)
        if not spans:  # the trace that it is a part of is not sampled
            return
        done = OTLPSpanExporter(timeout=seconds).export(spans)
    if done is not SpanExportResult.SUCCESS:
        raise Unavailable(
            said[-1] if said else "the receiver did not take them", hint="see OTEL_EXPORTER_OTLP_ENDPOINT"
        )


def _spans(run: CommandRun, facts: Mapping[str, Any], environment: Mapping[str, str]) -> list[ReadableSpan]:
    """The spans, those of the stages first; none where the parent is not sampled."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    found: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            found.append(span)

    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "cdlib"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("cdlib")
    given = {name: environment.get(name.upper(), "") for name in ("traceparent", "tracestate")}
    parent = TraceContextTextMapPropagator().extract({name: value for name, value in given.items() if value})
    root = tracer.start_span(run.command, parent, start_time=_nanoseconds(run.start), attributes=_about(run, facts))
    inside = set_span_in_context(root, parent)
    for stage in run.stages:
        _stage(tracer, run, stage, inside)
    _end(root, run.exit_code == 0, run.outcome, run.last)
    return found


def _stage(tracer: Tracer, run: CommandRun, stage: Stage, inside: Any) -> None:
    attributes = {"cd.stage.about": stage.about[:_LONGEST]} if stage.about else {}
    span = tracer.start_span(stage.name, inside, start_time=_nanoseconds(stage.start), attributes=attributes)
    judged = stage is run.judged
    _end(span, stage.outcome == "ok" and not judged, "judged a failure" if judged else stage.outcome,
         stage.end or run.last)  # fmt: skip


def _end(span: Span, good: bool, outcome: str, moment: float) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("cd.outcome", outcome or "no end")
    span.set_status(StatusCode.OK if good else StatusCode.ERROR, None if good else outcome or "no end")
    span.end(_nanoseconds(moment))


def _about(run: CommandRun, facts: Mapping[str, Any]) -> dict[str, str | int]:
    told = {name: facts.get(key) for key, name in _FACTS.items()}
    return {"cd.run": run.id, "cd.exit_code": int(run.exit_code or 0),
            **{name: value[:_LONGEST] for name, value in told.items() if isinstance(value, str) and value}}  # fmt: skip


def _nanoseconds(moment: float) -> int:
    return int(moment * 1_000_000) * 1000


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What OpenTelemetry would write to stderr."""
    said: list[str] = []

    class Hear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage()[:_LONGEST])

    logger, handler = logging.getLogger("opentelemetry"), Hear(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
