"""The Collector that the other tests lean on: what is sent to it is what is read back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpExporter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from tests.e2e.collector import Collector

_CONFIGS = Path(__file__).resolve().parents[2] / "collector-config"
_TRACE = 0x0AF7651916CD43DD8448EB211C80319C
_START = 1_700_000_000_123_456_789


def _span(name: str = "GET", **attributes: Any) -> ReadableSpan:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        name=name,
        context=SpanContext(_TRACE, 0x00F067AA0BA902B7, False, trace_flags=sampled),
        parent=SpanContext(_TRACE, 0x53995C3F42CD8AD8, False, trace_flags=sampled),
        resource=Resource({"service.name": "shop", "process.pid": 42}),
        attributes=attributes,
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR, "refused"),
        start_time=_START,
        end_time=_START + 1_500,
    )


def _exporter(collector: Collector, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        return GrpcExporter(endpoint=collector.grpc_endpoint, insecure=True)
    return HttpExporter(endpoint=f"{collector.http_endpoint}/v1/traces")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_reads_back_every_field_that_was_sent(collector: Collector, protocol: str) -> None:
    exporter = _exporter(collector, protocol)
    sent: dict[str, Any] = {
        "text": "é",
        "whole": 2**62,
        "half": 0.5,
        "yes": True,
        "many": ("a", "b"),
    }
    assert exporter.export([_span(**sent)]) is SpanExportResult.SUCCESS
    exporter.shutdown()

    (span,) = collector.wait_spans(1)

    assert span["trace_id"] == f"{_TRACE:032x}"
    assert span["span_id"] == "00f067aa0ba902b7"
    assert span["parent_span_id"] == "53995c3f42cd8ad8"
    assert (span["name"], span["kind"]) == ("GET", 3)
    assert (span["start"], span["end"]) == (_START, _START + 1_500)
    assert (span["status"], span["status_message"]) == (2, "refused")
    assert span["attributes"] == {**sent, "many": ["a", "b"]}
    assert span["resource"] == {"service.name": "shop", "process.pid": 42}


def test_comes_back_on_the_same_ports_with_its_spans(collector: Collector) -> None:
    for name in ("before", "after"):
        exporter = _exporter(collector, "http")
        assert exporter.export([_span(name)]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        collector.stop()
        collector.start()
    assert [span["name"] for span in collector.wait_spans(2)] == ["before", "after"]


def test_gateway_passes_spans_on_and_keeps_them_while_the_store_is_away(
    collector: Collector, collector_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = {"BACKEND_OTLP_ENDPOINT": f"127.0.0.1:{collector.grpc_port}"}
    folder = tmp_path_factory.mktemp("gateway")
    with Collector(collector_binary, folder, config="gateway.yaml", env=store) as gateway:
        collector.stop()
        exporter = _exporter(gateway, "grpc")
        assert exporter.export([_span("sent while the store is away")]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        collector.start()
        (span,) = collector.wait_spans(1, timeout=60)
    assert span["name"] == "sent while the store is away"


def test_waiting_in_vain_says_what_came(collector: Collector) -> None:
    with pytest.raises(AssertionError, match="has 0 spans"):
        collector.wait_spans(1, timeout=0.1)


@pytest.mark.parametrize("config", sorted(_CONFIGS.glob("[!b]*.yaml")), ids=lambda path: path.name)
def test_example_configuration_is_valid(collector_binary: Path, config: Path) -> None:
    done = subprocess.run(
        [collector_binary, "validate", "--config", config],
        env={**os.environ, "BACKEND_OTLP_ENDPOINT": "jaeger:4317"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
