"""FastCGI under any bytes: it never raises, never mixes answers up, and stays small."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.fastcgi import FastCgiParser
from tests.unit.protocols.fastcgi_wire import answer, ask, record
from tests.unit.protocols.talk import Talk

pieces = st.one_of(
    st.binary(max_size=64),
    st.builds(record, st.integers(0, 12), st.binary(max_size=40), st.integers(0, 3)),
    st.builds(lambda n: ask(f"/{n}", n), st.integers(1, 3)),
    st.builds(lambda n: answer(b"Status: 200\r\n\r\n", n), st.integers(1, 3)),
)


@settings(max_examples=300, deadline=None)
@given(
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from([EGRESS, INGRESS]), pieces, st.integers(0, 100)), max_size=30
    ),
    st.booleans(),
)
def test_any_bytes(fresh: bool, segments: list[tuple[int, bytes, int]], gaps: bool) -> None:
    talk = Talk(FastCgiParser(), fresh)
    for number, (direction, data, missing) in enumerate(segments):
        talk.hear(direction, data, len(data) + (missing if missing > 80 else 0))
        if gaps and number % 7 == 3:
            talk.keep(talk.parser.gap(direction, talk.clock))
        if number % 11 == 5:
            talk.keep(talk.parser.settle(talk.clock))
        assert len(talk.parser._calls) <= 4
    talk.keep(talk.parser.close(talk.clock))
    assert set(talk.answers) <= {m.stream for m in talk.requests}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_of_a_conversation_is_the_same(data: st.DataObject) -> None:
    asked = ask("/one", 1, HTTP_COOKIE="c" * 200) + ask("/two", 2) + record(5, b"body", 2, 4)
    told = record(6, b"Status: 20", 2) + answer(b"Status: 301\r\n\r\n", 1)
    told += record(7, b"oh") + answer(b"2 A\r\n\r\nbody", 2)
    talk = Talk(FastCgiParser())
    for say, whole in ((talk.ask, asked), (talk.answer, told)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            if stop > start:
                say(whole[start:stop])
    found = {m.head.target: talk.answers[m.stream] for m in talk.requests}
    assert {k: (v.head.status, v.complete) for k, v in found.items()} == {
        "/one": (301, True),
        "/two": (202, True),
    }
