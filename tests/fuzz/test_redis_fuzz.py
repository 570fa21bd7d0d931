"""Whatever passes, the Redis parser raises nothing, holds little, and pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.in_order import MAX_OUTSTANDING
from otel_ebpf.protocols.redis import RedisParser
from tests.unit.protocols.talk import Talk
from tests.unit.protocols.test_redis import bulk, command

_PIECES = st.sampled_from(
    [
        command("GET", "k"),
        command("SET", "k", "v" * 300),
        command("SUBSCRIBE", "a", "b"),
        command("UNSUBSCRIBE"),
        command("CLIENT", "REPLY", "SKIP"),
        command("CLIENT", "REPLY", "ON"),
        command("SELECT", "1"),
        b"PING\r\n",
        b"+OK\r\n",
        b"-ERR x\r\n",
        b":1\r\n",
        bulk(b"v" * 100),
        b"$-1\r\n",
        b"*2\r\n:1\r\n*1\r\n+x\r\n",
        b">2\r\n+message\r\n+x\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        b"|1\r\n+a\r\n:1\r\n",
        b"*99999999999\r\n",
        b"$99999999999\r\n",
        b"*-5\r\n",
        b"\r\n",
        b"*",
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 300),  # bytes behind it that were not captured
    st.integers(0, 60),  # ms of silence before
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40), st.booleans())
def test_any_bytes(segments: list[tuple[int, bytes, int, int]], fresh: bool) -> None:
    talk = Talk(RedisParser(), fresh)
    answered: list[int] = []
    for direction, data, gap, silence in segments:
        talk.silence(silence)
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        parser = talk.parser
        assert len(parser._outstanding) <= MAX_OUTSTANDING
        assert len(parser._replies._line) + len(parser._requests._line) < 20_000
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_cut_of_a_conversation_is_the_same(data: st.DataObject) -> None:
    asked = command("SET", "k", "v" * 90) + command("LRANGE", "l", "0", "-1") + b"PING\r\n"
    told = b"+OK\r\n*2\r\n" + bulk(b"a") + b":2\r\n" + b"-LOADING busy\r\n"
    talk = Talk(RedisParser())
    for say, whole in ((talk.ask, asked), (talk.answer, told)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            if stop > start:
                say(whole[start:stop])
    assert [end for _, end in talk.pairs()] == ["ok", "ok", "LOADING"]
