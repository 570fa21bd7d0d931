"""MQTT's parser: what clients and brokers say, and what is heard of it."""

from __future__ import annotations

import pytest

from otel_ebpf.protocols.base import EGRESS, INGRESS
from otel_ebpf.protocols.mqtt import MqttParser
from tests.unit.protocols.mqtt_wire import (
    SPAN,
    TRACE,
    TRACEPARENT,
    ack,
    connack,
    connect,
    packet,
    publish,
    suback,
    subscribe,
    user,
)
from tests.unit.protocols.talk import Talk


def talk(version: int = 5) -> Talk:
    made = Talk(MqttParser())
    made.ask(connect(version))
    made.answer(connack(version=version))
    return made


@pytest.mark.parametrize("version", [4, 5])
def test_every_quality_of_service_has_its_own_end(version: int) -> None:
    t = talk(version)
    t.ask(publish("a", version=version))
    t.ask(publish("b", 1, 1, version=version))
    t.ask(publish("c", 2, 2, version=version))
    t.answer(ack(5, 2))
    t.answer(ack(4, 1))
    assert t.pairs()[1:] == [("publish a", None), ("publish b", "ok"), ("publish c", None)]
    t.ask(ack(6, 2))
    t.answer(ack(7, 2))
    assert t.pairs()[3] == ("publish c", "ok")
    assert [m.oneway for m in t.requests[1:]] == [True, False, False]
    assert {m.head.body_size for m in t.requests[1:]} == {6}
    assert {m.head.client_id for m in t.requests} == {"shop"}


def test_what_the_broker_delivers_is_its_request() -> None:
    t = talk()
    t.answer(publish("a", 7, 1))
    t.ask(publish("b", 7, 1))  # identifiers are each side's own
    t.ask(ack(4, 7))
    delivered, published = t.requests[1:]
    assert (delivered.direction, delivered.head.pushed, delivered.head.type) == (
        *(INGRESS, True),
        "process",
    )
    assert (published.direction, published.head.pushed) == (EGRESS, False)
    assert t.pairs()[1:] == [("deliver a", "ok"), ("publish b", None)]


def test_user_properties_carry_the_context_and_aliases_the_topic() -> None:
    t = talk()
    alias = b"\x23\0\5"
    t.ask(publish("orders", props=alias + user("traceparent", TRACEPARENT)))
    t.ask(publish("", props=user("other", "x") + alias))
    first, second = (m.head for m in t.requests[1:])
    assert (first.destination, second.destination) == ("orders", "orders")
    (context,) = first.contexts
    assert (context.trace_id.hex(), context.span_id.hex()) == (TRACE, SPAN)
    assert second.contexts == ()


def test_two_parents_contradict_each_other() -> None:
    t = talk()
    t.ask(publish("a", props=user("traceparent", TRACEPARENT) * 2))
    assert t.requests[1].head.contexts == ()


def test_reasons_are_errors() -> None:
    t = Talk(MqttParser())
    t.ask(connect(4))
    t.answer(connack(5, 4))
    assert t.pairs() == [("connect", "NOT_AUTHORIZED")]
    assert "s3cr3t" not in repr([getattr(t.requests[0].head, n, "") for n in ("text", "notes")])
    t = talk()
    t.ask(publish("a", 1, 1) + subscribe(2, "x/#", "y") + publish("b", 3, 2))
    t.answer(ack(4, 1, 0x87) + suback(2, 1, 0x8F) + ack(5, 3, 0x97))
    assert t.pairs()[1:] == [
        ("publish a", "NOT_AUTHORIZED"),
        ("subscribe", "TOPIC_FILTER_INVALID"),
        ("publish b", "QUOTA_EXCEEDED"),
    ]
    t.ask(publish("c", 4, 1))
    t.answer(packet(0xE0, b"\x8b\0"))
    assert t.pairs()[-1] == ("publish c", "SERVER_SHUTTING_DOWN")


def test_what_is_sent_again_is_one_message() -> None:
    t = talk()
    t.ask(publish("a", 1, 1))
    t.ask(publish("a", 1, 1, flags=8))
    t.answer(ack(4, 1))
    assert t.pairs()[1:] == [("publish a", "ok")]


def test_packets_cut_anywhere_and_in_one_segment_are_the_same() -> None:
    data = publish("a", 1, 1) + subscribe(2, "x") + b"\xc0\0" + publish("b", 3, 1)
    whole, cut = talk(), talk()
    whole.ask(data)
    for at in range(len(data)):
        cut.ask(data[at : at + 1])
    for t in (whole, cut):
        t.answer(ack(4, 1) + suback(2, 0) + b"\xd0\0" + ack(4, 3))
        assert t.pairs()[1:] == [
            ("publish a", "ok"),
            ("subscribe x", "ok"),
            ("ping", "ok"),
            ("publish b", "ok"),
        ]


def test_long_messages_are_counted_through_and_framing_is_found_again() -> None:
    t = talk()
    long = packet(0x32, b"\0\1a\0\1\0" + bytes(60_000))
    t.ask(long[:4096], len(long))
    t.answer(ack(4, 1))
    assert t.pairs()[1:] == [("publish a", "ok")]
    assert t.requests[1].head.body_size == 60_000
    t.ask(publish("b", 2, 1)[:4], 5000)  # more is missing than that packet
    t.ask(b"in the middle of something")
    t.ask(publish("c", 3, 1))
    t.answer(ack(4, 3))
    assert t.pairs()[2:] == [("publish c", "ok")]


def test_bytes_that_are_no_packets_are_a_desync() -> None:
    t = talk()
    t.ask(b"\x36\2\0\1")
    assert (t.parser.desyncs, t.parser.in_step) == (1, False)
    t.answer(connect())
    assert t.parser.desyncs == 2


def test_an_older_connection_pairs_by_its_numbers_at_once() -> None:
    t = Talk(MqttParser(), fresh=False)
    t.answer(ack(4, 6))  # to one that was not seen
    t.ask(publish("a", 7, 1, version=4))
    t.answer(publish("b", 7, 1, version=4))
    t.answer(ack(4, 7))
    t.ask(ack(4, 7))
    assert t.pairs() == [("publish a", "ok"), ("deliver b", "ok")]
    assert {m.head.body_size for m in t.requests} == {-1}  # 5 has properties before it


def test_the_version_of_an_older_connection_shows_in_a_reason() -> None:
    t = Talk(MqttParser(), fresh=False)
    carried = user("traceparent", TRACEPARENT)
    t.ask(publish("a", 7, 1, carried))
    t.answer(ack(4, 7, 0x10))
    t.ask(publish("b", 8, 1, carried))
    t.answer(ack(4, 8, 0x87))
    assert t.pairs() == [("publish a", "ok"), ("publish b", "NOT_AUTHORIZED")]
    assert [m.head.body_size for m in t.requests] == [-1, 6]
    assert [bool(m.head.contexts) for m in t.requests] == [False, True]


@pytest.mark.parametrize("version", [4, 5])
def test_subscriptions_of_an_older_connection(version: int) -> None:
    t = Talk(MqttParser(), fresh=False)
    t.ask(subscribe(3, "a/#", version=version))
    t.answer(suback(3, 0x80, version=version))
    t.ask(subscribe(4, "a/#", version=version))
    t.answer(suback(4, 1, version=version))
    assert [end for _, end in t.pairs()] == ["UNSPECIFIED_ERROR", "ok"]
    assert {m.head.destination for m in t.requests} == {""}


def test_packets_read_byte_by_byte_are_found_midway() -> None:
    t = Talk(MqttParser(), fresh=False)

    def in_pieces(data: bytes) -> None:
        for piece in (data[:1], data[1:2], data[2:]):
            if piece:
                t.ask(piece)

    t.ask(publish("in the middle", 0x3001, 1)[2:])
    in_pieces(publish("a", 0x4002, 1))
    in_pieces(b"\xc0\0")
    in_pieces(publish("b", 5, 1))
    t.answer(ack(4, 0x4002))
    t.answer(ack(4, 5))
    assert [p for p in t.pairs() if p[0] != "ping"] == [("publish a", "ok"), ("publish b", "ok")]
    assert t.parser.in_step


def test_the_rest_of_a_message_is_no_packet() -> None:
    for rest in (b"\x30\x00", b"\x40\x02", b"\x32\x05\0\x05", b"\x90\x03\0\0\0", b"\xc0\1x"):
        t = Talk(MqttParser(), fresh=False)
        t.ask(rest)
        assert not t.parser.in_step, rest
