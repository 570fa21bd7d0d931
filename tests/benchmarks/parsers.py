"""Microseconds a message in the protocol parsers, and a span from the burst to the queue.

Run: python -m tests.benchmarks.parsers [--check] [--write-docs]

First conversations made by hand, then those of the recordings in tests/captures, for every protocol
that they have. --write-docs puts all into docs/protocols.md. With --check it exits 1 when a limit
is not kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hpack

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.context import carried_context
from otel_ebpf.protocols.descriptor import Descriptor
from otel_ebpf.protocols.dns import PROTOCOL as DNS
from otel_ebpf.protocols.dubbo import DubboParser
from otel_ebpf.protocols.http1 import Http1Parser
from otel_ebpf.protocols.http1_head import HttpRequest
from otel_ebpf.protocols.http2 import Http2Parser
from otel_ebpf.protocols.http2_frames import PREFACE, Walk
from otel_ebpf.protocols.postgresql import PostgresqlParser
from otel_ebpf.protocols.redis import RedisParser
from otel_ebpf.protocols.registry import PROTOCOLS
from otel_ebpf.protocols.sql import sanitize
from otel_ebpf.protocols.thrift import ThriftParser
from tests.benchmarks.table import write_between
from tests.fuzz.conversation import FRESH, SERVES, seeds, steps
from tests.unit.protocols import dubbo_wire, thrift_wire
from tests.unit.protocols.postgresql_wire import (
    BOUND,
    LOGIN,
    PARSED,
    READY,
    SYNC,
    bind,
    describe,
    done,
    execute,
    parse,
    query,
    row,
    startup,
)

GET = (
    b"GET /api/items/42 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: Go-http-client/1.1\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)
OK = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 12\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nhello world\n"
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"10\r\n0123456789abcdef\r\n0\r\n\r\n"
)
PARENT = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"


LIMITS = {"call: Redis, GET": 10.0, "call: Redis, SET": 10.0}
"""Microseconds."""
missed: list[str] = []
costs: list[tuple[str, float]] = []
"""What was measured, microseconds."""
DOCS = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
BEGIN, END = "<!-- cost:begin -->", "<!-- cost:end -->"


def measure(name: str, work: Callable[[int], object], count: int = 20000) -> None:
    """Best of seven, so that a busy machine shows less."""
    best = float("inf")
    for _ in range(7):
        start = time.process_time()
        work(count)
        best = min(best, time.process_time() - start)
    cost = best / count * 1e6
    print(f"{name:44s} {cost:7.2f} us")
    costs.append((name, cost))
    if cost > LIMITS.get(name, float("inf")):
        missed.append(f"{name}: {cost:.1f} us, limit {LIMITS[name]:g} us")


def conversation(request: bytes, response: bytes) -> Callable[[int], None]:
    def work(count: int) -> None:
        feed = Http1Parser().feed
        ask, answer = len(request), len(response)
        for at in range(count):
            feed(INGRESS, request, ask, at, at, None)
            feed(EGRESS, response, answer, at, at, None)

    return work


def requests(count: int) -> None:
    parser = Http1Parser()
    parser.feed(INGRESS, GET, len(GET), 0, 0, None)
    parser.feed(EGRESS, OK, len(OK), 0, 0, None)
    feed, size, outstanding = parser.feed, len(GET), parser._outstanding
    for at in range(count):
        feed(INGRESS, GET, size, at, at, None)
        outstanding.clear()


def responses(count: int) -> None:
    parser = Http1Parser()
    parser.feed(INGRESS, GET, len(GET), 0, 0, None)
    feed, size = parser.feed, len(OK)
    for at in range(count):
        feed(EGRESS, OK, size, at, at, None)


def large_body(count: int) -> None:
    feed = Http1Parser().feed
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * 65536 + 1)
    feed(EGRESS, head, len(head), 0, 0, None)
    for at in range(count):
        feed(EGRESS, b"", 65536, at, at, None)


def streams(
    request: list[tuple[str, str]], answer: list[tuple[str, str]], trailers: list[tuple[str, str]]
) -> Callable[[int], None]:
    """Streams one after another, each a segment a side, gone through as the kernel does."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
        return head + stream.to_bytes(4, "big") + payload

    ask, say = hpack.Encoder(), hpack.Encoder()
    walks = (Walk(preface=True), Walk())
    walks[1].trust()
    told = []
    for stream in range(1, 4001, 2):
        asked = frame(1, 4, stream, ask.encode(request)) + frame(0, 1, stream, b"x" * 20)
        said = frame(1, 4, stream, say.encode(answer)) + frame(0, 0, stream, b"y" * 30)
        said += frame(1, 5, stream, say.encode(trailers))
        for direction, data in (
            (INGRESS, (PREFACE if stream == 1 else b"") + asked),
            (EGRESS, said),
        ):
            told.append((direction, walks[direction].feed(data, len(data), 0).frames, len(data)))

    def work(count: int) -> None:
        for at in range(count):
            if at % 2000 == 0:
                parser = Http2Parser()
                parser.begin(INGRESS)
            for direction, frames, length in told[at % 2000 * 2 : at % 2000 * 2 + 2]:
                parser.frames(direction, frames, 0, False, 0, length, at, at, at)

    return work


def calls(
    make: Callable[[], Any], opening: list[tuple[int, bytes]], *turns: tuple[int, bytes]
) -> Callable[[int], None]:
    """Exchanges of a protocol whose parser pairs, behind what opens the connection."""

    def work(count: int) -> None:
        parser = make()
        parser.begin(EGRESS, True)
        for direction, data in opening:
            parser.feed(direction, data, len(data), 0, 0, None)
        feed = parser.feed
        for at in range(count):
            for direction, data in turns:
                feed(direction, data, len(data), at, at, None)

    return work


def recorded(protocol: Descriptor) -> None:
    """What real services said, connection by connection, through the parser alone."""
    talks = [
        (INGRESS if seed[0] & SERVES else EGRESS, bool(seed[0] & FRESH), list(steps(seed)))
        for seed in seeds(protocol)
    ]
    if not talks or protocol.multiplexed:
        return

    def play() -> int:
        messages = 0
        for asks, fresh, talk in talks:
            parser: Any = protocol.parser()
            if protocol.pairs:
                parser.begin(asks, fresh)
            feed = parser.feed
            for _, direction, piece, length, tail, clock in talk:
                messages += len(feed(direction, piece, length, clock, clock, None, tail))
        return messages

    total = play()
    if total:
        measure(
            f"recorded: {protocol.name}, {total:,} messages",
            lambda count: all(play() for _ in range(count // total)),
            total * max(1, 4000 // total),
        )


def context(head: HttpRequest) -> Callable[[int], None]:
    def work(count: int) -> None:
        for _ in range(count):
            carried_context(head)

    return work


def lookups(count: int) -> None:
    """A query and its answer, each a datagram."""
    asked = bytes.fromhex("12340100000100000000000003777777016104746573740000010001")
    said = asked[:2] + b"\x85\x80" + asked[4:6] + b"\0\1" + asked[8:]
    said += bytes.fromhex("c00c000100010000003c00040a010203")
    understood = DNS.datagram
    assert understood is not None
    for data in (asked, said):
        assert understood(data, len(data)) is not None
    for _ in range(count):
        understood(asked, len(asked))
        understood(said, len(said))


def write_docs() -> None:
    """The table of all that was measured."""
    lines = ["| | us |", "|-|-:|", *(f"| {name} | {cost:.1f} |" for name, cost in costs)]
    made = "Made by `python -m tests.benchmarks.parsers --write-docs`.\n\n" + "\n".join(lines)
    write_between(DOCS, made, BEGIN, END)


def main() -> None:
    measure(f"GET request, {len(GET)} bytes", requests)
    measure(f"response with Content-Length, {len(OK)} bytes", responses)
    measure("exchange: GET, Content-Length", conversation(GET, OK))
    measure("exchange: GET, chunked", conversation(GET, CHUNKED))
    fields = [
        *((":method", "POST"), (":scheme", "http"), (":path", "/pkg.Service/Method")),
        *((":authority", "127.0.0.1:8080"), ("content-type", "application/grpc")),
        *(("user-agent", "grpc-go/1.85.0"), ("te", "trailers")),
    ]
    answer = [(":status", "200"), ("content-type", "application/grpc")]
    trailers = [("grpc-status", "0"), ("grpc-message", "")]
    measure("stream: gRPC, unary", streams(fields, answer, trailers))
    get = b"*2\r\n$3\r\nGET\r\n$8\r\nkey:1234\r\n"
    put = b"*3\r\n$3\r\nSET\r\n$8\r\nkey:1234\r\n$20\r\n" + b"v" * 20 + b"\r\n"
    value = b"$20\r\n" + b"v" * 20 + b"\r\n"
    measure("call: Redis, GET", calls(RedisParser, [], (EGRESS, get), (INGRESS, value)))
    measure("call: Redis, SET", calls(RedisParser, [], (EGRESS, put), (INGRESS, b"+OK\r\n")))
    opening = [(EGRESS, startup(user="me")), (INGRESS, LOGIN)]
    select = query("SELECT * FROM items WHERE id = 42 AND name = 'bob'")
    rows = row() * 5 + done() + READY
    measure(
        "call: PostgreSQL, simple, five rows",
        calls(PostgresqlParser, opening, (EGRESS, select), (INGRESS, rows)),
    )
    extended = parse("SELECT * FROM items WHERE id = $1") + bind() + describe() + execute() + SYNC
    measure(
        "call: PostgreSQL, extended, five rows",
        calls(PostgresqlParser, opening, (EGRESS, extended), (INGRESS, PARSED + BOUND + rows)),
    )
    measure("lookup: DNS, two datagrams", lookups)
    priced = b"\x0b\0\1\0\0\0\4lamp\x08\0\2\0\0\0\3\0"
    ask, told = thrift_wire.binary("price", 0, body=priced), thrift_wire.binary("price", 0, 2)
    measure("call: Thrift, unframed", calls(ThriftParser, [], (EGRESS, ask), (INGRESS, told)))
    framed = (EGRESS, thrift_wire.framed(ask)), (INGRESS, thrift_wire.framed(told))
    measure("call: Thrift, framed", calls(ThriftParser, [], *framed))
    asked = (EGRESS, dubbo_wire.call(1)), (INGRESS, dubbo_wire.answer(1))
    measure("call: Dubbo", calls(DubboParser, [], *asked))
    number = iter(range(1 << 40))

    def new_texts(count: int) -> None:
        for _ in range(count):
            sanitize(b"SELECT a, b FROM items i WHERE id = %d AND name = 'bob'" % next(number))

    measure("SQL that was not seen before", new_texts)
    measure("segment of a counted body, not captured", large_body)
    measure("no trace context in the head", context(HttpRequest("GET", "/", "1.1", GET)))
    with_parent = HttpRequest("GET", "/", "1.1", GET[:-2] + PARENT)
    measure("traceparent", context(with_parent))
    for protocol in PROTOCOLS:
        recorded(protocol)
    if "--write-docs" in sys.argv:
        write_docs()
    for line in missed:
        print(f"limit not kept: {line}", file=sys.stderr)
    if missed and "--check" in sys.argv:
        sys.exit(1)


if __name__ == "__main__":
    main()
