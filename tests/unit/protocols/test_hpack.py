"""Header blocks: the fields are those that the ``hpack`` library reads, or unknown."""

from __future__ import annotations

from typing import Any

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.hpack_table import UNKNOWN, Table
from otel_ebpf.protocols.hpack_text import huffman

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
NAME = st.text("abcdef-", min_size=1, max_size=12)
FIELDS = st.lists(
    st.tuples(st.one_of(NAME, st.sampled_from([":path", "cookie"])), TEXT), max_size=8
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(FIELDS, st.booleans()), max_size=12), st.data())
def test_blocks_are_read_as_the_library_reads_them(blocks: list[Any], data: Any) -> None:
    encoder, decoder, table = hpack.Encoder(), hpack.Decoder(), Table()
    decoder.max_allowed_table_size = 1 << 16
    table.begin()
    for fields, plain in blocks:
        if data.draw(st.integers(0, 5)) == 0:
            encoder.header_table_size = data.draw(st.sampled_from([0, 60, 200, 4096, 10000]))
        block = encoder.encode(fields, huffman=not plain)
        out: list[Any] = []
        assert table.decode(block, out)
        assert out == [tuple(map(str, pair)) for pair in decoder.decode(block)]
    assert table.faults == 0


@settings(deadline=None, max_examples=80)
@given(st.lists(FIELDS, min_size=2, max_size=8), st.data())
def test_joined_midway_fields_are_right_or_unknown(blocks: list[Any], data: Any) -> None:
    encoder, table = hpack.Encoder(), Table()
    joined = data.draw(st.integers(1, len(blocks) - 1))
    for at, fields in enumerate(blocks):
        block = encoder.encode(fields)
        if at < joined:
            continue
        out: list[Any] = []
        assert table.decode(block, out)
        assert len(out) == len(fields)
        for (name, value), sent in zip(out, fields, strict=True):
            assert name in (None, sent[0])
            assert value in (None, sent[1])


def test_an_index_into_what_was_not_seen_is_unknown_not_a_fault() -> None:
    table = Table()
    out: list[Any] = []
    assert table.decode(b"\xbe\x82", out)
    assert out == [UNKNOWN, (":method", "GET")]
    assert table.faults == 0


def test_an_index_beyond_a_table_that_was_seen_whole_is_a_fault() -> None:
    table = Table()
    table.begin()
    assert not table.decode(b"\x82\xbe", [])
    assert (table.faults, table.whole) == (1, False)


def test_a_literal_may_have_a_name_that_was_not_seen() -> None:
    table = Table()
    out: list[Any] = []
    assert table.decode(b"\x7e\x01v\xbe", out)
    assert out == [(None, "v"), (None, "v")]


def test_a_cut_block_gives_what_came_before_and_forgets_the_table() -> None:
    table = Table()
    table.begin()
    block = hpack.Encoder().encode([("x-a", "1"), ("x-b", "2")])
    out: list[Any] = []
    assert not table.decode(block[:-1], out)
    assert out == [("x-a", "1")]
    assert table.decode(b"\xbe", out)
    assert out[-1] == UNKNOWN


def test_no_huffman_code_is_none() -> None:
    assert huffman(b"\xff\xff\xff\xff") is None
    assert huffman(b"") == ""
