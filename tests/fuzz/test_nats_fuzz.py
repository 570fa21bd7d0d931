"""Whatever passes, the NATS parser raises nothing, holds little, pairs nothing twice."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ebpf.protocols.base import REQUEST
from otel_ebpf.protocols.nats import NatsParser
from tests.unit.protocols.mqtt_wire import TRACEPARENT
from tests.unit.protocols.nats_wire import CONNECT, INFO, headers, hmsg, hpub, msg, pub
from tests.unit.protocols.talk import Talk

_PIECES = st.sampled_from(
    [
        INFO,
        CONNECT,
        b'CONNECT {"verbose":true}\r\n',
        b"CONNECT [[[\r\n",
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n",
        b"SUB mine.* q 1\r\n",
        b"SUB a 2\r\n",
        b"UNSUB 1\r\n",
        *(
            pub(subject, reply)
            for subject in ("a", "mine.1")
            for reply in ("", "mine.1", "_INBOX.1")
        ),
        hpub("a", headers(("traceparent", TRACEPARENT))),
        pub("$JS.ACK.1", payload=b"+WPI"),
        pub("$JS.ACK.1", payload=b"-NAK"),
        *(msg(subject, "1", reply) for subject in ("a", "mine.1") for reply in ("", "mine.1")),
        msg("a", "1", "$JS.ACK.1"),
        hmsg("_INBOX.1", "1", "NATS/1.0 503\r\n\r\n", b""),
        b"MSG a 1 99999999999\r\n",
        b"HMSG a 1 9 5\r\n",
        pub("cut")[:9],
    ]
)
_SEGMENT = st.tuples(
    st.integers(0, 1),
    st.one_of(st.binary(max_size=40), st.lists(_PIECES, max_size=6).map(b"".join)),
    st.integers(0, 200),
    st.sampled_from([0, 0, 0, 20_000, 90_000]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_SEGMENT, max_size=40))
def test_any_bytes(segments: list[tuple[int, bytes, int, int]]) -> None:
    talk = Talk(NatsParser())
    answered: list[int] = []
    for direction, data, gap, silence in segments:
        talk.silence(silence)
        for message in talk.hear(direction, data, len(data) + gap):
            assert message.stream > 0
            if message.kind != REQUEST and message.complete:
                answered.append(message.stream)
        if gap % 50 == 49:
            talk.keep(talk.parser.gap(direction, talk.clock))
        assert sum(map(len, talk.parser._waiting)) <= len(talk.requests)
    talk.keep(talk.parser.settle(talk.clock))
    talk.keep(talk.parser.close(talk.clock))
    assert len(answered) == len(set(answered))
    assert set(talk.answers) <= {m.stream for m in talk.requests}
