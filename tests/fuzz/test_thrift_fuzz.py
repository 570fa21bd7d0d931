"""Whatever passes, Thrift's parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.thrift import ThriftParser
from otel_ebpf.protocols.thrift_answers import read_answer
from otel_ebpf.protocols.thrift_calls import MAX_OUTSTANDING
from otel_ebpf.protocols.thrift_frames import KEPT
from otel_ebpf.protocols.thrift_head import LONGEST_HEAD, read_head
from otel_ebpf.protocols.thrift_walk import DEEPEST, END, Walk
from tests.unit.protocols.talk import Talk
from tests.unit.protocols.thrift_wire import (
    COMPACT_MANY,
    EXCEPTION,
    MANY,
    ONEWAY,
    REPLY,
    binary,
    compact,
    compact_fault,
    fault,
    framed,
    header,
)

_MESSAGES = st.sampled_from(
    [
        binary("price", 1, body=MANY),
        binary("price", 0, body=MANY),
        binary("price", 1, REPLY, MANY),
        binary("price", 0, REPLY, MANY),
        binary("price", 0, EXCEPTION, fault(1)),
        binary("note", 2, ONEWAY),
        binary("shop:list", 300),
        binary("list", 300, REPLY, b"\x0f\0\0\x0c\x7f\xff\xff\xff"),
        compact("price", 300, body=COMPACT_MANY),
        compact("price", 300, REPLY, COMPACT_MANY),
        compact("price", 300, EXCEPTION, compact_fault(6)),
        binary("deep", 4, body=b"\x0c\0\1" * 70),
    ]
)
_PIECES = st.one_of(
    _MESSAGES,
    _MESSAGES.map(framed),
    _MESSAGES.map(header),
    _MESSAGES.map(lambda message: header(message, packed=True)),
    _MESSAGES.map(lambda message: header(message, pairs={"traceparent": "00-0-0-0"})[:-3]),
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.integers(0, 60),
    st.binary(max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_SEGMENT, max_size=30), st.booleans(), st.integers(1, 80))
def test_any_bytes(
    segments: list[tuple[int, bytes, int, int, bytes]], fresh: bool, cut: int
) -> None:
    talk = Talk(ThriftParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence, tail in segments:
        talk.silence(silence)
        for part, more in ((data[:cut], 0), (data[cut:], gap)):
            end = tail[-more:] if more else b""
            for told in talk.hear(direction, part, len(part) + more, end):
                if told.kind != REQUEST and told.complete:
                    answered.append(told.stream)
        parser = talk.parser
        assert len(parser._calls) <= MAX_OUTSTANDING
        for frames in (parser._requests, parser._replies):
            assert sum(map(len, frames._parts)) <= KEPT and len(frames._begun) <= LONGEST_HEAD
            assert len(frames._walk._stack) <= DEEPEST + 1 and len(frames._walk._part) < 16
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_struct_and_any_answer(data: bytes, is_compact: bool) -> None:
    read_head(data)
    for kind in (REPLY, EXCEPTION):
        read_answer(kind, data, is_compact)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([MANY, COMPACT_MANY]), st.data())
def test_a_struct_ends_where_it_does_however_it_is_cut(struct: bytes, data: st.DataObject) -> None:
    walk = Walk()
    walk.begin(struct is COMPACT_MANY)
    at = 0
    while at < len(struct) - 1:
        end = data.draw(st.integers(at + 1, len(struct) - 1))
        used, outcome = walk.feed(struct[:end], at)
        assert used == end and outcome != END
        at = end
    assert walk.feed(struct + b"more", at) == (len(struct), END)
