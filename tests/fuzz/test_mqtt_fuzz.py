"""Whatever passes, the MQTT parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.mqtt import MqttParser
from tests.unit.protocols.mqtt_wire import (
    TRACEPARENT,
    ack,
    connack,
    connect,
    packet,
    publish,
    suback,
    subscribe,
    user,
)
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        connect(4),
        connect(5),
        connack(),
        connack(5, 4),
        publish("a"),
        publish("a", 1, 1),
        publish("b", 1, 2, b"\x23\0\1" + user("traceparent", TRACEPARENT)),
        publish("", 2, 1, b"\x23\0\1"),
        *(ack(kind, number) for kind in (4, 5, 6, 7) for number in (1, 2)),
        ack(4, 1, 0x87),
        subscribe(2, "x"),
        suback(2, 0x80),
        b"\xc0\0",
        b"\xd0\0",
        packet(0xE0, b"\x8b\0"),
        b"\xf0\0",
        b"\x36\2\0\1",
        publish("cut", 3, 1)[:5],
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int]], fresh: bool) -> None:
    talk = Talk(MqttParser(), fresh)
    answered: list[int] = []
    for direction, data, gap in segments:
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        if gap % 50 == 49:
            talk.keep(talk.parser.gap(direction, talk.clock))
        assert sum(map(len, talk.parser._waiting)) <= len(talk.requests)
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
