"""Rules 1 and 7: one request seen from both ends, and the context that a message carries."""

from __future__ import annotations

import itertools

import pytest

from otel_ebpf.correlation.correlator import SETTLE
from otel_ebpf.events import layout
from otel_ebpf.events.decode import Record
from tests.unit.correlation.world import (
    MS,
    SECOND,
    SPAN,
    TRACE,
    TRACEPARENT,
    Wire,
    World,
    assert_child,
    assert_root,
    get,
    reply,
)

V6 = layout.FAMILY_IPV6
MAPPED = bytes(10) + b"\xff\xff" + bytes((127, 0, 0, 1))


def conversation(wire: Wire, path: str = "/x", *headers: str) -> list[Record]:
    """Four records: asked, read, answered, answer read."""
    data = get(path, *headers)
    return [
        wire.client.send(data),
        wire.server.recv(data),
        wire.server.send(reply()),
        wire.client.recv(reply()),
    ]


def orders() -> list[tuple[int, ...]]:
    """Every order in which each side's own records stay in order."""
    return [
        order
        for order in itertools.permutations(range(4))
        if order.index(0) < order.index(3) and order.index(1) < order.index(2)
    ]


@pytest.mark.parametrize("order", orders())
def test_both_views_are_joined_in_any_order_of_arrival(order: tuple[int, ...]) -> None:
    world = World()
    records = conversation(world.wire(1, 2))
    for number in order:
        world.feed(records[number])
    world.wait(SECOND)
    assert_root(world.span("/x"))
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")
    assert len(world.out) == 2


def test_the_clients_view_may_come_after_the_servers_response() -> None:
    """From another CPU's burst, while the server's exchange still waits for it."""
    world = World()
    asked, read, answered, got = conversation(world.wire(1, 2))
    assert world.feed(read, answered) == []
    assert world.wait(SETTLE // 2) == []
    world.feed(asked, got)
    world.wait(SECOND)
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")


def test_a_server_whose_client_is_not_traced_is_a_root_after_the_wait() -> None:
    world = World()
    _, read, answered, _ = conversation(world.wire(1, 2))
    assert world.feed(read, answered) == []
    assert world.wait(SETTLE - MS) == []
    [alone] = world.wait(2 * MS)
    assert_root(alone)


def test_the_clients_view_that_comes_too_late_changes_nothing_that_left() -> None:
    world = World()
    asked, read, answered, got = conversation(world.wire(1, 2))
    world.feed(read, answered)
    world.wait(SECOND)
    before = world.server_span("/x")
    said = (before.trace_id, before.parent_span_id)
    world.feed(asked, got)
    world.wait(SECOND)
    assert (before.trace_id, before.parent_span_id) == said
    assert_root(world.span("/x"))


def test_a_server_whose_client_is_elsewhere_does_not_wait() -> None:
    world = World()
    wire = world.wire(
        1, 2, client_address=bytes((10, 0, 0, 9)), server_address=bytes((10, 0, 0, 1))
    )
    _, read, answered, _ = conversation(wire)
    [alone] = world.feed(read, answered)
    assert_root(alone)


def test_a_client_in_another_network_namespace_is_found() -> None:
    world = World()
    wire = world.wire(
        1, 2, client_address=bytes((10, 0, 0, 9)), server_address=bytes((10, 0, 0, 1))
    )
    world.feed(*conversation(wire))
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")


def test_a_v4_mapped_socket_and_a_v4_one_are_two_ends_of_one_connection() -> None:
    world = World()
    wire = world.wire(1, 2)
    wire.server._members |= {"family": V6, "local_addr": MAPPED, "peer_addr": MAPPED}
    world.feed(*conversation(wire))
    world.wait(SECOND)
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")
    assert world.server_span("/x").endpoints.local_address == "127.0.0.1"


def test_a_destination_that_was_translated_is_joined_all_the_same() -> None:
    """The client saw the service's address, the server its own."""
    world = World()
    wire = world.wire(1, 2)
    wire.client._members |= {"peer_addr": bytes((10, 96, 0, 1)), "peer_port": 80}
    world.feed(*conversation(wire))
    world.wait(SECOND)
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")


def test_each_request_of_a_reused_connection_finds_its_own_view() -> None:
    world = World()
    wire = world.wire(1, 2)
    for number in range(5):
        world.feed(*conversation(wire, f"/{number}"))
    world.wait(SECOND)
    for number in range(5):
        assert_child(world.server_span(f"/{number}"), world.span(f"/{number}"), "same_host")
    assert len({x.trace_id for x in world.out}) == 5


def test_a_port_that_is_used_again_is_told_apart_by_the_sequence_number() -> None:
    world = World()
    first = world.wire(1, 2)
    world.feed(first.client.send(get("/lost")))  # its server is not traced
    second = world.wire(1, 2)
    for mine, theirs in ((second.client, first.client), (second.server, first.server)):
        mine._members = theirs._members
        mine.moved = [900_000, 900_000]
    world.feed(*conversation(second, "/new"))
    world.wait(SECOND)
    assert_child(world.server_span("/new"), world.span("/new"), "same_host")


def test_unix_sockets_are_joined_by_the_kernel_halfs_numbers() -> None:
    world = World()
    ends = {"client_address": bytes((7,)) + bytes(15), "server_address": bytes(16)}
    world.feed(*conversation(world.wire(1, 2, family=layout.FAMILY_UNIX, **ends)))
    world.wait(SECOND)
    assert_root(world.span("/x"))
    assert_child(world.server_span("/x"), world.span("/x"), "same_host")


def test_unix_sockets_that_are_older_than_the_agent_are_not_joined() -> None:
    world = World()
    ends = {"client_address": bytes(16), "server_address": bytes(16)}
    world.feed(*conversation(world.wire(1, 2, family=layout.FAMILY_UNIX, **ends)))
    world.wait(SECOND)
    assert_root(world.span("/x"))
    assert_root(world.server_span("/x"))


@pytest.mark.parametrize(
    ("header", "rule"),
    [(TRACEPARENT, "traceparent"), (f"b3: {TRACE}-{SPAN}-1", "b3")],
)
def test_a_carried_context_is_the_parent_on_both_sides(header: str, rule: str) -> None:
    world = World()
    world.feed(*conversation(world.wire(1, 2), "/x", header))
    world.wait(SECOND)
    for x in (world.span("/x"), world.server_span("/x")):
        assert (x.trace_id.hex(), x.parent_span_id.hex(), x.rule) == (TRACE, SPAN, rule)
        assert x.parent_remote


def test_a_carried_context_is_taken_where_the_client_is_not_traced() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in", TRACEPARENT, "tracestate: a=b")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.answered(inbound)
    world.wait(SECOND)
    server = world.server_span("/in")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)
    assert_child(world.span("/out"), server, "thread")
    assert (server.trace_state, world.span("/out").trace_state) == ("a=b", "a=b")


def test_the_carried_decision_not_to_sample_goes_down_the_trace() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in", f"traceparent: 00-{TRACE}-{SPAN}-00")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.answered(inbound)
    world.wait(SECOND)
    assert not world.server_span("/in").sampled
    assert not world.span("/out").sampled


def test_a_lone_decision_not_to_sample_begins_a_trace_of_its_own() -> None:
    world = World()
    inbound = world.wire(1, 2)
    world.asked(inbound, "/in", "b3: 0")
    world.answered(inbound)
    world.wait(SECOND)
    assert_root(world.server_span("/in"))
    assert not world.server_span("/in").sampled


def test_a_proxy_that_passes_the_header_on_is_no_gap_in_the_tree() -> None:
    """front (untraced) -> proxy -> back; the proxy forwards the traceparent as it came."""
    world = World()
    inbound, onward = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in", TRACEPARENT)
    data = get("/on", TRACEPARENT)
    world.feed(
        onward.client.send(data, rule=layout.RULE_THREAD, parent_uid=uid),
        onward.server.recv(data),
        onward.server.send(reply()),
        onward.client.recv(reply()),
    )
    world.answered(inbound)
    world.wait(SECOND)
    proxy = world.server_span("/in")
    assert (proxy.trace_id.hex(), proxy.parent_span_id.hex()) == (TRACE, SPAN)
    assert_child(world.span("/on"), proxy, "thread")
    assert_child(world.server_span("/on"), world.span("/on"), "same_host")


def test_a_program_with_its_own_tracing_names_its_own_span() -> None:
    """The header it writes differs from the one that it was sent: it is believed."""
    world = World()
    inbound, onward = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in", TRACEPARENT)
    own = "c0ffee0000000001"
    world.call(
        onward,
        "/on",
        f"traceparent: 00-{TRACE}-{own}-01",
        rule=layout.RULE_THREAD,
        parent_uid=uid,
    )
    world.answered(inbound)
    world.wait(SECOND)
    assert (world.span("/on").parent_span_id.hex(), world.span("/on").rule) == (own, "traceparent")


def test_the_pass_through_is_seen_even_when_the_cause_is_known_with_the_response() -> None:
    """A Go proxy: the server's view of the next hop waits for the client's verdict."""
    world = World()
    inbound, onward = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in", TRACEPARENT)
    data = get("/on", TRACEPARENT)
    pooled = layout.FLAG_GO | layout.FLAG_GO_POOLED
    world.feed(
        onward.client.send(data, flags=layout.FLAG_GO),
        onward.server.recv(data),
        onward.server.send(reply()),
    )
    assert world.out == []
    world.feed(onward.client.recv(reply(), flags=pooled, caller_uid=uid))
    world.answered(inbound)
    world.wait(SECOND)
    assert_child(world.span("/on"), world.server_span("/in"), "go.caller")
    assert_child(world.server_span("/on"), world.span("/on"), "same_host")


def test_the_pass_through_is_seen_when_the_cause_has_left_already() -> None:
    world = World()
    inbound, onward = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in", TRACEPARENT)
    world.feed(onward.client.send(get("/on", TRACEPARENT), flags=layout.FLAG_GO))
    world.answered(inbound)
    world.wait(SECOND)
    assert world.server_span("/in")
    pooled = layout.FLAG_GO | layout.FLAG_GO_POOLED
    world.feed(onward.client.recv(reply(), flags=pooled, caller_uid=uid))
    world.wait(SECOND)
    assert_child(world.span("/on"), world.server_span("/in"), "go.caller")
