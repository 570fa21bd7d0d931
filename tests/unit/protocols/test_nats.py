"""NATS' parser: what clients and servers say, and what is heard of it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import INGRESS
from otel_ebpf.protocols.nats import WAIT, NatsParser
from tests.unit.protocols.mqtt_wire import SPAN, TRACE, TRACEPARENT
from tests.unit.protocols.nats_wire import CONNECT, INFO, headers, hmsg, hpub, msg, pub
from tests.unit.protocols.talk import MS, Talk


def talk(connect: bytes = CONNECT) -> Talk:
    made = Talk(NatsParser())
    made.answer(INFO)
    made.ask(connect + b"PING\r\n")
    made.answer(b"PONG\r\n")
    assert made.pairs() == [("connect", "ok"), ("ping", "ok")]
    assert made.requests[0].head.client_id == "shop"
    made.requests.clear()
    return made


def test_messages_have_no_reply_unless_they_ask_for_one() -> None:
    t = talk()
    t.ask(b"SUB orders.* workers 1\r\n" + pub("orders.new"))
    t.answer(msg("orders.new", "1"))
    t.answer(msg("orders.new", "1", "_INBOX.x.1"))
    published, plain, asking = (m for m in t.requests if not m.head.chatter)
    assert (published.head.text, published.oneway) == ("publish orders.new", True)
    assert (plain.head.text, plain.oneway, plain.head.type) == (
        *("deliver orders.new", True),
        "receive",
    )
    assert (asking.oneway, asking.head.type, asking.head.group) == (False, "process", "workers")
    assert (asking.direction, asking.head.pushed) == (INGRESS, True)
    t.ask(pub("_INBOX.x.1"))
    assert t.pairs()[-1] == ("deliver orders.new", "ok")
    assert len(t.requests) == 4


def test_an_answer_to_an_inbox_is_its_requests() -> None:
    t = talk()
    t.ask(b"SUB mine.* 1\r\n" + pub("a", "mine.1") + pub("b", "mine.2") + pub("c", "theirs"))
    t.answer(msg("mine.2", "1") + hmsg("mine.1", "1", "NATS/1.0 503\r\n\r\n", b""))
    assert t.pairs()[1:] == [("request a", "503"), ("request b", "ok"), ("publish c", None)]
    t.answer(msg("mine.2", "1"))
    # What comes to it once more is a message like any other.
    assert t.pairs()[-1] == ("deliver mine.2", None)


def test_jetstream_is_requests_and_deliveries_with_their_acknowledgement() -> None:
    t = talk()
    t.ask(pub("orders.new", "_INBOX.a.1"))
    t.answer(msg("_INBOX.a.1", "1"))
    t.ask(pub("$JS.API.CONSUMER.MSG.NEXT.S.C", "_INBOX.b"))
    for number in range(3):
        t.answer(msg("orders.new", "2", f"$JS.ACK.S.C.{number}"))
    t.answer(hmsg("_INBOX.b", "2", "NATS/1.0 408 Request Timeout\r\n\r\n", b""))
    t.ask(pub("$JS.ACK.S.C.0", payload=b"+ACK") + pub("$JS.ACK.S.C.1", payload=b"-NAK"))
    t.ask(pub("$JS.ACK.S.C.2", payload=b"+WPI"))
    told = [pair for pair, m in zip(t.pairs(), t.requests, strict=True) if not m.head.chatter]
    delivered = ("deliver orders.new",)
    assert told == [
        ("request orders.new", "ok"),
        *((*delivered, end) for end in ("ok", "nak", None)),
    ]
    t.ask(pub("$JS.ACK.S.C.2", payload=b"+ACK"))
    assert t.pairs()[-1] == (*delivered, "ok")


def test_headers_carry_the_context() -> None:
    t = talk()
    t.ask(hpub("a", headers(("Other", "x"), ("traceparent", TRACEPARENT))))
    t.answer(hmsg("a", "1", headers(("Traceparent", TRACEPARENT)), b"s3cr3t"))
    for request in t.requests:
        (context,) = request.head.contexts
        assert (context.trace_id.hex(), context.span_id.hex()) == (TRACE, SPAN)
        assert request.head.body_size == 6
    t.ask(hpub("a", headers(("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT))))
    assert t.requests[-1].head.contexts == ()


def test_a_server_that_confirms_each_line_ends_them_in_order() -> None:
    t = Talk(NatsParser())
    t.answer(INFO)
    t.ask(b'CONNECT {"verbose":true,"name":"x","pass":"s3cr3t"}\r\n')
    t.answer(b"+OK\r\n")
    t.ask(b"SUB a 1\r\n" + pub("a") + pub("b", "_INBOX.1") + pub("c"))
    t.answer(b"+OK\r\n+OK\r\n+OK\r\n-ERR 'Permissions Violation for Publish to \"c\"'\r\n")
    t.answer(msg("_INBOX.1", "1"))
    assert t.pairs() == [
        ("connect", "ok"),
        ("subscribe a", "ok"),
        ("publish a", "ok"),
        ("request b", "ok"),
        ("publish c", "permissions_violation"),
    ]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Authorization Violation", "authorization_violation"),
        ("Secure Connection - TLS Required", "secure_connection_tls_required"),
        ("something about s3cr3t", "_OTHER"),
    ],
)
def test_a_refused_login_is_an_error(said: str, error: str) -> None:
    t = Talk(NatsParser())
    t.answer(INFO)
    t.ask(CONNECT + b"PING\r\n")
    t.answer(f"-ERR '{said}'\r\n".encode())
    assert t.pairs() == [("connect", error), ("ping", None)]


def test_a_request_that_may_not_be_made_is_refused_by_its_subject() -> None:
    t = talk()
    t.ask(pub("a", "_INBOX.1") + pub("b", "_INBOX.2"))
    t.answer(b"-ERR 'Permissions Violation for Publish to \"b\"'\r\n" + msg("_INBOX.1", "1"))
    assert t.pairs() == [("request a", "ok"), ("request b", "permissions_violation")]


def test_a_delivery_that_nobody_answers_ends_by_itself() -> None:
    t = talk()
    t.answer(msg("a", "1", "elsewhere"))
    assert t.parser.open_ended
    assert t.keep(t.parser.settle(t.clock)) == []
    t.silence(WAIT // MS + 1)
    (ended,) = t.keep(t.parser.settle(t.clock))
    assert (ended.oneway, ended.error) == (True, None)
    assert not t.parser.open_ended
    t.ask(pub("lost", "_INBOX.1"))
    t.silence(70_000)
    t.keep(t.parser.settle(t.clock))
    assert t.pairs()[-1] == ("request lost", "no_response")


def test_lines_and_payloads_cut_anywhere_are_the_same() -> None:
    data = pub("a", "_INBOX.1") + hpub("b", headers(("traceparent", TRACEPARENT))) + pub("c")
    whole, cut = talk(), talk()
    whole.ask(data)
    for at in range(len(data)):
        cut.ask(data[at : at + 1])
    for t in (whole, cut):
        t.answer(msg("_INBOX.1", "1"))
        assert t.pairs() == [("request a", "ok"), ("publish b", None), ("publish c", None)]
        assert len(t.requests[1].head.contexts) == 1


def test_long_payloads_are_counted_through_and_lines_are_found_again() -> None:
    t = talk()
    long = pub("a", payload=b"x" * 60_000)
    t.ask(long[:4096], len(long))
    t.ask(pub("b"))
    assert [m.head.text for m in t.requests] == ["publish a", "publish b"]
    assert t.requests[0].head.body_size == 60_000
    t.ask(pub("c")[:8], 5000)  # more is missing than that message
    t.ask(b"in the middle of something\r\n")
    t.ask(pub("d"))
    assert [m.head.text for m in t.requests[2:]] == ["publish d"]


def test_bytes_that_are_no_lines_are_a_desync() -> None:
    t = talk()
    t.ask(b"PUB a not-a-number\r\n")
    assert (t.parser.desyncs, t.parser.in_step) == (1, False)
