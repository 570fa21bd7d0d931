"""Messages that a broker pushes: whose children they are, and what becomes their child."""

from __future__ import annotations

from typing import Any

from otel_ebpf.correlation.model import CLIENT, SERVER, Exchange
from otel_ebpf.events import layout
from tests.unit.correlation.world import HTTP, SECOND, World, assert_child, assert_root
from tests.unit.protocols.mqtt_wire import (
    SPAN,
    TRACE,
    TRACEPARENT,
    ack,
    connack,
    connect,
    publish,
    user,
)

MQTT = 101


class Queue(World):
    """A consumer (process 1) and its broker (process 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.pipe = self.wire(1, 2)
        self.shop = self.wire(1, 3)
        self.say(connect(), layout.REQUEST)
        self.deliver(connack(), layout.RESPONSE)

    def say(self, data: bytes, begins: int, **members: Any) -> None:
        values = {"protocol": MQTT, "begins": begins, **members}
        self.feed(self.pipe.client.send(data, **values))
        self.feed(self.pipe.server.recv(data, **values))

    def deliver(self, data: bytes, begins: int = layout.REQUEST, **members: Any) -> int:
        values = {"protocol": MQTT, "begins": begins, **members}
        self.feed(self.pipe.server.send(data, **values))
        self.feed(self.pipe.client.recv(data, **values))
        return self.pipe.client.uid

    def buys(self, uid: int, target: str = "/buy") -> None:
        """The consumer makes a call, and its thread carries this delivery."""
        self.call(self.shop, target, protocol=HTTP, parent_uid=uid, rule=layout.RULE_THREAD)

    def of(self, kind: int, topic: str) -> Exchange:
        (found,) = [
            x for x in self.out if x.kind == kind and getattr(x.request, "destination", "") == topic
        ]
        return found

    def ended(self) -> None:
        self.wait(SECOND)
        self.end()


def test_what_is_done_before_the_acknowledgement_is_the_deliverys_child() -> None:
    world = Queue()
    world.buys(world.deliver(publish("orders", 1, 1)))
    world.say(ack(4, 1), layout.RESPONSE)
    world.ended()
    consumer = world.of(SERVER, "orders")
    assert_child(world.span("/buy"), consumer, "thread")
    assert_child(consumer, world.of(CLIENT, "orders"), "same_host")
    assert_root(world.of(CLIENT, "orders"))
    assert consumer.end > world.span("/buy").end


def test_what_is_done_behind_it_is_nobodys() -> None:
    world = Queue()
    uid = world.deliver(publish("orders", 1, 1))
    world.say(ack(4, 1), layout.RESPONSE)
    world.buys(uid)
    world.buys(world.deliver(publish("quiet")), "/other")
    world.ended()
    assert_root(world.span("/buy"))
    assert_root(world.span("/other"))


def test_who_acknowledges_from_another_thread_than_reads_has_no_children() -> None:
    world = Queue()
    for number, target in ((1, "/buy"), (2, "/again")):
        world.buys(world.deliver(publish("orders", number, 1)), target)
        world.pipe.client.tid = 77 if number == 1 else world.pipe.client.pid
        world.say(ack(4, number), layout.RESPONSE)
        world.pipe.client.tid = world.pipe.client.pid
    world.ended()
    assert_root(world.span("/buy"))
    assert_root(world.span("/again"))
    assert world.counts["no_parent.threads_change_requests"] == 2


def test_what_waits_for_an_acknowledgement_does_not_make_requests_ambiguous() -> None:
    world = Queue()
    world.deliver(publish("orders", 1, 1))
    inbound = world.wire(9, 1)
    uid = world.asked(inbound, "/cart")
    world.buys(uid)
    world.answered(inbound)
    world.ended()
    assert_child(world.span("/buy"), world.server_span("/cart"), "thread")


def test_where_several_deliveries_wait_it_is_not_known_for_which() -> None:
    world = Queue()
    world.buys(world.deliver(publish("a", 1, 1) + publish("b", 2, 1)))
    world.say(ack(4, 1) + ack(4, 2), layout.RESPONSE)
    first = world.deliver(publish("c", 3, 1))
    world.buys(first, "/c")
    world.buys(world.deliver(publish("d", 4, 1)), "/d")
    world.buys(first, "/late")
    world.ended()
    for target in ("/buy", "/d", "/late"):
        assert_root(world.span(target))
    assert world.counts["no_parent.parent_not_seen"] == 3


def test_a_broker_that_reads_one_message_and_writes_another_is_no_cause() -> None:
    world = Queue()
    world.say(publish("in", 9, 1), layout.REQUEST)
    uid = world.pipe.server.uid
    world.deliver(publish("out", 1, 1), parent_uid=uid, rule=layout.RULE_THREAD)
    world.say(ack(4, 1), layout.RESPONSE)
    world.deliver(ack(4, 9), layout.RESPONSE)
    world.ended()
    assert_root(world.of(CLIENT, "out"))
    assert_child(world.of(SERVER, "in"), world.of(CLIENT, "in"), "same_host")


def test_the_producers_own_context_is_the_parent_on_every_hop() -> None:
    world = Queue()
    carried = user("traceparent", TRACEPARENT)
    world.say(publish("in", 9, 1, carried), layout.REQUEST)
    world.deliver(publish("out", 1, 1, carried))
    world.say(ack(4, 1), layout.RESPONSE)
    world.deliver(ack(4, 9), layout.RESPONSE)
    world.ended()
    for topic in ("in", "out"):
        for kind in (CLIENT, SERVER):
            x = world.of(kind, topic)
            assert (x.trace_id.hex(), x.parent_span_id.hex()) == (TRACE, SPAN)
            assert x.rule == "traceparent"
