"""Whatever passes, the Memcached parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.memcached import MemcachedParser
from tests.unit.protocols.talk import Talk
from tests.unit.protocols.test_memcached import packet

_PIECES = st.sampled_from(
    [
        b"get k\r\n",
        b"set k 0 0 2\r\nhi\r\n",
        b"set k 0 0 2 noreply\r\nhi\r\n",
        b"set k 0 0 99999999999\r\n",
        b"set\r\n",
        b"mg k v q\r\n",
        b"mg k v\r\n",
        b"ms k 2\r\nhi\r\n",
        b"mn\r\n",
        b"stats\r\n",
        b"quit\r\n",
        b"watch\r\n",
        b"STORED\r\n",
        b"VALUE k 0 2\r\nhi\r\n",
        b"VALUE k 0 x\r\n",
        b"VA 2\r\nhi\r\n",
        b"END\r\n",
        b"HD\r\n",
        b"MN\r\n",
        b"ERROR\r\n",
        packet(0x80, 0x00, b"k", opaque=1),
        packet(0x81, 0x00, opaque=1),
        packet(0x80, 0x09, b"k", opaque=2),
        packet(0x81, 0x09, opaque=2),
        packet(0x80, 0x10),
        packet(0x81, 0x10),
        packet(0x80, 0x0A)[:9],
        b"\r\n",
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.integers(0, 60),
    st.sampled_from([b"", b"END\r\n", b"12345678"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int, int, bytes]], fresh: bool) -> None:
    talk = Talk(MemcachedParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence, tail in segments:
        talk.silence(silence)
        for message in talk.hear(direction, data, len(data) + gap, tail if gap else b""):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        assert len(talk.parser._outstanding) <= MAX_OUTSTANDING
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
