"""Whatever passes, MongoDB's parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.mongodb import MAX_OUTSTANDING, MongodbParser
from otel_ebpf.protocols.mongodb_commands import read_answer, read_request
from otel_ebpf.protocols.mongodb_frames import KEPT, KINDS
from tests.unit.protocols.mongodb_wire import (
    answer,
    ask,
    compressed,
    document,
    message,
    packet,
    query,
    reply,
)
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        ask(1, {"find": "items", "filter": {"a": [1, {"b": "x"}]}}),
        ask(2, {"insert": "items"}, sequences={"documents": [{"a": 1}] * 3}),
        ask(3, {"insert": "items"}, flags=2),
        ask(4, {"getMore": 1, "collection": "items"}, flags=1 << 16),
        ask(1, {"hello": 1}),
        compressed(ask(5, {"count": "items"})),
        compressed(ask(6, {"count": "items"}), 3),
        compressed(ask(7, {"count": "items"}), 2)[:-3],
        query(8, "admin.$cmd", {"ismaster": 1}),
        packet(2005, 9, 0, bytes(4) + b"a.b\0"),
        answer(1),
        answer(2, {"ok": 0, "code": 5}),
        answer(4, flags=2),
        message(1, {"ok": 1}, 1004),
        message(1004, {"ok": 1}, 1004, flags=2),
        reply(8, {"ok": 1}),
        reply(8, {"$err": "x"}, 2),
        packet(2013, 1, 1, b"\xff" * 40),
        packet(2012, 1, 0, b"\xff" * 4),
        b"\xff\xff\xff\x7f" * 4,
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.integers(0, 60),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_SEGMENT, max_size=30), st.booleans(), st.integers(1, 80))
def test_any_bytes(segments: list[tuple[int, bytes, int, int]], fresh: bool, cut: int) -> None:
    talk = Talk(MongodbParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence in segments:
        talk.silence(silence)
        for part, more in ((data[:cut], 0), (data[cut:], gap)):
            for told in talk.hear(direction, part, len(part) + more):
                if told.kind != REQUEST and told.complete:
                    answered.append(told.stream)
        parser = talk.parser
        assert len(parser._calls) <= MAX_OUTSTANDING
        assert parser._requests._kept <= KEPT and parser._replies._kept <= KEPT
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}


_KEYS = st.sampled_from(["find", "a", "$db", "documents", "ok", "code", "writeErrors", "$query"])
_DOCUMENTS = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), st.text("s", max_size=4), st.none(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=12,
).filter(lambda value: isinstance(value, dict))


@settings(max_examples=300, deadline=None)
@given(
    _DOCUMENTS, st.sampled_from(sorted(KINDS)), st.binary(max_size=24), st.integers(0, 300),
    st.tuples(st.integers(0, 300), st.integers(0, 255)),
)  # fmt: skip
def test_documents_cut_and_spoilt_anywhere(
    fields: dict[str, object], kind: int, head: bytes, cut: int, spoilt: tuple[int, int]
) -> None:
    body = bytearray(head + document(fields))
    body[spoilt[0] % len(body)] = spoilt[1]
    for data in (bytes(body), bytes(body[:cut])):
        asked = read_request(kind, data, True)
        assert len(asked.head.text) < 40_000
        read_answer(kind, data, False)
