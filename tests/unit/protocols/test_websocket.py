"""WebSocket's frames: counted whatever segments they come in, and never guessed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.websocket import Way, WebSocketParser


def frame(opcode: int, payload: bytes = b"", mask: bytes = b"", final: bool = True) -> bytes:
    """One frame; ``mask``: the client's key."""
    size = len(payload)
    short = size if size < 126 else 126 if size < 65536 else 127
    head = bytes([opcode | final << 7, short | bool(mask) << 7])
    if short == 126:
        head += size.to_bytes(2, "big")
    elif short == 127:
        head += size.to_bytes(8, "big")
    if mask:
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return head + mask + payload


KEY = b"\x12\x34\x56\x78"
TALK = (
    frame(1, b"hello", KEY)
    + frame(9, b"ping", KEY)
    + frame(2, b"a" * 200, KEY, final=False)
    + frame(10, b"", KEY)
    + frame(0, b"b" * 70_000, KEY)
    + frame(1, b"", KEY)
)


def told(way: Way) -> tuple[int, int, bool]:
    return way.messages, way.size, way.exact


def test_messages_are_counted_and_control_frames_are_none() -> None:
    way = Way(masked=True)
    way.feed(TALK, len(TALK))
    assert told(way) == (3, 5 + 200 + 70_000, True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, len(TALK)), max_size=30))
def test_any_cut_is_the_same(cuts: list[int]) -> None:
    way = Way(masked=True)
    places = [0, *sorted(cuts), len(TALK)]
    for start, stop in pairwise(places):
        way.feed(TALK[start:stop], stop - start)
    assert told(way) == (3, 70_205, True)


def test_payload_that_was_not_captured_is_passed_over() -> None:
    way = Way(masked=False)
    long = frame(2, bytes(9000))
    way.feed(long[:4096], 5000)
    way.feed(b"", len(long) - 5000)
    way.feed(frame(1, b"next"), 6)
    assert told(way) == (2, 9004, True)


def test_what_follows_a_long_frame_is_seen_in_the_last_bytes() -> None:
    way = Way(masked=True)
    end = frame(0, b"", KEY)
    long = frame(1, bytes(9000), KEY, final=False) + end
    way.feed(long[:4096], len(long), long[-8:])
    assert told(way) == (1, 9000, True)
    way.feed(long[:4096], len(long), long[-3:])
    assert told(way) == (1, 18000, False)


def test_frames_that_were_not_captured_make_the_counts_lower_bounds() -> None:
    way = Way(masked=False)
    many = frame(1, b"x" * 10) * 100
    way.feed(many[:600], len(many))
    assert way.lost
    # A segment in the midst of frames does not fit. Of two that are frames from end to end the
    # second one counts.
    for _ in range(2):
        way.feed(frame(1, b"once"), 6)
        way.feed(b"y" * 50, 50)
        assert way.lost
    for _ in range(3):
        way.feed(frame(1, b"ab") + frame(1, b"c"), 7)
    assert told(way) == (50 + 4, 500 + 6, False)


@pytest.mark.parametrize(
    "bad",
    [
        frame(3, b"x"),
        frame(1, b"x", KEY),  # masked, by a server
        bytes([0xC1 | 0x20, 1, 0]),
        bytes([0x09, 0]),  # a ping in fragments
        bytes([0x88, 126, 0, 200]),
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_what_is_no_frame(bad: bytes) -> None:
    way = Way(masked=False)
    way.feed(frame(1, b"ok") + bad, 4 + len(bad))
    assert way.lost
    assert told(way) == (1, 2, False)


@pytest.mark.parametrize("mask", [b"", KEY])
def test_the_close_frames_code(mask: bytes) -> None:
    way = Way(masked=bool(mask))
    for byte in frame(8, (1011).to_bytes(2, "big") + b"why", mask) + b"behind it":
        way.feed(bytes([byte]), 1)
    assert (way.closed, way.code, way.exact) == (True, 1011, True)
    empty = Way(masked=bool(mask))
    empty.feed(frame(8, b"", mask), 2 + len(mask))
    assert (empty.closed, empty.code) == (True, 0)


def test_a_connection_is_closed_when_both_sides_say_so() -> None:
    parser = WebSocketParser()
    parser.begin(EGRESS)
    parser.feed(EGRESS, frame(8, b"\x03\xe8", KEY), 8, 0, 0, None)
    assert not parser.closed
    parser.feed(INGRESS, frame(8, b"\x03\xe8"), 4, 0, 0, None)
    assert (parser.closed, parser.code, parser.desyncs) == (True, 1000, 0)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80), st.integers(0, 300))))
def test_any_bytes(segments: list[tuple[bool, bytes, int]]) -> None:
    parser = WebSocketParser()
    parser.begin(EGRESS)
    for way, data, missing in segments:
        parser.feed(int(way), data, len(data) + (missing if missing > 200 else 0), 0, 0, None)
        if missing == 200:
            parser.gap(int(way), 0)
    for one in parser.ways:
        assert one.messages >= 0
        assert len(one._head) <= 14


def test_random_segments_are_not_taken_for_frames() -> None:
    generator = random.Random(1)
    way = Way(masked=True)
    way.lose()
    for _ in range(20_000):
        data = generator.randbytes(generator.randrange(20, 200))
        way.feed(data, len(data))
        assert way.lost
