"""Whatever passes, the PostgreSQL parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.postgresql import PostgresqlParser
from otel_ebpf.protocols.postgresql_statements import MAX_STATEMENTS
from tests.unit.protocols.postgresql_wire import (
    BOUND,
    LOGIN,
    PARSED,
    READY,
    SUSPENDED,
    SYNC,
    bind,
    describe,
    done,
    error,
    execute,
    frame,
    parse,
    query,
    row,
    startup,
)
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        startup(user="me", database="d"),
        bytes.fromhex("0000000804d2162f"),
        query("SELECT 'x' FROM t; COMMIT"),
        parse("SELECT $1", "s"),
        bind("s"),
        describe("s"),
        execute(),
        SYNC,
        frame("H"),
        frame("d", b"copied"),
        frame("c"),
        frame("p", b"password"),
        frame("F", b"\0\0\0\1"),
        frame("C", b"Ss\0"),
        frame("X"),
        LOGIN,
        PARSED,
        BOUND,
        READY,
        SUSPENDED,
        row(),
        done(),
        error("42601"),
        frame("E", b"nonsense"),
        frame("G", b"\0\0\0"),
        frame("N", b"\0"),
        b"S",
        b"N",
        b"\0\0\0\x08",
        b"Q\xff\xff\xff\xff",
        b"Q\0\0\0\0",
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.integers(0, 60),
    st.sampled_from([b"", READY[-6:], b"12345678"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int, int, bytes]], fresh: bool) -> None:
    talk = Talk(PostgresqlParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence, tail in segments:
        talk.silence(silence)
        for message in talk.hear(direction, data, len(data) + gap, tail if gap else b""):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        parser = talk.parser
        assert len(parser._outstanding) <= MAX_OUTSTANDING
        assert len(parser._statements) <= MAX_STATEMENTS
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
