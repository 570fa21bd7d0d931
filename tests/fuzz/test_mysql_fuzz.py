"""Whatever passes, MySQL's parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.mysql import MysqlParser
from otel_ebpf.protocols.mysql_session import MAX_STATEMENTS
from tests.unit.protocols.mysql_wire import (
    COMPRESS,
    NEW,
    OLD,
    close,
    command,
    definition,
    eof,
    error,
    execute,
    fetch,
    greeting,
    login,
    ok,
    packet,
    prepare,
    prepared,
    query,
    result,
    row,
    tls_wish,
)
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        greeting(),
        greeting("8.0.36", NEW | COMPRESS),
        login(),
        login(flags=OLD, first=2),
        login()[:40],
        tls_wish(),
        query("SELECT 'x' FROM t; COMMIT"),
        query("USE shop"),
        query("SELECT 1")[:4],
        query("LOAD DATA LOCAL INFILE 'x'"),
        prepare("SELECT ?"),
        execute(1),
        fetch(1),
        close(1),
        command(0x0E),
        command(0x11, b"me\0"),
        command(0x12),
        command(0x09),
        command(0xFA),
        command(0x77),
        packet(0, b""),
        packet(2, b"s3cr3t"),
        packet(1, b"\xfbfile"),
        packet(1, b"\xff"),
        packet(1, b"\xfe"),
        packet(1, b"\xfc"),
        packet(1, b"\0\1"),
        packet(1, b"\x02\0"),
        ok(),
        ok(2),
        ok(1, 8),
        eof(1),
        eof(2),
        error(1146),
        definition(2),
        row(3),
        result(),
        result(old=True),
        result(2, 2, status=10),
        prepared(1),
        prepared(1, old=True),
        b"\xff\xff\xff\0\3",
        b"\xff\xff\xff\1\0",
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.integers(0, 60),
    st.sampled_from([b"", eof(3)[-8:], ok(3, header=0xFE)[-8:], b"12345678"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int, int, bytes]], fresh: bool) -> None:
    talk = Talk(MysqlParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence, tail in segments:
        talk.silence(silence)
        for message in talk.hear(direction, data, len(data) + gap, tail if gap else b""):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        parser = talk.parser
        assert len(parser._outstanding) <= MAX_OUTSTANDING
        assert len(parser._session.statements) <= MAX_STATEMENTS
        assert len(parser._replies.body) <= 160
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
