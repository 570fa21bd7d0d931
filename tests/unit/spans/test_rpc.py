"""gRPC exchanges become RPC spans by the conventions; HTTP/2's others stay HTTP spans."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints, Exchange
from otel_ebpf.protocols.http2_heads import Fields, Http2Request, Http2Response
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import ERROR, UNSET, Span
from otel_ebpf.spans.settings import SpanSettings

ENDS = Endpoints("ipv4", "10.0.0.1", 8080, "10.0.0.2", 50000)
GRPC = ("content-type", "application/grpc")


def made(
    kind: int, path: str, head: list[Any], trailers: list[Any] | None, **more: Any
) -> Exchange:
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "shop.example:443")]
    if path:
        fields.append((":path", path))
    request = Http2Request(Fields([*fields, *more.pop("fields", [])]))
    response = Http2Response(Fields(head)) if head else None
    if response is not None and trailers is not None:
        response.trailers = Fields(trailers)
    protocol = more.pop("protocol", "grpc")
    return Exchange(kind, protocol, 1, 1, ENDS, 1, 2, request, response, b"12345678", **more)


def build(x: Exchange, settings: SpanSettings | None = None) -> Span:
    return SpanBuilder(FixedClock(), settings).build(x)


def call(kind: int, code: str, **more: Any) -> Span:
    return build(made(kind, "/p.Shop/Buy", [(":status", "200")], [("grpc-status", code)], **more))


def test_a_server_span_has_what_the_conventions_ask_for() -> None:
    span = call(SERVER, "0")
    assert (span.name, span.kind, span.status) == ("p.Shop/Buy", SERVER, UNSET)
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "p.Shop/Buy",
        "rpc.response.status_code": "OK",
        "server.address": "shop.example",
        "server.port": 443,
        "client.address": "10.0.0.2",
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 50000,
    }


def test_a_client_span_has_what_the_conventions_ask_for() -> None:
    span = call(CLIENT, "0")
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "p.Shop/Buy",
        "rpc.response.status_code": "OK",
        "server.address": "shop.example",
        "server.port": 443,
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 50000,
    }


@pytest.mark.parametrize(
    ("code", "name", "of_server"),
    [
        *(("1", "CANCELLED", False), ("2", "UNKNOWN", True), ("3", "INVALID_ARGUMENT", False)),
        *(("4", "DEADLINE_EXCEEDED", True), ("5", "NOT_FOUND", False)),
        *(("12", "UNIMPLEMENTED", True), ("13", "INTERNAL", True), ("14", "UNAVAILABLE", True)),
        *(("15", "DATA_LOSS", True), ("16", "UNAUTHENTICATED", False)),
        *(("77", "UNKNOWN", True), ("x", "UNKNOWN", True)),
    ],
)
def test_statuses_are_errors_of_the_side_whose_they_are(
    code: str, name: str, of_server: bool
) -> None:
    for kind, failed in ((CLIENT, True), (SERVER, of_server)):
        span = call(kind, code)
        assert span.attributes["rpc.response.status_code"] == name
        assert span.status == (ERROR if failed else UNSET)
        assert span.attributes.get("error.type") == (name if failed else None)


def test_a_broken_call_is_an_error_without_a_status() -> None:
    span = build(made(SERVER, "/p.Shop/Buy", [], None, error="cancel"))
    assert (span.status, span.attributes["error.type"]) == (ERROR, "cancel")
    assert "rpc.response.status_code" not in span.attributes


def test_an_answer_that_is_no_grpc_is_read_as_clients_read_it() -> None:
    span = build(made(CLIENT, "/p.Shop/Buy", [(":status", "503")], None))
    assert span.attributes["rpc.response.status_code"] == "UNAVAILABLE"


def test_a_method_that_was_not_seen_is_left_out() -> None:
    span = build(made(CLIENT, "", [(":status", "200")], [("grpc-status", "0")]))
    assert span.name == "grpc"
    assert "rpc.method" not in span.attributes


def test_metadata_that_a_user_asked_for_is_kept() -> None:
    settings = SpanSettings.from_env(
        {"OTEL_INSTRUMENTATION_GRPC_CAPTURE_METADATA_SERVER_REQUEST": "X-Tenant"}
    )
    fields = [("x-tenant", "a"), ("x-tenant", "b")]
    for kind, kept in ((SERVER, ["a", "b"]), (CLIENT, None)):
        x = made(kind, "/p.S/M", [(":status", "200")], [("grpc-status", "0")], fields=fields)
        assert build(x, settings).attributes.get("rpc.request.metadata.x-tenant") == kept


def test_http2_is_http_with_its_scheme_and_authority() -> None:
    x = made(SERVER, "/a?b=1", [(":status", "404")], None, protocol="http")
    span = build(x)
    assert span.name == "POST"
    attributes = span.attributes
    assert attributes["url.scheme"] == "https"
    assert (attributes["url.path"], attributes["url.query"]) == ("/a", "b=1")
    assert attributes["network.protocol.version"] == "2"
    assert (attributes["server.address"], attributes["server.port"]) == ("shop.example", 443)
    client = build(made(CLIENT, "/a?b=1", [(":status", "200")], None, protocol="http"))
    assert client.attributes["url.full"] == "https://shop.example:443/a?b=1"


def test_a_path_that_was_not_seen_is_not_made_up() -> None:
    served = build(made(SERVER, "", [(":status", "200")], None, protocol="http"))
    assert "url.path" not in served.attributes
    called = build(made(CLIENT, "", [(":status", "200")], None, protocol="http"))
    assert called.attributes["url.full"] == "https://shop.example:443"
