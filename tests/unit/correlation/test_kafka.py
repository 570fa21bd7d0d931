"""Kafka through the correlator: fetches that become calls, topics, joins, sender threads."""

from __future__ import annotations

from typing import Any

import pytest

from otel_ebpf.correlation.correlator import Correlator
from otel_ebpf.correlation.ids import Ids
from otel_ebpf.correlation.model import CLIENT, SERVER, Exchange
from otel_ebpf.events import layout
from tests.unit.correlation.world import SECOND, Side, World, assert_child, assert_root
from tests.unit.protocols.kafka_wire import fetch, fetched, produce, produced, request, traced

KAFKA = 100


class Calls(World):
    """A client and a broker on one host."""

    def __init__(self, chatter: bool = False) -> None:
        super().__init__()
        self.correlator = Correlator(Ids(7), chatter)
        self.pipe = self.wire(1, 2)

    def say(self, side: Side, direction: int, data: bytes, **members: Any) -> None:
        asks = (side is self.pipe.client) == (direction == layout.EGRESS)
        members.setdefault("begins", layout.REQUEST if asks else layout.RESPONSE)
        move = side.send if direction == layout.EGRESS else side.recv
        self.feed(move(data, protocol=KAFKA, **members))

    def ask(self, data: bytes, **members: Any) -> None:
        self.say(self.pipe.client, layout.EGRESS, data, **members)
        self.say(self.pipe.server, layout.INGRESS, data)

    def answer(self, data: bytes) -> None:
        self.say(self.pipe.server, layout.EGRESS, data)
        self.say(self.pipe.client, layout.INGRESS, data)

    def left(self, kind: int) -> list[Exchange]:
        self.wait(SECOND)
        return [x for x in self.out if x.kind == kind and x.protocol == "kafka"]


def test_each_topic_of_a_call_is_joined_with_the_brokers_view_of_it() -> None:
    world = Calls()
    topics = {name: {0: traced(1)} for name in ("a", "b", "c")}
    world.ask(produce(1, topics) + fetch(2, {name: {0: 0} for name in topics}))
    world.answer(produced(1, {"a": {0: 0}, "b": {0: 3}, "c": {0: 0}}) + fetched(2, topics))
    clients, servers = world.left(CLIENT), world.left(SERVER)
    said = [(x.request.text, x.response.error if x.response else None) for x in clients]
    assert said == [
        ("send a", ""), ("send b", "UNKNOWN_TOPIC_OR_PARTITION"), ("send c", ""),
        ("poll a", ""), ("poll b", ""), ("poll c", ""),
    ]  # fmt: skip
    by_text = {x.request.text: x for x in clients}
    assert len(servers) == 6
    for server in servers:
        assert_child(server, by_text[server.request.text], "same_host")
    assert world.correlator.counts["internal_calls_left_out"] == 0


@pytest.mark.parametrize("chatter", [False, True])
def test_fetches_without_messages_and_heartbeats_are_counted(chatter: bool) -> None:
    world = Calls(chatter)
    world.ask(fetch(1, {"a": {0: 0}}))
    world.answer(fetched(1, {}))
    world.ask(request(12, 0, 2, b"\0\1g"))
    world.answer(b"\0\0\0\x06\0\0\0\2\0\0")
    world.ask(fetch(3, {"a": {0: 0}}))
    world.answer(fetched(3, {"a": {0: traced(1)}}))
    texts = [x.request.text for x in world.left(CLIENT)]
    assert texts == (["Fetch", "Heartbeat"] if chatter else []) + ["poll a"]
    assert world.correlator.counts["internal_calls_left_out"] == (0 if chatter else 4)


def test_a_send_without_acknowledgement_leaves_at_once() -> None:
    world = Calls()
    world.ask(produce(1, {"a": {0: traced(1)}}, acks=0))
    (client,) = world.left(CLIENT)
    (server,) = world.left(SERVER)
    assert client.response is None
    assert client.error is None
    assert_child(server, client, "same_host")


@pytest.mark.parametrize(
    ("rule", "flags", "believed"),
    [
        (layout.RULE_THREAD, 0, True),
        (layout.RULE_GOROUTINE, layout.FLAG_GO, True),
        (layout.RULE_SOLE, 0, False),
        (layout.RULE_ANCESTOR, layout.FLAG_GO, False),
        (layout.RULE_WORKER, 0, False),
    ],
)
def test_who_sends_for_others_has_no_parent_that_is_only_inferred(
    rule: int, flags: int, believed: bool
) -> None:
    world = Calls()
    inbound = world.wire(9, 1)
    uid = world.asked(inbound, "/buy")
    world.ask(
        produce(1, {"a": {0: traced(1)}}),
        parent_uid=uid, rule=rule, flags=flags | layout.FLAG_FRESH, caller_site=5,
    )  # fmt: skip
    world.answer(produced(1, {"a": {0: 0}}))
    world.answered(inbound)
    (client,) = world.left(CLIENT)
    if believed:
        (buy,) = [x for x in world.out if x.kind == SERVER and x.protocol == "http"]
        assert client.parent_span_id == buy.span_id
    else:
        assert_root(client)
        assert world.correlator.counts["no_parent.sent_for_others"] == 1
