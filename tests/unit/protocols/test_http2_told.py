"""Header blocks as a program tells them: read, matched with frames, not believed too far."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.protocols.http2 import Http2Parser
from otel_ebpf.protocols.http2_frames import END_HEADERS, ENTRY, HEADERS
from otel_ebpf.protocols.http2_heads import Fields
from otel_ebpf.protocols.http2_told import (
    MAX_STREAMS,
    OF_MAP,
    PLACED,
    Block,
    ToldBlocks,
    ended_blocks,
    read_block,
    reconcile,
)
from tests.unit.protocols.http2_wire import CLIENT, SERVER, Ear, Wire, asks

KEY = 0x8000


def told(*fields: tuple[str, str], flag: int = 0) -> bytes:
    """Fields as the kernel half hands them on."""
    return b"".join(
        struct.pack("<HH", len(name.encode()) | flag, len(value.encode()))
        + name.encode()
        + value.encode()
        for name, value in fields
    )


def test_fields_are_read_as_they_were_told() -> None:
    block = read_block(told((":path", "/a"), ("x-empty", ""), ("x", "ü")), PLACED, 77)
    assert block == Block([(":path", "/a"), ("x-empty", ""), ("x", "ü")], False, 77)
    assert read_block(b"", 0, 77).start is None


def test_a_head_kept_as_a_map_becomes_what_is_sent() -> None:
    beside = (("", "Wed"), ("", ""), ("", "12"))
    data = told(("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Bad Name", "x"), *beside)
    block = read_block(data, OF_MAP, 0, 404)
    assert block.fields == [
        (":status", "404"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("date", "Wed"),
        ("content-length", "12"),
    ]
    # Trailers: only those of the map that were announced.
    data = told(("X-Sum", ""), flag=KEY) + told(("Date", "d"), ("X-Sum", "42"))
    assert read_block(data, OF_MAP, 0).fields == [("x-sum", "42")]


@pytest.mark.parametrize("cut", [1, 4, 5, 9])
def test_a_block_that_lies_about_its_lengths_is_cut(cut: int) -> None:
    data = told(("name", "value"), ("other", "more"))
    assert read_block(data[:-cut], 0, 0) == Block([("name", "value")], True, None)


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_no_bytes_raise(data: bytes, flags: int, status: int) -> None:
    block = read_block(data, flags, 1, status)
    assert sum(len(n or "") + len(v or "") for n, v in block.fields) <= len(data) + 40
    reconcile(Fields([(None, None), ("a", None)], True), block)


SEEN = Fields([(":method", "GET"), (None, None)])


def test_what_was_told_fills_what_the_frame_does_not_show() -> None:
    fields = reconcile(SEEN, Block([(":path", "/x"), (":method", "GET")], False, None))
    assert fields is not None
    assert (fields.fields, fields.unknown) == ({":path": "/x", ":method": "GET"}, 0)


@pytest.mark.parametrize(
    "fields",
    [
        [(":path", "/x"), (":method", "PUT")],
        [(":method", "GET")],
        [(":method", "GET"), (":path", "/x"), ("more", "")],
    ],
    ids=["another value", "too few", "too many"],
)
def test_a_block_that_contradicts_its_frame_is_another_s(fields: list[tuple[str, str]]) -> None:
    assert reconcile(SEEN, Block([*fields], False, None)) is None


def test_of_a_block_that_was_cut_the_frame_knows_the_rest() -> None:
    whole = Fields([(":status", "200"), ("x-wide", "w" * 5000)])
    assert reconcile(whole, Block([(":status", "200")], True, None)) is whole
    fields = reconcile(SEEN, Block([(":path", "/x")], True, None))
    assert fields is not None
    assert (fields.fields, fields.cut) == ({":path": "/x", ":method": "GET"}, True)


def test_a_block_told_twice_at_once_is_told_once() -> None:
    blocks = ToldBlocks()
    for _ in range(2):
        blocks.tell(0, 1, Block([("a", "1")], False, None))
    blocks.tell(0, 1, Block([("b", "2")], False, None))
    for name in ("a", "b"):
        taken = blocks.take(0, 1, 9, Fields([(None, None)]))
        assert taken is not None
        assert list(taken.fields) == [name]
    assert blocks.take(0, 1, 9, SEEN) is None


def test_blocks_go_to_the_segment_that_brought_them() -> None:
    blocks = ToldBlocks()
    blocks.tell(0, 1, Block([("early", "1")], False, 0xFFFFFF00))
    blocks.tell(0, 1, Block([("late", "1")], False, 0xFFFFFFF0))
    blocks.tell(0, 1, Block([("later", "1")], False, 5))
    assert (blocks.waiting(0, 1, 5), blocks.waiting(0, 1, 7), blocks.waiting(1, 1, 5)) == (
        1,
        0,
        0,
    )
    # The first one's segment was never seen; the last one's is still to come.
    taken = blocks.take(0, 1, 0xFFFFFFF0, Fields([(None, None)]))
    assert taken is not None
    assert list(taken.fields) == ["late"]
    assert blocks.take(0, 1, 0xFFFFFFFA, SEEN) is None
    assert blocks.waiting(0, 1, 5) == 1
    assert blocks.counts["header_blocks_without_frame"] == 1


def test_blocks_without_frames_are_bounded() -> None:
    blocks = ToldBlocks()
    for stream in range(MAX_STREAMS + 5):
        blocks.tell(0, stream, Block([], False, None))
    assert blocks.waiting(0, 4, 0) == 0
    assert blocks.waiting(0, 5, 0) == 1
    assert blocks.counts["header_blocks_without_frame"] == 5


def test_the_blocks_that_end_in_a_segment_are_found() -> None:
    def entry(kind: int, flags: int, stream: int, size: int, here: int) -> bytes:
        return ENTRY.pack(0, 0, size, kind, flags, stream) + b"x" * here

    data = (
        b"rest"
        + entry(HEADERS, END_HEADERS, 3, 5, 5)
        + entry(0, 1, 5, 70, 0)
        + entry(HEADERS, 0, 7, 2, 2)
        + entry(9, END_HEADERS, 7, 2, 2)
        + entry(HEADERS, END_HEADERS, 9, 5, 4)
    )
    assert list(ended_blocks(data, 4, 1, 4)) == [(0, 1), (4, 3), (50, 7)]
    assert list(ended_blocks(data, 4, 1, 5)) == [(4, 3), (50, 7)], "more of the first is to come"


def test_a_connection_joined_midway_has_the_fields_that_are_told() -> None:
    wire, ear = Wire(), Ear(walked=True)
    wire.answer(wire.ask(asks("/often", "GET", ("x-tenant", "acme"))))
    before = len(wire.turns)
    wire.answer(stream := wire.ask(asks("/often", "GET", ("x-tenant", "acme"))))
    fields = [*asks("/often", "GET", ("x-tenant", "acme"))]
    ear.parser.tell(CLIENT, stream, Block([*fields], False, None))
    ear.parser.tell(SERVER, stream, Block([(":status", "500")], False, None))
    ear.play(wire.turns[before:])
    request, response = ear.messages[0], ear.messages[-1]
    assert (request.head.target, request.head.header("x-tenant")) == ("/often", "acme")
    assert not request.truncated
    # What contradicts the bytes is not believed.
    assert response.head.status == 200
    assert ear.parser.told is not None
    assert ear.parser.told.counts == {
        "header_blocks_told": 1,
        "header_blocks_disagree": 1,
        "header_blocks_not_told": 1,
    }


def test_what_is_still_to_be_told_leaves_out_answers_that_nobody_waits_for() -> None:
    wire, parser = Wire(), Http2Parser()
    parser.client = CLIENT
    entry = ENTRY.pack(0, 0, 1, HEADERS, END_HEADERS, 1) + b"\x88"
    assert parser.untold(SERVER, entry, 0, 0) == []
    assert parser.untold(CLIENT, entry, 0, 0) == [(0, False)]
    parser.tell(CLIENT, 1, Block([], False, None))
    assert parser.untold(CLIENT, entry, 0, 0) == []
    assert parser.untold(CLIENT, entry + entry, 0, 0) == [(len(entry), False)]
    assert wire.turns
