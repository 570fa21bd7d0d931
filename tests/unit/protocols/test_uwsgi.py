"""The uwsgi protocol: conversations as nginx and uWSGI have them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.uwsgi import UwsgiParser
from tests.unit.protocols.talk import Talk


def packet(target: str = "/a?b=1", method: str = "GET", **more: str) -> bytes:
    """A request's header and variables."""
    values = {"QUERY_STRING": "", "REQUEST_METHOD": method, "REQUEST_URI": target, **more}
    body = b"".join(
        len(text).to_bytes(2, "little") + text.encode() for pair in values.items() for text in pair
    )
    return b"\0" + len(body).to_bytes(2, "little") + b"\0" + body


def talk() -> Talk:
    return Talk(UwsgiParser())


def test_a_request_and_an_answer_that_ends_with_the_connection() -> None:
    t = talk()
    (request,) = t.ask(packet(HTTP_HOST="shop", HTTPS="on"))
    assert (request.head.method, request.head.target) == ("GET", "/a?b=1")
    assert request.head.header("host") == "shop"
    assert request.complete
    (response,) = t.answer(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno")
    assert not response.complete
    t.answer(b"more", 9000)
    (again,) = t.keep(t.parser.close(t.clock))
    assert again is response
    assert (again.complete, again.error, again.head.status) == (True, None, 404)
    assert again.head.header("a") == "b"


def test_bytes_one_by_one_are_the_same() -> None:
    t = talk()
    for byte in packet("/up", "POST", CONTENT_LENGTH="3") + b"abc":
        t.ask(bytes([byte]))
    for byte in b"HTTP/1.0 201 Created\r\nContent-Length: 2\r\n\r\nokX":
        t.answer(bytes([byte]))
    (request,) = t.requests
    assert (request.head.target, request.complete) == ("/up", True)
    assert (t.answers[1].head.status, t.answers[1].complete) == (201, True)
    assert t.keep(t.parser.close(t.clock)) == []


def test_a_server_that_reads_the_header_by_itself() -> None:
    t = talk()
    whole = packet("/x", HTTP_COOKIE="c" * 3000)
    assert t.ask(whole[:4]) == []
    (request,) = t.ask(whole[4:])
    assert request.head.variable(b"HTTP_COOKIE") == "c" * 3000
    assert request.start < t.clock


def test_variables_that_were_not_all_captured() -> None:
    t = talk()
    whole = packet("/x", HTTP_COOKIE="c" * 3000)
    (request,) = t.ask(whole[:200], len(whole))
    assert request.truncated
    assert request.head.target == "/x"
    t.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n", 70042 - 1)
    (response,) = t.answer(b"", 1)
    assert response.complete


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_without_a_body(method: str, status: int) -> None:
    t = talk()
    t.ask(packet(method=method))
    (response,) = t.answer(b"HTTP/1.1 %d X\r\nContent-Length: 20\r\n\r\n" % status)
    assert response.complete


def test_what_is_no_http_is_an_answer_without_a_status() -> None:
    t = talk()
    t.ask(packet())
    t.answer(b"what is this\r\n\r\n")
    (response,) = t.keep(t.parser.close(t.clock, "connection_reset"))
    assert (response.head.status, response.error) == (0, "connection_reset")
    assert t.parser.desyncs == 1


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([EGRESS, INGRESS]),
            st.one_of(
                st.binary(max_size=60),
                st.just(packet(CONTENT_LENGTH="7")),
                st.just(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
            ),
            st.integers(0, 9),
        ),
        max_size=20,
    )
)
def test_any_bytes(segments: list[tuple[int, bytes, int]]) -> None:
    t = talk()
    for number, (direction, data, missing) in enumerate(segments):
        t.hear(direction, data, len(data) + (missing if number % 5 == 4 else 0))
        if number % 7 == 6:
            t.keep(t.parser.gap(direction, t.clock))
    t.keep(t.parser.close(t.clock))
    assert set(t.answers) <= {m.stream for m in t.requests}
    assert all(answer.complete for answer in t.answers.values())
