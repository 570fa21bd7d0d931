"""Whatever passes, the AMQP parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.amqp import MAX_OUTSTANDING, AmqpParser
from otel_ebpf.protocols.base import REQUEST
from tests.unit.protocols.amqp_wire import (
    CONFIRM,
    CONFIRM_OK,
    GREETING,
    HEARTBEAT,
    START_OK,
    TUNE,
    TUNE_OK,
    ack,
    close,
    consume,
    consume_ok,
    content,
    deliver,
    frame,
    method,
    nack,
    publish,
    short,
)
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        GREETING,
        START_OK,
        TUNE,
        TUNE_OK,
        CONFIRM,
        CONFIRM_OK,
        HEARTBEAT,
        *(publish("a", channel=channel, context=True) for channel in (1, 2)),
        publish("b", size=0),
        publish("c", size=20, split=9),
        *(deliver(number, "a") for number in (1, 2)),
        *(ack(number, several) for number in (0, 1, 2) for several in (False, True)),
        nack(1),
        consume("q"),
        consume("q", "", True),
        consume_ok(),
        content(),
        method((60, 70), b"\0\0" + short("q") + b"\0"),
        method((60, 71), bytes(9) + short("x") + short("q") + bytes(4)),
        method((60, 72), b"\0"),
        method((60, 50), b"\x01\x38" + short("NO") + short("") + short("a")),
        close(404),
        close(320, 0, (10, 50)),
        frame(2, 1, b"\0\x3c"),
        frame(3, 1, b"x"),
        publish("cut")[:9],
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
    talk = Talk(AmqpParser(), fresh)
    answered: list[int] = []
    for direction, data, gap in segments:
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        if gap % 50 == 49:
            talk.keep(talk.parser.gap(direction, talk.clock))
        assert len(talk.parser._waiting) <= min(len(talk.requests), MAX_OUTSTANDING)
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
