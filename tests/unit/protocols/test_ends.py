"""Ends of messages whose framing left the capture: the last chunk, silence, and doubt."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import RESPONSE, TAIL, Message
from otel_ebpf.protocols.http1 import Http1Parser
from tests.unit.protocols.conversation import IN, OUT, brief

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIRST = CHUNKED + b"4000\r\n" + b"x" * 100
"""A head, and the beginning of a chunk of 16 KiB."""


class Wire:
    """Segments with a tail, as the kernel half gives them; each lasts 5 ns, 10 ns apart."""

    def __init__(self) -> None:
        self.parser = Http1Parser()
        self.clock = 0
        self.messages: list[Message] = []

    def move(self, direction: int, data: bytes, seen: int | None = None) -> list[Message]:
        """``data`` moves and its first ``seen`` bytes (all of them) are captured."""
        head = data[:seen]
        tail = b"" if len(head) == len(data) else data[-TAIL:]
        return self.told(direction, head, len(data), tail)

    def told(self, direction: int, data: bytes, length: int, tail: bytes = b"") -> list[Message]:
        self.clock += 10
        now, token = self.clock, object()
        out = self.parser.feed(direction, data, length, now, now + 5, token, tail)
        self.messages += [m for m in out if not any(m is known for known in self.messages)]
        return out

    def ask(self, request: bytes = GET) -> Wire:
        self.move(IN, request)
        return self

    @property
    def brief(self) -> list[str]:
        return [brief(message) for message in self.messages]


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param([b"y" * 40000 + b"\r\n0\r\n\r\n"], id="with the data"),
        pytest.param([b"y" * 40000, b"\r\n0\r\n\r\n"], id="alone"),
        pytest.param([b"y" * 40000 + b"\r\n", b"0\r\n\r\n"], id="without its line end"),
        pytest.param([b"y" * 40000 + b"\r\n0\r", b"\n\r\n"], id="cut"),
        pytest.param([b"y" * 40000, *[bytes([b]) for b in b"\r\n0\r\n\r\n"]], id="byte by byte"),
    ],
)
def test_a_last_chunk_that_was_not_captured_ends_the_message_at_once(
    segments: list[bytes],
) -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    for segment in segments[:-1]:
        assert wire.move(OUT, segment, 0) == []
    [done] = wire.move(OUT, segments[-1], 0)
    assert done.complete
    assert done.end == wire.clock + 5
    assert done.length == len(FIRST) + sum(map(len, segments))
    assert wire.parser.desyncs == 0
    assert not wire.parser.open_ended


def test_a_segment_of_which_only_the_beginning_was_captured_shows_the_end_too() -> None:
    wire = Wire().ask()
    [done] = wire.move(OUT, FIRST + b"y" * 40000 + b"\r\n0\r\n\r\n", len(FIRST))
    assert done.complete
    assert done.kind == RESPONSE


def test_a_chunked_body_behind_a_head_larger_than_the_capture_ends_at_its_last_chunk() -> None:
    wire = Wire().ask()
    head = CHUNKED[:-2] + b"X-Long: " + b"l" * 2000 + b"\r\n\r\n"
    wire.move(OUT, head + b"5\r\nhello\r\n", 200)
    assert brief(wire.messages[-1]).endswith("truncated open")
    [done] = wire.move(OUT, b"0\r\n\r\n", 0)
    assert done.complete


def test_the_next_exchange_follows_a_concluded_one() -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    wire.move(OUT, b"y" * 40000 + b"\r\n0\r\n\r\n", 0)
    wire.ask(b"GET /b HTTP/1.1\r\n\r\n")
    wire.move(OUT, OK)
    assert wire.brief[2:] == ["GET /b +19", f"200 +{len(OK)}"]
    assert wire.parser.desyncs == 0


def test_a_concluded_end_that_was_none_is_counted_and_harms_nothing() -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    assert wire.move(OUT, b"not at its end: \r\n0\r\n\r\n" + b"y" * 20000, 0) == []
    [early] = wire.move(OUT, b"y" * 20000 + b"\r\n0\r\n\r\n", 0)
    at, length = early.end, early.length
    for _ in range(3):
        assert wire.move(OUT, b"z" * 5000, 0) == []
    assert wire.parser.desyncs == 1
    wire.ask(b"GET /b HTTP/1.1\r\n\r\n")
    assert wire.move(OUT, b"more of it, captured after the turn") == []
    wire.move(OUT, OK)
    assert wire.brief[2:] == ["GET /b +19", f"200 +{len(OK)}"]
    assert (early.end, early.length) == (at, length)
    assert wire.parser.desyncs == 1


def test_a_false_end_does_not_take_the_response_from_a_pipelined_request() -> None:
    wire = Wire().ask(GET + b"GET /b HTTP/1.1\r\n\r\n")
    wire.move(OUT, FIRST)
    wire.move(OUT, b"\r\n0\r\n\r\n", 0)
    wire.move(OUT, b"z" * 5000, 0)
    wire.ask(b"GET /c HTTP/1.1\r\n\r\n")
    assert not any(message.oneway for message in wire.messages)


def test_trailers_leave_the_end_open_until_the_connection_is_quiet() -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    assert wire.move(OUT, b"y" * 40000 + b"\r\n0\r\nX-Sum: 12345\r\n\r\n", 0) == []
    assert wire.parser.open_ended
    end = wire.clock + 5
    [done] = wire.parser.settle(10**9)
    assert done.complete
    assert done.end == end
    assert not wire.parser.open_ended


@pytest.mark.parametrize(
    "tail", [b"data: 1\n\n\r\n", b"data: 1\r\n\r\n\r\n", b"y" * 20], ids=["events", "crlf", "half"]
)
def test_a_stream_between_two_chunks_is_not_over_however_long_it_is_quiet(tail: bytes) -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    wire.move(OUT, b"y" * 40000 + tail, 0)
    assert wire.parser.settle(10**12) == []
    [done] = wire.move(OUT, b"y" * 500 + b"\r\n0\r\n\r\n", 0)
    assert done.end == wire.clock + 5
    assert wire.parser.desyncs == 0


def test_silence_ends_a_message_of_which_nothing_else_is_known() -> None:
    wire = Wire().ask()
    wire.move(OUT, FIRST)
    wire.told(OUT, b"", 40000)  # sent from a file: no bytes to look at
    end = wire.clock + 5
    [done] = wire.parser.settle(10**9)
    assert (done.complete, done.end) == (True, end)
    assert wire.told(OUT, b"", 40000) == []
    assert wire.parser.desyncs == 1
    assert done.length == len(FIRST) + 40000


def test_silence_does_not_end_a_body_that_is_known_to_be_longer() -> None:
    wire = Wire().ask()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nX: " + b"l" * 2000 + b"\r\n\r\n"
    wire.move(OUT, head + b"y" * 1000, 200)
    assert wire.parser.settle(10**9) == []
    wire.move(OUT, b"y" * 4000, 0)
    [done] = wire.parser.settle(10**9)
    assert done.length == len(head) + 5000


def test_silence_ends_nothing_that_has_a_length_or_ends_with_the_connection() -> None:
    for head in (b"Content-Length: 5000\r\n", b"Connection: close\r\n"):
        wire = Wire().ask()
        wire.move(OUT, b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        wire.move(OUT, b"y" * 1000, 0)
        assert not wire.parser.open_ended
        assert wire.parser.settle(10**9) == []


def test_a_response_after_a_loss_is_the_newest_requests() -> None:
    wire = Wire().ask()
    wire.ask(b"GET /b HTTP/1.1\r\n\r\n")  # the response to /a was lost, as the next shows
    wire.told(OUT, b"", 60)
    wire.move(OUT, OK)
    assert [m.oneway for m in wire.messages] == [True, False, False]


def test_a_response_after_a_loss_is_nobodys_where_requests_are_pipelined() -> None:
    wire = Wire().ask(GET + b"GET /b HTTP/1.1\r\n\r\n")
    wire.told(OUT, b"", 60)
    wire.move(OUT, OK)
    assert [m.oneway for m in wire.messages] == [True, True, False]
