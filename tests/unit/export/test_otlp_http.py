"""OTLP/HTTP against a real HTTP server that behaves badly."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ebpf.export.otlp_http import OtlpHttpExporter, _retry_after
from otel_ebpf.export.otlp_settings import OtlpSettings
from tests.unit.export.spans import span

PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Receiver(ThreadingHTTPServer):
    """Answers with the prepared (status, headers, body), then accepts everything."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.spans: list[int] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.hang = threading.Event()
        self.asked = threading.Event()
        self.close_after = False
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        lowered = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, lowered))
        self.server.asked.set()
        answers = self.server.answers
        status, headers, answer = answers.pop(0) if answers else (200, PROTOBUF, b"")
        if status == 0:
            self.server.hang.wait(20)
            return
        if status == 200:
            request = ExportTraceServiceRequest.FromString(body)
            self.server.spans += [
                int.from_bytes(each.span_id, "big")
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for each in scope.spans
            ]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        # Closes without a word, as servers do with connections that idle too long.
        self.close_connection = self.server.close_after

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serving(port: int = 0) -> Iterator[Receiver]:
    server = Receiver(port)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.hang.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def exporting(port: int, **settings: Any) -> Iterator[OtlpHttpExporter]:
    url = settings.pop("endpoint", f"http://127.0.0.1:{port}/v1/traces")
    made = OtlpHttpExporter(
        OtlpSettings(protocol="http/protobuf", endpoint=url, **settings), first_pause=0.02
    )
    try:
        yield made
    finally:
        made.shutdown()


def test_spans_are_posted_on_one_kept_connection() -> None:
    with serving() as server, exporting(server.server_port, headers=(("x-a", "b"),)) as exporter:
        assert exporter.export([span(1), span(2)]).exported == 2
        assert exporter.export([span(3)]).exported == 1
        assert server.spans == [1, 2, 3]
        assert server.connections == 1
        path, headers = server.seen[0]
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["user-agent"].startswith("otel-ebpf/")
    assert headers["x-a"] == "b"
    assert "content-encoding" not in headers


def test_bodies_are_compressed_when_asked() -> None:
    with serving() as server, exporting(server.server_port, gzip=True) as exporter:
        assert exporter.export([span(1)]).exported == 1
        assert server.spans == [1]
        assert server.seen[0][1]["content-encoding"] == "gzip"


def test_credentials_in_the_url_become_basic_authentication_and_stay_out_of_messages() -> None:
    with serving() as server:
        url = f"http://joe:p%40ss@127.0.0.1:{server.server_port}/in?x=1"
        with exporting(0, endpoint=url) as exporter:
            assert exporter.export([span(1)]).exported == 1
            assert "p%40ss" not in exporter._transport.where
        assert server.seen[0][0] == "/in?x=1"
        assert server.seen[0][1]["authorization"] == "Basic am9lOnBAc3M="


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_tried_again_until_it_does(status: int) -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(status, {}, b"")] * 3
        assert exporter.export([span(1)]).exported == 1
        assert server.spans == [1]
    assert exporter.stats()["export_retries"] == 3


@pytest.mark.parametrize("status", [400, 401, 404, 500, 301])
def test_what_will_not_pass_is_dropped_and_counted_by_its_status(status: int) -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(status, {"Location": "http://x/"}, b"no")]
        assert exporter.export([span(1)]).dropped == {f"http_{status}": 1}
        assert exporter.export([span(2)]).exported == 1


def test_the_receivers_reason_is_told_once_and_cannot_forge_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = Status(code=3, message="bad\n\x1b[31mspan").SerializeToString()
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(400, PROTOBUF, answer)] * 2
        exporter.export([span(1)])
        exporter.export([span(2)])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "bad\\n\\x1b[31mspan" in told[0]


def test_retry_after_is_waited_for() -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(503, {"Retry-After": "1"}, b"")]
        begin = time.monotonic()
        assert exporter.export([span(1)]).exported == 1
        assert time.monotonic() - begin >= 0.95


def test_retry_after_is_read_in_both_forms() -> None:
    assert _retry_after("120") == 120
    in_a_minute = _retry_after(formatdate(time.time() + 60, usegmt=True))
    assert in_a_minute is not None and 55 < in_a_minute <= 60
    assert _retry_after(formatdate(0, usegmt=True)) == 0
    assert _retry_after("soon") is _retry_after(None) is None


def test_spans_that_the_receiver_leaves_out_are_counted() -> None:
    partial = ExportTracePartialSuccess(rejected_spans=99, error_message="odd")
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(200, PROTOBUF, body)]
        # No more can be rejected than were sent.
        result = exporter.export([span(1), span(2)])
    assert (result.exported, result.dropped) == (0, {"rejected": 2})


def test_an_answer_that_is_no_protobuf_is_still_an_acceptance() -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(200, PROTOBUF, b"\xff\xff"), (200, {}, b"{}")]
        assert exporter.export([span(1)]).exported == 1
        assert exporter.export([span(2)]).exported == 1


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing() -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.close_after = True
        for number in range(1, 4):
            assert exporter.export([span(number)]).exported == 1
        assert server.spans == [1, 2, 3]
    assert "export_retries" not in exporter.stats()


def test_a_request_too_large_is_sent_in_parts() -> None:
    with serving() as server, exporting(server.server_port) as exporter:
        server.answers = [(413, {}, b"")]
        assert exporter.export([span(n) for n in range(1, 6)]).exported == 5
        assert sorted(server.spans) == [1, 2, 3, 4, 5]
        server.answers = [(413, {}, b"")]
        assert exporter.export([span(9)]).dropped == {"too_large": 1}


def test_a_receiver_that_comes_late_gets_every_span() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with exporting(port) as exporter:
        results: list[Any] = []
        sender = threading.Thread(target=lambda: results.append(exporter.export([span(1)])))
        sender.start()
        while not exporter.stats().get("export_retries"):
            sender.join(0.01)
        with serving(port) as server:
            sender.join(20)
            assert server.spans == [1]
    assert [result.exported for result in results] == [1]


def test_a_receiver_that_never_answers_is_given_up_after_the_timeout_and_asked_again() -> None:
    with serving() as server, exporting(server.server_port, timeout=0.2) as exporter:
        server.answers = [(0, {}, b"")]
        assert exporter.export([span(1)]).exported == 1
        assert server.spans == [1]


def test_shutdown_ends_a_request_at_once_and_counts_what_was_lost() -> None:
    with serving() as server, exporting(server.server_port, timeout=None) as exporter:
        server.answers = [(0, {}, b"")]
        results: list[Any] = []
        sender = threading.Thread(target=lambda: results.append(exporter.export([span(1)])))
        sender.start()
        assert server.asked.wait(10)
        exporter.shutdown()
        sender.join(5)
        assert [result.dropped for result in results] == [{"shutdown": 1}]
