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


def older() -> Talk:
    """A connection that is older than the tracer."""
    return Talk(AmqpParser(), fresh=False)


def confirmed(t: Talk, number: int, pause: int = 50, wait: int = 1) -> None:
    """After a pause a publish, and its confirmation as ``number``."""
    t.silence(pause)
    t.ask(publish(f"q{number}"))
    t.silence(wait)
    t.answer(ack(number))


def test_publishes_of_an_older_channel_are_told_of_once_their_numbers_are_certain() -> None:
    t = older()
    for number in range(70, 75):
        confirmed(t, number, pause=20 + number % 2 * 40)
    assert t.pairs() == []
    t.ask(publish("x") + publish("y"))
    t.answer(nack(76) + ack(75))
    assert t.pairs() == [("publish x", "ok"), ("publish y", "nack")]


def test_numbers_are_not_certain_while_a_publish_may_be_under_way() -> None:
    # Each confirmation is that of the publish before: as slow as the publisher's own clock.
    t = older()
    for number in range(70, 170):
        confirmed(t, number - 1, pause=50)
    # All the confirmations come slowly.
    for number in range(170, 270):
        confirmed(t, number, pause=20 + number % 2 * 40, wait=30)
    # Two publishes at a time.
    for number in range(270, 370, 2):
        t.silence(20 + number % 3 * 40)
        t.ask(publish("a"))
        t.ask(publish("b"))
        t.answer(ack(number + 1, True))
    assert t.pairs() == []


def test_a_confirmation_of_more_than_was_published_takes_the_numbers_back() -> None:
    t = older()
    for number in range(70, 75):
        confirmed(t, number, pause=20 + number % 2 * 40)
    t.ask(publish("x"))
    t.answer(ack(80))
    assert t.pairs() == [("publish x", "response_lost")]
    t.ask(publish("y"))
    assert len(t.requests) == 1


def test_where_nobody_confirms_or_acknowledges_that_is_seen_in_time() -> None:
    t = older()
    for number in range(40):
        t.silence(1000)
        t.ask(publish(f"q{number}"))
        t.answer(deliver(number + 1, f"d{number}"))
    told = {m.head.text for m in t.requests}
    assert told == {f"{what}{n}" for what in ("publish q", "deliver d") for n in range(32, 40)}
    assert all(m.oneway for m in t.requests)
    # Until somebody does.
    t.ask(ack(40))
    t.answer(ack(500))
    t.requests.clear()
    t.ask(publish("x"))
    t.answer(deliver(41, "y"))
    t.ask(ack(41))
    assert t.pairs() == [("deliver y", "ok")]


def test_deliveries_of_an_older_consumer_wait_once_it_has_acknowledged_one() -> None:
    t = older()
    t.answer(deliver(7, "a") + deliver(8, "b", "other"))
    t.ask(ack(7))
    t.answer(deliver(9, "c") + deliver(10, "d", "other"))
    t.ask(ack(9) + ack(10))
    t.answer(ack(11))  # the broker's own numbers are others
    t.answer(deliver(11, "e", "other") + deliver(12, "f", "third"))
    assert t.pairs() == [("deliver c", "ok"), ("deliver e", None)]


def test_calls_and_new_channels_of_an_older_connection_are_told_of_at_once() -> None:
    t = older()
    t.ask(publish("cut")[3:])  # the rest of a message
    t.answer(method((50, 11), short("q") + bytes(8)))  # to a call that was not seen
    t.ask(method((60, 70), b"\0\0" + short("orders") + b"\0"))
    t.answer(method((60, 72), b"\0"))
    t.ask(method((20, 10), b"\0", 2))
    t.answer(method((20, 11), bytes(4), 2))
    t.ask(method((85, 10), b"\0", 2))
    t.answer(method((85, 11), b"", 2))
    t.ask(publish("x", channel=2))
    t.answer(ack(1, channel=2))
    told = [pair for pair in t.pairs() if "." not in pair[0]]
    assert told == [("get orders", "ok"), ("publish x", "ok")]


def test_a_greeting_is_a_beginning_though_nobody_saw_it_connect() -> None:
    t = older()
    t.ask(GREETING)
    t.answer(method((10, 10), b"\0\x09" + bytes(4) + b"\0\0\0\x05PLAIN\0\0\0\0", 0))
    t.ask(publish("orders"))
    assert t.pairs() == [("publish orders", None)]
    assert t.requests[0].oneway
