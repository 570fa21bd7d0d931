"""The right exporter for the flag and the environment, and only what it needs is loaded."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from otel_ebpf.errors import UsageError
from otel_ebpf.export.console import ConsoleExporter
from otel_ebpf.export.factory import make_exporter, make_queue
from otel_ebpf.export.json_lines import JsonExporter
from otel_ebpf.export.otlp_grpc import OtlpGrpcExporter
from otel_ebpf.export.otlp_http import OtlpHttpExporter
from otel_ebpf.export.sdk import SdkExporter
from tests.unit.export.spans import START, span

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    ("output", "env", "kind"),
    [
        ("console", {ENDPOINT: "http://127.0.0.1:4317"}, ConsoleExporter),
        ("json", {}, JsonExporter),
        ("otlp", {}, OtlpGrpcExporter),
        ("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, OtlpHttpExporter),
        ("auto", {}, ConsoleExporter),
        ("auto", {ENDPOINT: "http://127.0.0.1:4317"}, OtlpGrpcExporter),
        ("auto", {ENDPOINT: "http://127.0.0.1:4318"}, OtlpHttpExporter),
        ("auto", {"OTEL_TRACES_EXPORTER": "otlp"}, OtlpGrpcExporter),
        (
            "auto",
            {ENDPOINT: "http://127.0.0.1:4317", "OTEL_TRACES_EXPORTER": "console"},
            ConsoleExporter,
        ),
        ("auto", {"OTEL_TRACES_EXPORTER": "otlp_proto_http"}, SdkExporter),
    ],
)
def test_the_output_that_is_asked_for_is_made(output: str, env: dict[str, str], kind: type) -> None:
    exporter = make_exporter(output, env, io.StringIO())
    assert isinstance(exporter, kind)
    exporter.shutdown()


def test_none_throws_spans_away_and_counts_them() -> None:
    exporter = make_exporter("auto", {"OTEL_TRACES_EXPORTER": "none"}, io.StringIO())
    exporter.export([span(1), span(2)])
    assert exporter.stats() == {"spans_exported": 0, "spans_dropped.no_exporter": 2}


@pytest.mark.parametrize(
    ("output", "env", "where"),
    [
        ("xml", {}, "--output"),
        ("auto", {"OTEL_TRACES_EXPORTER": "nowhere"}, "OTEL_TRACES_EXPORTER"),
        ("otlp", {ENDPOINT: "ftp://x"}, ENDPOINT),
    ],
)
def test_what_cannot_be_is_an_error_with_a_mend(
    output: str, env: dict[str, str], where: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make_exporter(output, env, io.StringIO())
    assert caught.value.where == where
    assert caught.value.mend


def test_json_through_the_queue_keeps_every_span_in_order() -> None:
    stream = io.StringIO()
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "10"}
    queue = make_queue(make_exporter("json", env, stream), env, block=True)
    queue.put_all(span(n) for n in range(1, 501))
    assert queue.drain(20)
    assert stream.getvalue().count("\n") == 500


@pytest.mark.parametrize(
    ("output", "variable", "unwanted"),
    [
        ("console", "", "grpc opentelemetry.sdk requests ssl"),
        ("json", "", "grpc opentelemetry.sdk requests ssl"),
        ("otlp", "http/protobuf", "grpc opentelemetry.sdk requests google.protobuf"),
        ("otlp", "grpc", "opentelemetry.sdk requests google.protobuf http.client"),
    ],
)
def test_only_what_the_output_needs_is_loaded(output: str, variable: str, unwanted: str) -> None:
    program = f"""
import io, sys
from otel_ebpf.export.factory import make_exporter
from otel_ebpf.export.sampling import TraceSampler
from otel_ebpf.spans.builder import SpanBuilder
env = {{"OTEL_EXPORTER_OTLP_PROTOCOL": {variable!r}}}
make_exporter({output!r}, env, io.StringIO())
TraceSampler.from_env(env)
print(*[name for name in {unwanted!r}.split() if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


def test_any_exporter_of_the_sdk_gets_whole_spans() -> None:
    memory = InMemorySpanExporter()
    exporter = SdkExporter(memory)
    made = span(3, 2, kind=3, attributes={"a": [1], "big": 2**70, "bad": "\ud800"})
    made.status, made.status_message = 2, "reset"
    made.trace_state, made.parent_remote = "k=v", True
    assert exporter.export([made, span(4)]).exported == 2
    first, second = memory.get_finished_spans()
    context, parent = first.get_span_context(), first.parent
    assert context is not None and parent is not None
    assert (context.trace_id, context.span_id, parent.span_id) == (1, 3, 2)
    assert context.trace_flags.sampled and parent.is_remote and not context.is_remote
    assert context.trace_state.to_header() == "k=v"
    assert (first.kind, first.name) == (SpanKind.CLIENT, "GET")
    assert (first.start_time, first.end_time) == (START, START + 1_000_000)
    assert (first.status.status_code, first.status.description) == (StatusCode.ERROR, "reset")
    assert dict(first.attributes or {}) == {"a": [1], "big": hex(2**70), "bad": "\ufffd"}
    assert dict(first.resource.attributes) == {"service.name": "shop"}
    assert second.parent is None
    assert first.resource is second.resource


class Failing(SpanExporter):
    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.shutdowns = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        result: SpanExportResult = self.outcome
        return result

    def shutdown(self) -> None:
        self.shutdowns += 1


def test_what_an_sdk_exporter_refuses_is_counted() -> None:
    refusing = Failing(SpanExportResult.FAILURE)
    exporter = SdkExporter(refusing)
    assert exporter.export([span()]).dropped == {"sdk_exporter_failed": 1}
    raising = SdkExporter(Failing(OSError("no")))
    assert raising.export([span(), span(2)]).dropped == {"sdk_exporter_raised": 2}
    exporter.shutdown()
    exporter.shutdown()
    assert refusing.shutdowns == 1
