"""OTLP/gRPC against a real gRPC server that behaves badly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ebpf.export import otlp
from otel_ebpf.export.otlp_grpc import OtlpGrpcExporter
from otel_ebpf.export.otlp_settings import OtlpSettings
from tests.unit.export.spans import SHOP, process, span

Answer = Callable[[ExportTraceServiceRequest, Any], ExportTraceServiceResponse]


class Receiver(service.TraceServiceServicer):
    """Keeps what it accepts and answers as it is told, then normally."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.metadata: dict[str, str] = {}
        self.asked = threading.Event()

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> Any:
        self.metadata = dict(context.invocation_metadata())
        self.asked.set()
        if self.answers:
            return self.answers.pop(0)(request, context)
        self.requests.append(request)
        return ExportTraceServiceResponse()

    def span_ids(self) -> list[int]:
        return [
            int.from_bytes(each.span_id, "big")
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for each in scope.spans
        ]


@contextmanager
def serving(receiver: Receiver, port: int = 0, **options: int) -> Iterator[int]:
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool, options=[("grpc." + k, v) for k, v in options.items()])
    service.add_TraceServiceServicer_to_server(receiver, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    assert bound
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait(5)
        pool.shutdown()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@contextmanager
def exporting(port: int, **settings: Any) -> Iterator[OtlpGrpcExporter]:
    made = OtlpGrpcExporter(
        OtlpSettings(endpoint=f"127.0.0.1:{port}", **settings), first_pause=0.02
    )
    try:
        yield made
    finally:
        made.shutdown()


def failing(code: Any, details: str = "", trailers: Any = ()) -> Answer:
    def answer(request: ExportTraceServiceRequest, context: Any) -> Any:
        context.set_trailing_metadata(trailers)
        context.abort(code, details)

    return answer


def test_spans_arrive_grouped_by_resource_with_headers(receiver: Receiver) -> None:
    other = process("pay")
    headers = (("x-team", "shop"),)
    with serving(receiver) as port, exporting(port, headers=headers, gzip=True) as exporter:
        result = exporter.export([span(1), span(2, resource=other), span(3)])
    assert (result.exported, result.dropped) == (3, {})
    names = [
        each.resource.attributes[0].value.string_value
        for each in receiver.requests[0].resource_spans
    ]
    assert names == ["shop", "pay"]
    assert receiver.span_ids() == [1, 3, 2]
    assert receiver.metadata["x-team"] == "shop"
    assert receiver.metadata["user-agent"].startswith("otel-ebpf/")
    assert exporter.stats()["spans_exported"] == 3


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "DATA_LOSS"]
)
def test_what_may_pass_is_tried_again_until_it_does(receiver: Receiver, code: str) -> None:
    receiver.answers = [failing(grpc.StatusCode[code])] * 4
    with serving(receiver) as port, exporting(port) as exporter:
        assert exporter.export([span(1)]).exported == 1
    assert receiver.span_ids() == [1]
    assert exporter.stats()["export_retries"] == 4


def test_what_will_not_pass_is_dropped_once_and_counted_by_its_code(receiver: Receiver) -> None:
    receiver.answers = [failing(grpc.StatusCode.UNAUTHENTICATED, "no token")]
    with serving(receiver) as port, exporting(port) as exporter:
        assert exporter.export([span(1), span(2)]).dropped == {"grpc_unauthenticated": 2}
        assert exporter.export([span(3)]).exported == 1
    assert receiver.span_ids() == [3]
    assert exporter.stats()["spans_dropped.grpc_unauthenticated"] == 2


def retry_in(seconds: float) -> list[tuple[str, bytes]]:
    info = RetryInfo(retry_delay=Duration(nanos=int(seconds * 1e9)))
    packed = AnyMessage()
    packed.Pack(info)
    status = Status(code=8, details=[packed])
    return [("grpc-status-details-bin", status.SerializeToString())]


def test_an_exhausted_receiver_is_asked_again_only_if_it_names_a_delay(receiver: Receiver) -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    receiver.answers = [failing(exhausted, "busy", retry_in(0.03)), failing(exhausted, "no quota")]
    with serving(receiver) as port, exporting(port) as exporter:
        assert exporter.export([span(1)]).dropped == {"grpc_resource_exhausted": 1}
    assert exporter.stats()["export_retries"] == 1


def test_spans_that_the_receiver_leaves_out_are_counted(receiver: Receiver) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    receiver.answers = [lambda *_: ExportTraceServiceResponse(partial_success=partial)]
    with serving(receiver) as port, exporting(port) as exporter:
        result = exporter.export([span(n) for n in range(1, 6)])
    assert (result.exported, result.dropped) == (3, {"rejected": 2})


def test_a_receiver_that_is_gone_and_comes_back_costs_no_span(receiver: Receiver) -> None:
    with serving(receiver) as port, exporting(port) as exporter:
        assert exporter.export([span(1)]).exported == 1
    with exporting(port) as exporter:
        results: list[Any] = []
        sender = threading.Thread(target=lambda: results.append(exporter.export([span(2)])))
        sender.start()
        while not exporter.stats().get("export_retries"):
            sender.join(0.01)
        with serving(receiver, port):
            sender.join(20)
        assert [result.exported for result in results] == [1]
    assert receiver.span_ids() == [1, 2]


def test_a_receiver_that_never_answers_is_given_up_after_the_timeout_and_asked_again(
    receiver: Receiver,
) -> None:
    hang = threading.Event()

    def late(request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        hang.wait(20)
        return ExportTraceServiceResponse()

    receiver.answers = [late]
    with serving(receiver) as port, exporting(port, timeout=0.2) as exporter:
        assert exporter.export([span(1)]).exported == 1
        hang.set()
    assert receiver.span_ids() == [1]


def test_shutdown_ends_a_call_and_a_pause_and_counts_what_was_lost(receiver: Receiver) -> None:
    hang = threading.Event()
    receiver.answers = [lambda *_: hang.wait(20) and None]  # type: ignore[list-item, return-value]
    with serving(receiver) as port, exporting(port, timeout=None) as exporter:
        results: list[Any] = []
        sender = threading.Thread(
            target=lambda: results.append(exporter.export([span(1), span(2)]))
        )
        sender.start()
        assert receiver.asked.wait(10)
        exporter.shutdown()
        sender.join(5)
        hang.set()
        assert [result.dropped for result in results] == [{"shutdown": 2}]
        assert exporter.export([span(3)]).dropped == {"shutdown": 1}


def test_a_message_too_large_for_the_receiver_is_sent_in_parts(receiver: Receiver) -> None:
    spans = [span(n, attributes={"url.path": "x" * 700}) for n in range(1, 33)]
    spans.append(span(33, attributes={"url.path": "x" * 9000}))
    with serving(receiver, max_receive_message_length=4000) as port, exporting(port) as exporter:
        result = exporter.export(spans)
    assert (result.exported, result.dropped) == (32, {"too_large": 1})
    assert sorted(receiver.span_ids()) == list(range(1, 33))


def test_requests_stay_below_what_a_collector_accepts(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "_MAX_REQUEST", 5000)
    spans = [span(n, attributes={"url.path": "x" * 900}) for n in range(1, 21)]
    with serving(receiver) as port, exporting(port) as exporter:
        assert exporter.export(spans).exported == 20
    assert receiver.span_ids() == list(range(1, 21))
    assert all(request.ByteSize() < 5500 for request in receiver.requests)
    assert len(receiver.requests) >= 4


def test_nobody_listening_is_no_error_at_the_start() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with exporting(port) as exporter:
        assert exporter.prepare(span())[0] is SHOP
