"""Hostile and random input: the parser never raises, and stays small and quick."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import Message
from otel_ebpf.protocols.context import carried_context
from otel_ebpf.protocols.http1 import Http1Parser
from otel_ebpf.protocols.http1_body import MAX_LINE
from otel_ebpf.protocols.http1_reader import MAX_HEAD

PIECES = [
    b"GET / HTTP/1.1\r\n",
    b"POST /p HTTP/1.0\r\n",
    b"HEAD * HTTP/1.1\n",
    b"CONNECT h:1 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n",
    b"HTTP/1.0 304\r\n",
    b"HTTP/1.1 999 \r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 99999999999999999\r\n",
    b"Content-Length: \xd9\xa3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\r\n ,;\r\n",
    b"Upgrade: \xff,\r\n",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
    b"b3: 0\r\n",
    b"x-b3-traceid:\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b";",
    b"\x00",
    b"G",
    b"HTTP/1.",
]

DATA = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(0, 1), DATA, st.sampled_from([0, 0, 0, 1, 7, 5000])),
        st.tuples(st.just("gap"), st.integers(0, 1), st.just(b""), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(b""), st.just(0)),
        st.tuples(st.just("close"), st.integers(0, 1), st.just(b""), st.just(0)),
    ),
    max_size=40,
)


def touch(message: Message) -> None:
    """What the pipeline does with a message."""
    head = message.head
    head.header("content-type")
    head.headers("x-forwarded-for")
    carried_context(head)
    repr(head)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_any_bytes_in_any_order(steps: list[tuple[str, int, bytes, int]]) -> None:
    parser = Http1Parser()
    clock = 0
    done: set[int] = set()
    keep: list[Message] = []
    heard = [0, 0]
    for what, direction, data, more in steps:
        clock += 10
        out: list[Message]
        if what == "feed":
            heard[direction] += len(data) + more
            out = parser.feed(direction, data, len(data) + more, clock, clock + 5, clock)
        elif what == "gap":
            out = parser.gap(direction, clock)
        elif what == "settle":
            out = parser.settle(clock)
        else:
            out = parser.close(clock, "connection_reset" if direction else None)
        keep += out
        assert len(set(map(id, out))) == len(out)
        for message in out:
            assert id(message) not in done, "a complete message came again"
            if message.complete:
                done.add(id(message))
            assert message.start <= message.end and message.token <= message.last_token
            touch(message)
    parser.close(clock, None)
    for direction in (0, 1):
        lengths = {id(m): m.length for m in keep if m.direction == direction}
        assert sum(lengths.values()) <= heard[direction], "bytes were counted twice"
    assert all(message.complete for message in keep)


HOSTILE: dict[str, bytes] = {
    "no line end": b"GET /" + b"a" * 100,
    "header without end": b"GET / HTTP/1.1\r\nA: " + b"a" * 100,
    "spaces": b"GET " + b" " * 100,
    "empty lines": b"\r\n" * 50,
    "chunk size without end": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 100,
    "chunk extension without end": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    "trailers without end": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
    "random": bytes(range(256)),
}


def memory(parser: Http1Parser) -> int:
    """Bytes that the parser holds on to."""
    held = 0
    for half in parser._halves:
        held += len(half.buffer)
        if half.chunks is not None:
            held += len(half.chunks._line)
    return held


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams_cost_bounded_memory_and_time(name: str, step: int) -> None:
    """200 kB of what never ends, in pieces: linear time, and no more than one head held."""
    start = HOSTILE[name]
    tail = start[-1:] if name.startswith(("no line", "header", "spaces", "chunk")) else start
    stream = (start + tail * (200_000 // len(tail)))[:200_000]
    if name == "trailers without end":
        stream = start + b"A: b\r\n" * 30_000
    parser = Http1Parser()
    before = time.process_time()
    for at in range(0, len(stream), step):
        piece = stream[at : at + step]
        parser.feed(0, piece, len(piece), at, at, None)
        assert memory(parser) <= MAX_HEAD + MAX_LINE + step
    # About a microsecond a call; a quadratic parser needs minutes.
    assert time.process_time() - before < 10


@pytest.mark.parametrize(
    "head",
    [
        b"GET a" + b" " * 60_000 + b"x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b" + b" " * 60_000 + b"\r\n c\r\nB: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b" + b"\r\n c" * 12_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\ntraceparent: " + b"0" * 60_000 + b"\r\nb3:" + b"-" * 99 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: " + b"a, " * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"Content-Length: 1\r\n" * 3_000 + b"\r\n",
    ],
    ids=["target of spaces", "spaces before a fold", "folds", "context", "codings", "lengths"],
)
def test_a_hostile_head_is_read_in_linear_time(head: bytes) -> None:
    before = time.process_time()
    for message in Http1Parser().feed(0, head, len(head), 0, 0, None):
        message.head.header("a")
        message.head.header("b")
        carried_context(message.head)
    assert time.process_time() - before < 0.5


def test_a_large_capture_of_small_messages_is_linear() -> None:
    stream = b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" * 5000
    parser = Http1Parser()
    before = time.process_time()
    messages: list[Any] = parser.feed(0, stream, len(stream), 0, 0, None)
    assert len(messages) == 5000
    assert time.process_time() - before < 2
