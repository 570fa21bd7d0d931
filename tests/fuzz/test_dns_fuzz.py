"""Whatever passes, DNS's parsers raise nothing, hold little, pair nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.dns import read_datagram
from otel_ebpf.protocols.dns_tcp import KEPT, MAX_OUTSTANDING, DnsParser
from tests.unit.protocols.dns_wire import AXFR, A, address, framed, query, reply, rr
from tests.unit.protocols.talk import Talk

_WHOLE = [
    query(1, "www.test"),
    query(1, "www.test", edns=True),
    query(2, "zone.test", AXFR),
    reply(1, "www.test", answers=(address("10.0.0.1"), address("::1"))),
    reply(1, "www.test", code=23),
    reply(2, "zone.test", AXFR, (rr(6, bytes(22)),)),
    reply(2, "zone.test", AXFR, (rr(6, bytes(22)), rr(A, bytes(4), b"\xc0\x1b"))),
]
_PIECES = st.sampled_from(
    [*map(framed, _WHOLE), framed(_WHOLE[0])[:9], b"\0", b"\0\x0c", b"\xff" * 3]
)


@st.composite
def _bent(draw: st.DrawFn) -> bytes:
    """A message with a byte changed here and there, or cut."""
    data = bytearray(draw(st.sampled_from(_WHOLE)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.binary(max_size=600), _bent()), st.integers(0, 100))
def test_any_datagram(data: bytes, beyond: int) -> None:
    said = read_datagram(data, len(data) + beyond)
    if said is not None:
        assert hash((said.number, said.about)) is not None
        assert len(said.head.name if said.kind == REQUEST else said.head.code) < 1100


_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join), _bent()),
    st.integers(0, 200),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int]], fresh: bool) -> None:
    talk = Talk(DnsParser(), fresh)
    answered: list[int] = []
    for direction, data, gap in segments:
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
        assert max(len(half.data) for half in talk.parser._halves) <= KEPT + 2
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
