"""Messages that are whole in one segment are read as the parser would read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.protocols.base import EGRESS, INGRESS, Message
from otel_ebpf.protocols.http1 import Http1Parser
from otel_ebpf.protocols.http1_head import HttpRequest, HttpResponse
from otel_ebpf.protocols.http1_whole import whole_request, whole_response

FIRST = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a?b=c HTTP/1.0\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody",
    b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    b"POST / HTTP/1.1\r\nContent-Length: 4, 5\r\n\r\nbody",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\n\nX: y\r\n\r\n",
    b"get /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    FIRST + FIRST,
    OK,
]
RESPONSES = [
    OK,
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nx\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxx",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    OK + OK,
    FIRST,
]
METHODS = ["GET", "HEAD", "POST"]


def told(message: Message) -> tuple[object, ...]:
    head = message.head
    if isinstance(head, HttpRequest):
        return message.length, head.method, head.target, head.version, head.head
    return message.length, head.status, head.version, head.head


def parsed(method: str, data: bytes, length: int, direction: int) -> list[Message]:
    """What the parser makes of it, behind an exchange; none where it is left in any doubt."""
    parser = Http1Parser()
    parser.feed(INGRESS, FIRST, len(FIRST), 0, 0, None)
    parser.feed(EGRESS, OK, len(OK), 0, 0, None)
    if direction == EGRESS:
        request = FIRST.replace(b"GET", method.encode())
        parser.feed(INGRESS, request, len(request), 0, 0, None)
    messages = parser.feed(direction, data, length, 0, 0, None)
    answer = OK if direction == INGRESS else FIRST
    further = parser.feed(1 - direction, answer, len(answer), 0, 0, None)
    clean = [m.complete for m in further] == [True] and not parser.desyncs
    return messages if clean and all(m.complete for m in messages) else []


def check_request(data: bytes, length: int) -> bool:
    for _ in "ab":  # the second time from memory
        found = whole_request(data, length)
        if found is None:
            return False
        [message] = parsed("GET", data, length, INGRESS)
        assert (length, found.method, found.target, found.version, found.head) == told(message)
        assert found.lower == found.head.lower()
    return True


def check_response(method: str, data: bytes, length: int) -> bool:
    for _ in "ab":
        found = whole_response(data, length, method)
        if found is None:
            return False
        [message] = parsed(method, data, length, EGRESS)
        assert isinstance(message.head, HttpResponse)
        assert (length, found.status, found.version, found.head) == told(message)
    return True


@pytest.mark.parametrize("data", REQUESTS)
def test_requests(data: bytes) -> None:
    check_request(data, len(data))
    for cut in range(1, len(data)):
        check_request(data[:cut], cut)
        check_request(data[:cut], len(data))
    assert not check_request(data, len(data) + 1)


@pytest.mark.parametrize("data", RESPONSES)
@pytest.mark.parametrize("method", METHODS)
def test_responses(data: bytes, method: str) -> None:
    check_response(method, data, len(data))
    for cut in range(1, len(data)):
        check_response(method, data[:cut], cut)
        check_response(method, data[:cut], len(data))
    assert not check_response(method, data, len(data) + 1)


def test_the_usual_ones_are_taken() -> None:
    assert [check_request(data, len(data)) for data in REQUESTS[:5]] == [True] * 5
    assert [check_response("GET", data, len(data)) for data in RESPONSES[:3]] == [True] * 3
    chunked = RESPONSES[8]
    assert check_response("GET", chunked, len(chunked))
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    assert check_response("GET", large + b"begin", len(large) + 100_000)
    posted = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    assert check_request(posted + b"begin", len(posted) + 100_000)


@given(
    st.sampled_from(REQUESTS + RESPONSES),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3)), max_size=3),
    st.integers(-4, 4),
    st.sampled_from(METHODS),
)
def test_damaged_ones(data: bytes, damage: list[tuple[int, bytes]], more: int, method: str) -> None:
    for at, new in damage:
        data = data[: at % len(data)] + new + data[at % len(data) + len(new) :]
    length = max(len(data) + more, len(data))
    if data:
        check_request(data, length)
        check_response(method, data, length)
