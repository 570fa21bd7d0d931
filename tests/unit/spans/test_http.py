"""HTTP exchanges become spans by the stable conventions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.correlation.model import CLIENT, SERVER, Endpoints
from otel_ebpf.protocols.http1_head import HttpRequest, HttpResponse
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import FixedClock
from otel_ebpf.spans.model import ERROR, UNSET, Span
from otel_ebpf.spans.settings import SpanSettings
from tests.unit.spans.exchanges import SHOP, called, exchange, request, response, served


def build(of: Any, settings: SpanSettings | None = None) -> Span:
    return SpanBuilder(FixedClock(), settings).build(of)


def attributes(of: Any, settings: SpanSettings | None = None) -> dict[str, Any]:
    return build(of, settings).attributes


def test_a_server_span_has_what_the_conventions_ask_for_and_no_more() -> None:
    head = request(
        "GET /users/12?tab=orders&sig=abc HTTP/1.1",
        "Host: api.example.com:8443",
        "User-Agent: curl/8.1",
    )
    span = build(served(head, response(200)))
    assert span.name == "GET"
    assert (span.kind, span.status, span.resource) == (SERVER, UNSET, SHOP)
    assert span.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "server.address": "api.example.com",
        "server.port": 8443,
        "network.local.address": "10.0.0.1",
        "network.local.port": 8080,
        "network.protocol.version": "1.1",
        "url.path": "/users/12",
        "url.query": "tab=orders&sig=REDACTED",
        "client.address": "10.0.0.2",
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 50000,
        "user_agent.original": "curl/8.1",
    }


def test_a_client_span_has_what_the_conventions_ask_for_and_no_more() -> None:
    head = request("POST /pay?sig=abc HTTP/1.1", "Host: pay.example.com", "User-Agent: x")
    span = build(called(head, response(201)))
    assert (span.name, span.kind, span.status) == ("POST", CLIENT, UNSET)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "server.address": "pay.example.com",
        "server.port": 80,
        "network.peer.address": "10.0.0.2",
        "network.peer.port": 8080,
        "network.protocol.version": "1.1",
        "url.full": "http://pay.example.com/pay?sig=REDACTED",
    }


@pytest.mark.parametrize(
    ("kind", "status", "failed"),
    [
        (SERVER, 200, False),
        (SERVER, 404, False),
        (SERVER, 499, False),
        (SERVER, 500, True),
        (SERVER, 503, True),
        (CLIENT, 304, False),
        (CLIENT, 400, True),
        (CLIENT, 404, True),
        (CLIENT, 500, True),
    ],
)
def test_which_status_codes_are_errors_depends_on_the_side(
    kind: int, status: int, failed: bool
) -> None:
    span = build(exchange(kind, request(), response(status)))
    assert span.status == (ERROR if failed else UNSET)
    assert span.attributes.get("error.type") == (str(status) if failed else None)
    assert span.status_message == ""


def test_an_exchange_without_a_response_is_an_error_with_its_type() -> None:
    span = build(called(request(), None, error="connection_reset"))
    assert span.status == ERROR
    assert span.status_message == "connection_reset"
    assert span.attributes["error.type"] == "connection_reset"
    assert "http.response.status_code" not in span.attributes


def test_a_good_status_with_a_broken_body_is_still_an_error() -> None:
    span = build(served(request(), response(200), error="connection_reset"))
    assert (span.status, span.attributes["error.type"]) == (ERROR, "connection_reset")
    assert span.attributes["http.response.status_code"] == 200


def test_an_unknown_method_is_named_other_and_kept_as_it_was() -> None:
    for make in (served, called):
        span = build(make(request("PURGE /x HTTP/1.1"), response()))
        assert span.name == "HTTP"
        assert span.attributes["http.request.method"] == "_OTHER"
        assert span.attributes["http.request.method_original"] == "PURGE"


def test_methods_are_case_sensitive() -> None:
    assert build(served(request("get / HTTP/1.1"), response())).name == "HTTP"


def test_a_method_becomes_known_by_the_users_list() -> None:
    settings = SpanSettings(known_methods=frozenset({"PURGE"}))
    assert build(served(request("PURGE / HTTP/1.1"), response()), settings).name == "PURGE"


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("shop:8080", "shop", 8080),
        ("shop", "shop", 80),
        ("[2001:db8::1]:9000", "2001:db8::1", 9000),
        ("[2001:db8::1]", "2001:db8::1", 80),
        ("2001:db8::1", "2001:db8::1", 80),
        ("joe:secret@shop:81", "shop", 81),
        # What is no port is left out, and what names no host falls back to the socket.
        ("shop:http", "shop", 80),
        ("shop:99999", "shop", 80),
        ("shop:", "shop", 80),
        ("", "10.0.0.1", 8080),
        (":81", "10.0.0.1", 8080),
        ("[::1", "[::1", 80),
    ],
)
def test_the_server_is_named_by_the_host_header_else_by_the_socket(
    host: str, address: str, port: int
) -> None:
    found = attributes(served(request("GET / HTTP/1.1", f"Host: {host}"), response()))
    assert (found["server.address"], found["server.port"]) == (address, port)


def test_without_a_host_header_the_url_is_made_of_the_socket() -> None:
    ends = Endpoints("ipv6", "::1", 50000, "2001:db8::2", 8080)
    found = attributes(called(request("GET /a HTTP/1.0"), response(), endpoints=ends))
    assert found["url.full"] == "http://[2001:db8::2]:8080/a"
    assert found["network.protocol.version"] == "1.0"


def test_a_unix_socket_has_no_ports() -> None:
    ends = Endpoints("unix", "/run/app.sock", 0, "", 0)
    found = attributes(served(request("GET /a HTTP/1.1"), response(), endpoints=ends))
    assert found["network.transport"] == "unix"
    assert found["server.address"] == "/run/app.sock"
    assert not [key for key in found if key.endswith(".port")]


@pytest.mark.parametrize(
    ("line", "full"),
    [
        (
            "GET http://u:p@far.example/x?sig=1 HTTP/1.1",
            "http://REDACTED:REDACTED@far.example/x?sig=REDACTED",
        ),
        ("GET http://far.example HTTP/1.1", "http://far.example"),
        ("CONNECT far.example:443 HTTP/1.1", "//far.example:443"),
        ("OPTIONS * HTTP/1.1", "http://near"),
    ],
)
def test_a_clients_url_follows_the_form_of_the_target(line: str, full: str) -> None:
    found = attributes(called(request(line, "Host: near"), response()))
    assert found["url.full"] == full


def test_a_proxied_request_names_the_server_that_was_asked_for() -> None:
    head = request("GET http://far.example:81/x?y HTTP/1.1", "Host: near")
    found = attributes(called(head, response()))
    assert (found["server.address"], found["server.port"]) == ("far.example", 81)
    found = attributes(served(head, response()))
    assert (found["server.address"], found["server.port"]) == ("far.example", 81)
    assert (found["url.path"], found["url.query"]) == ("/x", "y")


@pytest.mark.parametrize(
    ("headers", "client", "port", "scheme", "server"),
    [
        (["X-Forwarded-For: 203.0.113.9, 10.9.9.9"], "203.0.113.9", None, "http", "near"),
        (
            ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop"],
            "203.0.113.9",
            None,
            "https",
            "shop",
        ),
        (
            ['Forwarded: for="[2001:db8::9]:4711";proto=https;host=shop, for=10.9.9.9'],
            "2001:db8::9",
            4711,
            "https",
            "shop",
        ),
        (["Forwarded: for=_hidden;proto=gopher"], "10.0.0.2", None, "http", "near"),
        (["Forwarded: for=unknown"], "10.0.0.2", None, "http", "near"),
        (["Forwarded: ;;=,"], "10.0.0.2", None, "http", "near"),
    ],
)
def test_behind_a_proxy_the_original_request_counts(
    headers: list[str], client: str, port: int | None, scheme: str, server: str
) -> None:
    found = attributes(served(request("GET / HTTP/1.1", "Host: near", *headers), response()))
    assert found["client.address"] == client
    assert found.get("client.port") == port
    assert found["url.scheme"] == scheme
    assert found["server.address"] == server
    assert found["network.peer.address"] == "10.0.0.2"
    assert found["server.port"] == (443 if scheme == "https" else 80)


def test_chosen_headers_are_lists_of_texts_on_their_own_side() -> None:
    settings = SpanSettings(
        server_request_headers=("x-id", "absent"),
        server_response_headers=("set-cookie",),
        client_request_headers=("accept",),
    )
    head = request("GET / HTTP/1.1", "X-ID: 7", "X-Id: 8", "Accept: a", "Host: h")
    answer = response(200, "Set-Cookie: a=1", "Set-Cookie: b=2")
    found = attributes(served(head, answer), settings)
    assert found["http.request.header.x-id"] == ["7", "8"]
    assert found["http.response.header.set-cookie"] == ["a=1", "b=2"]
    assert not [key for key in found if "absent" in key or "accept" in key]
    found = attributes(called(head, answer), settings)
    assert found["http.request.header.accept"] == ["a"]
    assert not [key for key in found if "x-id" in key or "cookie" in key]


def test_text_from_the_wire_is_no_longer_than_the_limit() -> None:
    settings = SpanSettings(value_length_limit=20, server_request_headers=("x-a",))
    long = "y" * 100
    head = request(
        f"GET /{long}?{long} HTTP/1.1", f"Host: {long}", f"User-Agent: {long}", f"X-A: {long}"
    )
    for of in (served(head, response()), called(head, response())):
        for value in attributes(of, settings).values():
            texts = value if isinstance(value, list) else [value]
            assert all(len(text) <= 20 for text in texts if isinstance(text, str))


def test_spans_with_equal_heads_do_not_share_their_attributes() -> None:
    builder = SpanBuilder(FixedClock())
    first = builder.build(served(request(), response()))
    first.attributes["mine"] = 1
    second = builder.build(served(request(), response()))
    assert "mine" not in second.attributes
    assert second.base is first.base


def test_what_differs_between_exchanges_is_never_taken_from_another() -> None:
    """Every exchange in turn through one builder gives what a fresh builder gives."""
    builder = SpanBuilder(FixedClock())
    lines = ["GET / HTTP/1.1", "POST /b?c HTTP/1.1", "PURGE / HTTP/1.0", "GET http://x/y HTTP/1.1"]
    ends = [
        Endpoints("ipv4", "10.0.0.1", 80, "10.0.0.2", 5000),
        Endpoints("ipv4", "10.0.0.2", 5000, "10.0.0.1", 80),
        Endpoints("unix", "/a", 0, "/b", 0),
    ]
    for _ in range(2):
        for kind in (SERVER, CLIENT):
            for line in lines:
                for host in ("a", "b:81"):
                    for answer in (None, response(200), response(404), response(500)):
                        for error in (None, "timeout"):
                            for pair in ends:
                                of = exchange(
                                    kind,
                                    request(line, f"Host: {host}"),
                                    answer,
                                    error=error,
                                    endpoints=pair,
                                )
                                mine, fresh = builder.build(of), build(of)
                                assert mine.attributes == fresh.attributes
                                assert (mine.name, mine.status) == (fresh.name, fresh.status)


def test_hosts_without_end_do_not_grow_memory() -> None:
    builder = SpanBuilder(FixedClock())
    for number in range(5000):
        builder.build(served(request("GET / HTTP/1.1", f"Host: h{number}"), response()))
    describer = builder._describe["http"].__self__  # type: ignore[attr-defined]
    assert len(describer._profiles) <= 1024


heads = st.binary(max_size=80)
texts = st.text(max_size=40)


@settings(deadline=None)
@given(st.sampled_from([SERVER, CLIENT]), texts, texts, texts, heads, st.integers(0, 999), texts)
def test_no_head_whatever_makes_the_builder_fail(
    kind: int, method: str, target: str, version: str, rest: bytes, status: int, host: str
) -> None:
    raw = b"\r\nHost: " + host.encode("utf-8", "replace") + b"\r\nForwarded: " + rest + b"\r\n"
    head = HttpRequest(method, target, version, raw)
    answer = HttpResponse(status, version, rest) if status else None
    span = build(exchange(kind, head, answer))
    assert span.name
    assert span.attributes["server.address"]
