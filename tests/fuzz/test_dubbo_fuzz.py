"""Whatever passes, Dubbo's parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.dubbo import KEPT, MAX_OUTSTANDING, DubboParser
from otel_ebpf.protocols.dubbo_body import read_call, thrown
from tests.unit.protocols.dubbo_wire import FASTJSON, answer, call, heartbeat, packet, word
from tests.unit.protocols.dubbo_wire import thrown as wire_thrown
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        call(1),
        call(2, "$invoke", rest=word("types") + word("price")),
        call(3, written=FASTJSON),
        call(4, two_way=False),
        call(5, rest=b"x" * 9000),
        answer(1),
        answer(2, wire_thrown("shop.Gone")),
        answer(3, b"\x90", 20),
        answer(5, b"secret", 100),
        heartbeat(6),
        heartbeat(6, False),
        packet(0xC2, 0, 7, b"\xff" * 40),
        b"\xda\xbb\xc2\0" + b"\xff" * 12,
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_SEGMENT, max_size=30), st.booleans(), st.integers(1, 80))
def test_any_bytes(segments: list[tuple[int, bytes, int]], fresh: bool, cut: int) -> None:
    talk = Talk(DubboParser(), fresh)
    answered: list[int] = []
    for direction, data, gap in segments:
        for part, more in ((data[:cut], 0), (data[cut:], gap)):
            for told in talk.hear(direction, part, len(part) + more):
                if told.kind != REQUEST and told.complete:
                    answered.append(told.stream)
        assert len(talk.parser._calls) <= MAX_OUTSTANDING
        assert all(
            len(packets.data) <= KEPT + 16
            for packets in (talk.parser._requests, talk.parser._replies)
        )
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([2, FASTJSON, 6]))
def test_any_body(data: bytes, written: int) -> None:
    method, version = read_call(data, written)
    assert len(method) <= 511 and len(version) <= 255
    assert len(thrown(data, written)) <= 255
