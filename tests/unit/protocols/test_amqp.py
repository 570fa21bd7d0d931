"""AMQP's parser: what clients and brokers say, and what is heard of it."""

from __future__ import annotations

from otel_ebpf.protocols.amqp import AmqpParser
from otel_ebpf.protocols.base import INGRESS
from tests.unit.protocols.amqp_wire import (
    CONFIRM,
    CONFIRM_OK,
    GREETING,
    HEARTBEAT,
    START_OK,
    TUNE,
    TUNE_OK,
    ack,
    close,
    consume,
    consume_ok,
    content,
    deliver,
    method,
    nack,
    publish,
    short,
)
from tests.unit.protocols.mqtt_wire import SPAN, TRACE
from tests.unit.protocols.talk import Talk


def talk(confirms: bool = False) -> Talk:
    made = Talk(AmqpParser())
    made.ask(GREETING)
    made.answer(method((10, 10), b"\0\x09" + bytes(4) + b"\0\0\0\x05PLAIN\0\0\0\0", 0))
    made.ask(START_OK[:11], len(START_OK))  # the rest of it is not captured
    made.answer(TUNE)
    made.ask(TUNE_OK + method((10, 40), short("/") + b"\0\0", 0))
    made.answer(method((10, 41), b"\0", 0))
    assert made.pairs() == [("connect", "ok"), ("connection.open", "ok")]
    assert all(m.head.chatter for m in made.requests)
    if confirms:
        made.ask(CONFIRM)
        made.answer(CONFIRM_OK)
    made.requests.clear()
    return made


def test_publishes_wait_for_their_confirmation_where_there_is_one() -> None:
    t = talk()
    t.ask(publish("orders"))
    assert (t.requests[0].oneway, t.requests[0].head.text) == (True, "publish orders")
    t = talk(confirms=True)
    t.ask(b"".join(publish(f"q{n}", "shop") for n in range(4)))
    t.answer(ack(2, True) + nack(4))
    assert t.pairs() == [
        ("publish shop:q0", "ok"),
        ("publish shop:q1", "ok"),
        ("publish shop:q2", None),
        ("publish shop:q3", "nack"),
    ]
    head = t.requests[0].head
    assert (head.message_id, head.conversation, head.body_size) == ("m1", "chat", 6)
    assert head.notes == {"messaging.rabbitmq.destination.routing_key": "q0"}


def test_a_message_that_came_back_has_no_route() -> None:
    t = talk(confirms=True)
    t.ask(publish("a", "shop") + publish("b", "shop"))
    back = b"\x01\x38" + short("NO_ROUTE") + short("shop") + short("b")
    t.answer(method((60, 50), back) + content() + ack(2, True))
    assert t.pairs() == [("publish shop:a", "ok"), ("publish shop:b", "NO_ROUTE")]


def test_deliveries_wait_for_the_consumer_unless_it_needs_not_acknowledge() -> None:
    t = talk()
    t.ask(consume("orders"))
    t.answer(consume_ok() + deliver(1, "orders") + deliver(2, "new") + deliver(3, "x"))
    t.ask(method((60, 90), (2).to_bytes(8, "big") + b"\1") + ack(0, True))
    assert t.pairs() == [
        ("basic.consume orders", "ok"),
        ("deliver orders", "ok"),
        ("deliver new:orders", "reject"),
        ("deliver x:orders", "ok"),
    ]
    assert {(m.direction, m.head.type) for m in t.requests[1:]} == {(INGRESS, "process")}
    t = talk()
    t.ask(consume("orders", "", automatic=True))
    t.answer(consume_ok("amq.ctag-1") + deliver(1, "orders", "amq.ctag-1"))
    assert (t.requests[1].oneway, t.requests[1].head.type) == (True, "receive")


def test_messages_that_are_fetched_tell_of_themselves_when_they_come() -> None:
    t = talk()
    get = method((60, 70), b"\0\0" + short("orders") + b"\0")
    t.ask(get)
    t.answer(method((60, 71), bytes(9) + short("shop") + short("orders") + bytes(4)))
    assert t.pairs() == [("get shop:orders", None)]
    t.answer(content(context=True))
    t.ask(get)
    t.answer(method((60, 72), b"\0"))
    assert t.pairs() == [("get shop:orders", "ok"), ("get orders", "ok")]
    (context,) = t.requests[0].head.contexts
    assert (context.trace_id.hex(), context.span_id.hex()) == (TRACE, SPAN)
    assert (t.requests[0].head.body_size, t.requests[1].head.body_size) == (6, -1)


def test_channels_are_apart_and_frames_of_a_message_may_have_others_between() -> None:
    t = talk(confirms=True)
    t.ask(method((85, 10), b"\0", 2))
    t.answer(method((85, 11), b"", 2))
    t.requests.clear()
    one, two = publish("a"), publish("b", channel=2)
    t.ask(one[:30])
    t.ask(one[30:-14] + two[:-14] + HEARTBEAT + one[-14:] + two[-14:])
    t.answer(ack(1, channel=2))
    assert t.pairs() == [("publish a", None), ("publish b", "ok")]
    t.answer(close(404, 1))
    assert t.pairs() == [("publish a", "NOT_FOUND"), ("publish b", "ok")]


def test_calls_and_what_closes_a_channel_or_connection() -> None:
    t = talk()
    declare = method((50, 10), b"\0\0" + short("orders") + b"\2\0\0\0\0")
    t.ask(declare)
    t.answer(method((50, 11), short("orders") + bytes(8)))
    t.ask(declare)
    t.answer(close(406))
    t.ask(method((50, 10), b"\0\0" + short("orders") + b"\x10\0\0\0\0"))  # no reply is wanted
    assert t.pairs() == [
        ("queue.declare orders", "ok"),
        ("queue.declare orders", "PRECONDITION_FAILED"),
        ("queue.declare orders", None),
    ]
    assert t.requests[2].oneway
    t = Talk(AmqpParser())
    t.ask(GREETING)
    t.ask(START_OK[:11], len(START_OK))
    t.answer(close(403, 0, (10, 50)))
    assert t.pairs() == [("connect", "ACCESS_REFUSED")]


def test_frames_cut_anywhere_are_the_same() -> None:
    data = publish("a", context=True, size=100, split=30) + publish("b", size=0)
    whole, cut = talk(confirms=True), talk(confirms=True)
    whole.ask(data)
    for at in range(len(data)):
        cut.ask(data[at : at + 1])
    for t in (whole, cut):
        t.answer(ack(2, True))
        assert t.pairs() == [("publish a", "ok"), ("publish b", "ok")]
        assert len(t.requests[0].head.contexts) == 1
        assert [m.head.body_size for m in t.requests] == [100, 0]


def test_long_bodies_are_counted_through_frame_by_frame() -> None:
    t = talk(confirms=True)
    size = 300_000
    long = publish("a", size=size, split=131_072 - 8)
    # The wire has a third frame: what is longer than the negotiated length is split.
    t.ask(long[:4096], len(long) + 8)
    t.ask(publish("b"))
    t.answer(ack(2, True))
    assert t.pairs() == [("publish a", "ok"), ("publish b", "ok")]
    assert (t.requests[0].head.body_size, t.parser.in_step) == (size, True)


def test_what_was_lost_ends_what_is_counted() -> None:
    t = talk(confirms=True)
    t.ask(publish("a"))
    t.ask(publish("b")[:32], 4000)
    assert t.pairs() == [("publish a", "response_lost"), ("publish b", "response_lost")]
    assert t.requests[1].head.body_size == -1
    t.ask(b"in the middle of a body")
    t.ask(publish("c"))
    t.answer(ack(3))
    assert t.pairs()[2:] == [("publish c", None)]
    assert t.requests[2].oneway


def test_bytes_that_are_no_frames_are_a_desync() -> None:
    t = talk()
    t.ask(b"\x09\0\0\0\0\0\0\xce")
    assert (t.parser.desyncs, t.parser.in_step) == (1, False)
