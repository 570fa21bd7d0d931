"""Whatever passes, the Kafka parser raises nothing, holds little, and pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.kafka import MAX_OUTSTANDING, KafkaParser
from otel_ebpf.protocols.kafka_calls import MAX_PARTITIONS
from otel_ebpf.protocols.kafka_frames import KEPT
from tests.unit.protocols.kafka_wire import (
    ID,
    answer,
    batch,
    fetch,
    fetched,
    i16,
    metadata,
    produce,
    produced,
    record,
    request,
    traced,
)
from tests.unit.protocols.talk import Talk

_FRAMES = [
    produce(1, {"a": {0: traced(1, 2)}, "b": {1: traced(3)}}),
    produce(2, {"a": {0: batch([record(0)])}}, 3, acks=0),
    produce(3, {ID: {0: traced(1, packed=1)}}, 13),
    fetch(4, {"a": {0: 1}, "b": {1: 0}}),
    fetch(5, {ID: {0: 1}}, 17),
    request(3, 12, 6),
    request(36, 2, 7, b"\0shop\0secret"),
    request(12, 4, 8, b"\2g"),
    produced(1, {"a": {0: 0}, "b": {1: 3}}),
    produced(3, {ID: {0: 0}}, 13),
    fetched(4, {"a": {0: traced(1, base=1)}, "b": {1: traced(1, 2, packed=1)}}),
    fetched(5, {ID: {0: traced(1)}}, 17),
    metadata(6, {"a": ID}),
    answer(36, 2, 7, i16(58)),
    produce(10, {"a": {n: traced(1, packed=n) for n in range(6)}}),
]


@st.composite
def _frame(draw: st.DrawFn) -> bytes:
    """One of the above, perhaps with bytes changed, or cut."""
    data = bytearray(draw(st.sampled_from(_FRAMES)))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), _frame(), st.lists(_frame(), max_size=4).map(b"".join)),
    st.integers(0, 300),  # bytes behind it that were not captured
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int]], fresh: bool) -> None:
    talk = Talk(KafkaParser(), fresh)
    answered: list[int] = []
    for direction, data, gap in segments:
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        parser = talk.parser
        assert len(parser._calls) <= MAX_OUTSTANDING
        assert len(parser._wanted) <= MAX_PARTITIONS
        for frames in (parser._requests, parser._replies):
            assert sum(len(part) for _, part in frames._parts) <= KEPT
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
    assert b"secret".decode() not in str([m.head.text for m in talk.requests])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_of_a_conversation_is_the_same(data: st.DataObject) -> None:
    asked = _FRAMES[0] + _FRAMES[3] + _FRAMES[5] + produce(9, {"c": {0: traced(1)}}, 3)
    told = _FRAMES[8] + _FRAMES[10] + _FRAMES[12] + produced(9, {"c": {0: 6}}, 3)
    talk = Talk(KafkaParser())
    for say, whole in ((talk.ask, asked), (talk.answer, told)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            if stop > start:
                say(whole[start:stop])
    assert sorted(talk.pairs()) == [
        ("Metadata", "ok"),
        ("poll a", "ok"),
        ("poll b", "ok"),
        ("send a", "ok"),
        ("send b", "UNKNOWN_TOPIC_OR_PARTITION"),
        ("send c", "NOT_LEADER_OR_FOLLOWER"),
    ]
