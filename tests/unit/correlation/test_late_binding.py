"""Traces from fragments: who waits for whom, how long, and that nothing changes afterwards."""

from __future__ import annotations

import gc

import pytest

from otel_ebpf.correlation import assembly, connection, connections, verdicts
from otel_ebpf.correlation.assembly import MAX_WAIT
from otel_ebpf.correlation.live import Done, Live
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    GO,
    POOLED,
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


class Chain:
    """front (untraced) -> A -> B -> C, where A and B are Go programs that bind late."""

    def __init__(self, *headers: str) -> None:
        self.world = world = World()
        self.wires: list[Wire] = [world.wire(pid, pid + 1) for pid in (1, 2, 3)]
        self.uids = [world.asked(self.wires[0], "/a", *headers)]
        for wire, path in zip(self.wires[1:], ("/b", "/c"), strict=True):
            world.feed(wire.client.send(get(path), flags=GO))
            self.uids.append(world.asked(wire, path))

    def return_to(self, hop: int) -> None:
        """The response on that hop is written and read; its reader names the cause."""
        wire = self.wires[hop]
        self.world.answered(wire)
        if hop:
            answer = wire.client.recv(reply(), flags=POOLED, caller_uid=self.uids[hop - 1])
            self.world.feed(answer)


def test_what_ended_first_waits_for_the_root_and_leaves_whole() -> None:
    chain = Chain()
    chain.return_to(2)
    chain.return_to(1)
    assert chain.world.out == []
    assert chain.world.correlator.stats()["waiting_for_parents"] == 4
    chain.return_to(0)
    chain.world.wait(SECOND)
    spans = chain.world
    assert [x.request.target for x in spans.out] == ["/c", "/c", "/b", "/b", "/a"]
    assert_root(spans.server_span("/a"))
    for above, below in (("/a", "/b"), ("/b", "/c")):
        assert_child(spans.span(below), spans.server_span(above), "go.caller")
        assert_child(spans.server_span(below), spans.span(below), "same_host")
    assert len({x.trace_id for x in spans.out}) == 1
    assert chain.world.correlator.stats()["waiting_for_parents"] == 0


def test_a_parent_that_stays_open_is_decided_after_the_wait() -> None:
    chain = Chain()
    chain.return_to(2)
    assert chain.world.wait(MAX_WAIT - SECOND) == []
    left = chain.world.wait(2 * SECOND)
    assert [x.request.target for x in left] == ["/c", "/c"]
    assert chain.world.counts["parents_not_known_in_time"] >= 1


def test_a_trace_id_that_was_given_holds_for_what_comes_later() -> None:
    chain = Chain()
    chain.return_to(2)
    chain.world.wait(MAX_WAIT + SECOND)
    given = {id(x): (x.trace_id, x.parent_span_id, x.rule) for x in chain.world.out}
    below = chain.world.span("/c")
    chain.return_to(1)
    chain.return_to(0)
    chain.world.wait(MAX_WAIT + SECOND)
    for x in chain.world.out:
        assert given.get(id(x), (x.trace_id, x.parent_span_id, x.rule)) == (
            x.trace_id,
            x.parent_span_id,
            x.rule,
        )
    # The one that was forced is in the trace that its child left with.
    assert below.trace_id == chain.world.server_span("/b").trace_id
    assert len(chain.world.out) == 5


def test_what_a_message_carries_holds_when_the_wait_is_over() -> None:
    """The peer's view of /a was still waited for, for the request is still open."""
    chain = Chain(TRACEPARENT)
    chain.return_to(2)
    chain.return_to(1)
    chain.world.wait(MAX_WAIT + SECOND)
    assert {x.trace_id.hex() for x in chain.world.out} == {TRACE}
    chain.return_to(0)
    chain.world.wait(SECOND)
    first = chain.world.server_span("/a")
    assert (first.trace_id.hex(), first.parent_span_id.hex(), first.rule) == (
        TRACE,
        SPAN,
        "traceparent",
    )


def test_a_carried_context_below_an_open_client_holds_when_the_wait_is_over() -> None:
    """A server that waits for its client's verdict, which does not come."""
    world = World()
    wire = world.wire(1, 2)
    data = get("/x", TRACEPARENT)
    world.feed(wire.client.send(data, flags=GO), wire.server.recv(data), wire.server.send(reply()))
    assert world.out == []
    world.wait(MAX_WAIT + SECOND)
    server = world.server_span("/x")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)


def test_the_end_lets_everything_go_that_has_ended() -> None:
    chain = Chain()
    chain.return_to(2)
    left = chain.world.end()
    assert [x.request.target for x in left] == ["/c", "/c"]
    assert all(any(x.trace_id) for x in left)
    assert chain.world.counts["requests_in_flight_at_end"] == 3  # /a, and /b from both sides


def test_the_end_keeps_what_a_message_carries() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/x", TRACEPARENT)
    world.answered(wire)
    [server] = world.end()
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)


def test_exchanges_that_are_each_others_ancestors_are_cut_and_counted() -> None:
    """Only damage makes them: a request of its own response's making."""
    world = World()
    wire = world.wire(2, 2)
    world.feed(wire.server.recv(get("/x")))
    world.feed(wire.client.send(get("/x"), rule=layout.RULE_THREAD, parent_uid=wire.server.uid))
    world.feed(wire.server.send(reply()), wire.client.recv(reply()))
    world.wait(SECOND)
    assert world.counts["circles"] == 1
    assert len(world.out) == 2
    assert [bool(x.parent_span_id) for x in world.out].count(False) == 1


def test_more_than_the_bound_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_WAITING", 10)
    world = World()
    for number in range(30):
        world.feed(world.wire(1, 2).server.recv(get(f"/{number}"), uid=0))
    # Children of requests whose own parents are open.
    for number in range(30):
        inbound = world.wire(1, 5)
        uid = world.asked(inbound, f"/in{number}")
        world.call(world.wire(5, 6), f"/out{number}", rule=layout.RULE_THREAD, parent_uid=uid)
    assert world.correlator.stats()["waiting_for_parents"] <= 10
    assert [x.request.target for x in world.out] == [f"/out{number}" for number in range(20)]
    assert world.counts["parents_not_known_in_time"] == 20


def test_a_flood_of_connections_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 50)
    world = World()
    for number in range(200):
        world.asked(world.wire(1, 2), f"/{number}")
    assert world.correlator.stats()["connections"] == 50
    assert world.counts["connections_forgotten"] == 150
    world.wait(SECOND)
    assert [x.request.target for x in world.out] == [f"/{number}" for number in range(150)]
    assert {x.error for x in world.out} == {"connection_closed"}


def test_a_flood_of_unanswered_requests_stays_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "MAX_OUTSTANDING", 20)
    world = World()
    wire = world.wire(1, 2)
    world.feed(wire.server.recv(b"".join(get(f"/{number}") for number in range(100))))
    world.wait(SECOND)
    assert [x.request.target for x in world.out] == [f"/{number}" for number in range(80)]
    assert {x.error for x in world.out} == {"no_response"}
    assert world.counts["requests_given_up"] == 80


def test_the_memory_of_what_left_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "MAX_DONE", 25)
    world = World()
    for number in range(100):
        wire = world.wire(1, 2)
        world.asked(wire, f"/{number}")
        world.answered(wire)
    world.wait(SECOND)
    world.wait(0)
    assert _alive(Done) <= 25


@pytest.mark.parametrize("ending", ["close", "exit", "moved"])
def test_nothing_is_kept_of_what_is_over(ending: str) -> None:
    """Whoever closes: the process that opened the connection, or the one it was handed to."""
    world = World()
    before = _alive(Live)
    for number in range(300):
        wire = world.wire(1, 2)
        data = get(f"/{number}")
        if ending == "moved":
            world.feed(wire.server.recv(data[:1]))
            wire.server.pid = wire.server.tid = 7
            data = data[1:]
            world.feed(wire.server.recv(data, begins=layout.REQUEST))
        else:
            world.feed(wire.client.send(data), wire.server.recv(data))
        if number % 2:
            world.feed(wire.server.send(reply()), wire.client.recv(reply()))
        if ending != "exit":
            world.feed(wire.server.tell(layout.CLOSE), wire.client.tell(layout.CLOSE))
    if ending == "exit":
        last = world.wire(1, 2)
        world.feed(last.server.tell(layout.EXIT), last.client.tell(layout.EXIT))
    world.wait(SECOND)
    world.wait(verdicts.KEEP_DONE)
    assert len(world.out) == (300 if ending == "moved" else 600)
    world.out.clear()
    assert world.correlator.stats()["connections"] == 0
    assert _alive(Live) == before
    assert _alive(Done) == 0
    assert not world.correlator.table._of_process


def _alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())
