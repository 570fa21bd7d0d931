"""A conversation as a string of bytes, so that a fuzzer can change it, and what must hold of it.

Layout: one byte of flags (1: the connection's start was seen, 2: the requests come in), then any
number of steps. A step begins with a byte: its low three bits say what it is (0 to 4 a segment,
5 lost records, 6 silence, 7 the end), 8 its direction, 16 that bytes follow which were not
captured, 32 that 50 ms passed before, 64 that its last bytes are told. A segment has two bytes of
length, little-endian, two more of bytes not captured if there are any, and its data.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hpack

from otel_ebpf.correlation.model import CLIENT, Endpoints, Exchange
from otel_ebpf.events import layout
from otel_ebpf.events.capture import Burst, CaptureReader
from otel_ebpf.events.decode import Decoder, Record
from otel_ebpf.protocols.base import EGRESS, INGRESS, REQUEST, RESPONSE, TAIL, Message
from otel_ebpf.protocols.descriptor import Descriptor
from otel_ebpf.protocols.http2_frames import PREFACE
from otel_ebpf.spans.builder import SpanBuilder
from otel_ebpf.spans.clock import WallClock

CAPTURES = Path(__file__).resolve().parents[1] / "captures"
FOUND = Path(__file__).resolve().parent / "found"
"""Conversations that once broke a parser; each file's name begins with the protocol's."""
FRESH, SERVES = 1, 2
LOST, SILENT, ENDS, WHAT = 5, 6, 7, 7
OUT, CUT, LATER, TOLD = 8, 16, 32, 64
MS = 1_000_000
MOST = 1 << 15
"""Bytes of a segment."""


class Player:
    """Plays conversations to a protocol's parser, and looks at all that comes of them."""

    def __init__(self, protocol: Descriptor) -> None:
        self._protocol = protocol
        self._builder = SpanBuilder(WallClock())
        self._ends = Endpoints("ipv4", "127.0.0.1", 40000, "127.0.0.1", 5000)

    def play(self, data: bytes) -> list[Message]:
        """What the parser returned, each message once. Raises AssertionError, or whatever the
        parser raises."""
        parser: Any = self._protocol.parser()
        flags = data[0] if data else 0
        client = INGRESS if flags & SERVES else EGRESS
        if self._protocol.pairs:
            parser.begin(client, bool(flags & FRESH))
        elif self._protocol.multiplexed and flags & FRESH:
            parser.begin(client)
        messages: dict[int, Message] = {}
        done: set[int] = set()
        for number, (what, direction, piece, length, tail, clock) in enumerate(steps(data)):
            if what == LOST:
                found = parser.gap(direction, clock)
            elif what == SILENT:
                found = parser.settle(clock)
            elif what == ENDS:
                found = parser.close(clock, "connection_reset" if direction else None)
            else:
                found = parser.feed(direction, piece, length, clock, clock + 500, number, tail)
            assert len({id(message) for message in found}) == len(found), "the same message twice"
            for message in found:
                assert isinstance(message, Message) and message.kind in (REQUEST, RESPONSE)
                assert message.end >= message.start >= 0 and message.length >= 0
                # A request whose reply will never come is told once more, with its error.
                over = message.complete and not (message.kind == REQUEST and not message.error)
                assert not over or id(message) not in done, "over twice"
                if over:
                    done.add(id(message))
                messages[id(message)] = message
            assert isinstance(parser.desyncs, int) and isinstance(parser.open_ended, bool)
            if what == ENDS:
                break
        heard = list(messages.values())
        self._describe(heard)
        return heard

    def _describe(self, messages: list[Message]) -> None:
        """What the parser puts into heads, the makers of spans understand."""
        replies = {m.stream: m.head for m in messages if m.kind == RESPONSE}
        asked: set[int] = set()
        for message in messages:
            if message.kind != REQUEST:
                continue
            if self._protocol.pairs:
                assert message.stream not in asked, "two requests of one number"
                asked.add(message.stream)
            exchange = Exchange(
                CLIENT, self._protocol.name, 1, 1, self._ends, message.start, message.end,
                message.head, replies.get(message.stream), bytes(8), error=message.error,
            )  # fmt: skip
            name, attributes, _, _, _ = self._builder.describe(exchange)
            assert name and isinstance(attributes, dict)
        if self._protocol.pairs:
            assert replies.keys() <= asked, "a reply to nothing"


def steps(data: bytes) -> Iterator[tuple[int, int, bytes, int, bytes, int]]:
    """(what, direction, captured, length, last bytes, clock) of each step."""
    at, clock = 1, 1000 * MS
    while at < len(data):
        head = data[at]
        at += 1
        clock += 50 * MS if head & LATER else 1000
        what, direction = head & WHAT, EGRESS if head & OUT else INGRESS
        if what >= LOST:
            yield what, direction, b"", 0, b"", clock
            continue
        size = min(int.from_bytes(data[at : at + 2], "little"), MOST)
        at += 2
        more = 0
        if head & CUT:
            more = int.from_bytes(data[at : at + 2], "little")
            at += 2
        piece = data[at : at + size]
        at += size
        if not piece and not more:
            continue  # nothing moved
        tail = (piece[-TAIL:] + bytes(min(more, TAIL)))[-TAIL:] if head & TOLD and more else b""
        yield what, direction, piece, len(piece) + more, tail, clock


def seeds(protocol: Descriptor) -> Iterator[bytes]:
    """The conversations with this protocol in the recordings of real services."""
    if protocol.multiplexed:
        yield _http2()
        return
    for capture in sorted(CAPTURES.glob("*.cap.gz")):
        talks: dict[int, bytearray] = {}
        early: dict[int, list[Record]] = {}
        for record in _records(capture):
            if record.type != layout.DATA:
                continue
            if not record.protocol and record.begins == layout.MAYBE:
                early.setdefault(record.socket_id, []).append(record)
            if record.protocol != protocol.number:
                continue
            talk = talks.get(record.socket_id)
            if talk is None:
                serves = SERVES if record.role == layout.ROLE_SERVER else 0
                fresh = FRESH if record.flags & layout.FLAG_FRESH else 0
                talk = talks[record.socket_id] = bytearray((serves | fresh,))
                # A message's first bytes, read before it was known what they are.
                for before in early.pop(record.socket_id, ()):
                    if before.direction == record.direction:
                        talk += step(before.direction, before.data, before.length)
            talk += step(record.direction, record.data, record.length)
        yield from (bytes(talk) for talk in talks.values())


def segments(number: int) -> Iterator[bytes]:
    """Every segment of the protocol in the recordings, as far as it was captured."""
    for capture in sorted(CAPTURES.glob("*.cap.gz")):
        for record in _records(capture):
            if record.protocol == number and record.type == layout.DATA and record.data:
                yield record.data


def step(direction: int, data: bytes, length: int) -> bytes:
    """A segment, as a step; a long one of which little was captured as several."""
    data = data[:MOST]
    left = length - len(data)
    out = b""
    while True:
        more = min(left, 0xFFFF)
        head = (OUT if direction == EGRESS else 0) | (CUT if more else 0)
        out += bytes((head,)) + len(data).to_bytes(2, "little")
        out += (more.to_bytes(2, "little") if more else b"") + data
        data, left = b"", left - more
        if left <= 0:
            return out


@cache
def _records(capture: Path) -> list[Record]:
    """In the order of time."""
    decoder, records = Decoder(), []
    for frame in CaptureReader(capture):
        if isinstance(frame, Burst):
            records += decoder.feed(frame.data)
    return sorted(records, key=lambda record: record.ts)


def _http2() -> bytes:
    """What a recording has of HTTP/2 is without bodies: a conversation made by hand."""
    table = hpack.Encoder()

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
        return head + payload

    asked = table.encode(
        [
            (":method", "POST"), (":path", "/a.B/C"), (":scheme", "http"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ]
    )  # fmt: skip
    reply, trailers = hpack.Encoder(), [("grpc-status", "0")]
    client = PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, asked) + frame(0, 1, 1, b"body")
    server = frame(4, 0, 0, b"") + frame(1, 4, 1, reply.encode([(":status", "200")]))
    server += frame(0, 0, 1, b"answer") + frame(1, 5, 1, reply.encode(trailers))
    return bytes((FRESH,)) + step(EGRESS, client, len(client)) + step(INGRESS, server, len(server))
