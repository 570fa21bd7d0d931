"""Header look-ups and the registry."""

from __future__ import annotations

from otel_ebpf.protocols import registry
from otel_ebpf.protocols.base import INGRESS
from otel_ebpf.protocols.context import carried_context
from otel_ebpf.protocols.http1_head import MAX_VALUES, HttpRequest, HttpResponse
from otel_ebpf.protocols.numbers import NUMBERS

HEAD = (
    b"GET /host:here HTTP/1.1\r\nHost: h:80\r\nX-Two: 1\r\nx-two:2\r\nFold: a\r\n  b\r\n\tc\r\n"
    b"Name: Zo\xc3\xab\r\nOld: caf\xe9\r\nEmpty:\r\nBare: x\nX-Host: no\r\n\r\n"
)


def test_headers_are_found_in_any_case() -> None:
    head = HttpRequest("GET", "/host:here", "1.1", HEAD)
    assert head.header("host") == head.header("HOST") == "h:80"
    assert head.headers("X-TWO") == ["1", "2"] and head.header("x-two") == "1"
    assert head.header("fold") == "a b c"
    assert head.header("empty") == "" and head.header("bare") == "x"
    assert head.header("absent") is None and head.headers("absent") == []


def test_header_values_decode_without_loss() -> None:
    head = HttpRequest("GET", "/", "1.1", HEAD)
    assert head.header("name") == "Zo\u00eb"
    assert head.header("old") == "caf\u00e9"
    assert head.header("n\u4e2dm") is None


def test_a_cut_line_is_not_a_header() -> None:
    head = HttpResponse(200, "1.1", b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 12")
    assert head.header("a") == "1"
    assert head.header("content-length") is None and head.headers("content-length") == []


def test_a_cut_fold_is_not_a_header() -> None:
    assert HttpResponse(200, "1.1", b"HTTP/1.1 200 OK\r\nA: 1\r\n 2").header("a") is None


def test_values_of_one_name_are_bounded() -> None:
    head = HttpRequest("GET", "/", "1.1", b"GET / HTTP/1.1\r\n" + b"a: 1\r\n" * 5000 + b"\r\n")
    assert len(head.headers("a")) == MAX_VALUES


def test_http_is_registered_under_its_number_and_name() -> None:
    http = registry.by_number[20]
    assert http is registry.by_name["http"]
    assert http.carried_context is carried_context
    get = b"GET / HTTP/1.1\r\n\r\n"
    (message,) = http.parser().feed(INGRESS, get, len(get), 0, 0, None)
    assert message.head.method == "GET"


def test_numbers_and_names_are_unique() -> None:
    assert len(registry.by_number) == len(registry.by_name) == len(registry.PROTOCOLS)


def test_who_chooses_among_protocols_is_told_of_all_of_them() -> None:
    known = [(protocol.name, protocol.number) for protocol in registry.PROTOCOLS]
    assert list(NUMBERS.items()) == known
