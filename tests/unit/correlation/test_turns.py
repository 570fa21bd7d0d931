"""Loops that run each callback to its end (rule 6): what follows from what was read last."""

from __future__ import annotations

from itertools import count
from typing import Any

from otel_ebpf.correlation import anchors, turns
from otel_ebpf.correlation.late import PATIENCE
from otel_ebpf.correlation.model import CLIENT, SERVER
from otel_ebpf.correlation.turns import ENOUGH, FEW
from otel_ebpf.events import layout
from tests.unit.correlation.world import SECOND, Wire, World, assert_child, assert_root, get, reply
from tests.unit.protocols.test_redis import bulk, command

REDIS = 80
TURN, OPENED, DUE = layout.FLAG_TURN, layout.FLAG_OPENED, layout.FLAG_DUE
PROXY = layout.TURNS_PROXY


class Loop:
    """Process 2, which serves process 1 and calls process 3."""

    def __init__(self, kind: int = 1) -> None:
        self.world = World()
        self.kind = kind
        self.names = count()
        self.idle = self.world.wire(2, 3)
        self.call(self.idle, "/own")  # makes it known, and leaves an idle connection

    def asked(self, path: str) -> tuple[Wire, int]:
        wire = self.world.wire(1, 2)
        return wire, self.world.asked(wire, path)

    def send(self, wire: Wire, path: str, cause: int = 0, flags: int = 0) -> int:
        self.world.feed(
            wire.client.send(get(path), flags=TURN | flags, caller_uid=cause, caller_goid=self.kind)
        )
        return wire.client.uid

    def call(self, wire: Wire, path: str, cause: int = 0, flags: int = 0) -> int:
        uid = self.send(wire, path, cause, flags)
        self.world.feed(wire.client.recv(reply()))
        return uid

    def answer(self, wire: Wire, cause: int, flags: int = 0) -> None:
        self.world.feed(
            wire.server.send(reply(), flags=TURN | flags, caller_uid=cause, caller_goid=self.kind)
        )

    def earn(self, times: int = ENOUGH + 1) -> None:
        """Responses that follow from their own requests, while another one is open."""
        held, _ = self.asked("/open")
        for _ in range(times):
            wire, uid = self.asked(f"/earn{next(self.names)}")
            self.answer(wire, uid)
        self.answer(held, 0)


def test_a_proxys_call_follows_from_the_request_that_it_read_last() -> None:
    loop = Loop(PROXY)
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    loop.call(loop.world.wire(2, 3), "/of-b", b, OPENED)
    retry = loop.call(loop.world.wire(2, 3), "/of-a", a, OPENED)
    loop.call(loop.world.wire(2, 3), "/retry-of-a", retry, OPENED)
    loop.answer(first, retry)
    loop.answer(second, b)
    loop.world.wait(SECOND)
    for path, of in (("/of-a", "/a"), ("/retry-of-a", "/a"), ("/of-b", "/b")):
        assert_child(loop.world.span(path), loop.world.server_span(of), turns.TURN)


def test_a_program_is_believed_forwards_once_its_responses_have_shown_it() -> None:
    loop = Loop()
    for path in ("/before", "/after"):
        first, a = loop.asked(f"{path}/a")
        second, b = loop.asked(f"{path}/b")
        loop.call(loop.world.wire(2, 3), f"{path}/of-a", a)
        loop.answer(second, b)
        loop.answer(first, 0)
        loop.earn()
    loop.world.wait(SECOND)
    for path in ("/before", "/after"):  # what it named before that waits for the verdict
        call, cause = loop.world.span(f"{path}/of-a"), loop.world.server_span(f"{path}/a")
        assert_child(call, cause, turns.TURN)
    assert "no_parent.turn_not_certain" not in loop.world.counts


def test_a_request_waits_a_while_for_its_rule_to_be_believed_and_no_longer() -> None:
    loop = Loop()
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    loop.call(loop.world.wire(2, 3), "/call", a, OPENED)
    loop.answer(second, b)
    loop.answer(first, 0)
    loop.world.wait(PATIENCE // 2)
    assert "no_parent.turn_not_certain" not in loop.world.counts
    loop.world.wait(PATIENCE)
    assert loop.world.counts["no_parent.turn_not_certain"] == 1
    loop.earn()
    assert_root(loop.world.span("/call"))


def test_backwards_from_a_response_needs_no_trust() -> None:
    loop = Loop()
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    uid = loop.call(loop.world.wire(2, 3), "/slept-before", 0)
    loop.answer(first, uid)
    loop.answer(second, b)
    loop.world.wait(SECOND)
    assert a != b
    assert_child(loop.world.span("/slept-before"), loop.world.server_span("/a"), turns.TURN)


def test_a_timer_that_was_due_or_a_pool_without_an_idle_connection_makes_it_uncertain() -> None:
    loop = Loop()
    loop.earn()
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    busy = loop.idle
    loop.send(busy, "/last-idle", a)
    loop.call(loop.world.wire(2, 3), "/due", a, DUE | OPENED)
    world = loop.world
    world.feed(busy.client.recv(reply()))
    loop.send(busy, "/handed-over", b)
    world.feed(busy.client.recv(reply()))
    loop.answer(first, 0)
    loop.answer(second, 0)
    world.wait(PATIENCE + SECOND)
    assert_root(world.span("/due"))


def test_a_loop_that_does_other_things_than_its_turns_say_is_not_believed() -> None:
    loop = Loop()
    loop.earn()
    for number in range(FEW):
        first, _ = loop.asked(f"/x{number}")
        second, b = loop.asked(f"/y{number}")
        loop.answer(first, b)  # not the one that was read last
        loop.answer(second, b)
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    loop.call(loop.world.wire(2, 3), "/out", a)
    loop.answer(first, 0)
    loop.answer(second, 0)
    loop.world.wait(SECOND)
    assert_root(loop.world.span("/out"))


def test_two_exchanges_that_hang_together_contradict_each_other() -> None:
    loop = Loop(PROXY)
    first, a = loop.asked("/a")
    second, b = loop.asked("/b")
    uid = loop.call(loop.world.wire(2, 3), "/whose", a, OPENED)
    loop.answer(second, uid)
    loop.answer(first, a)
    loop.world.wait(SECOND)
    assert b != a
    assert_root(loop.world.span("/whose"))
    assert loop.world.counts["no_parent.turns_disagree"] == 1


def test_the_only_exchange_is_the_cause_unless_the_program_calls_on_its_own_account() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/only")
    world.call(world.wire(2, 3), "/slept-before", flags=TURN | DUE, caller_goid=1)
    world.answered(wire)
    world.call(world.wire(2, 3), "/heartbeat", flags=TURN, caller_goid=1)
    again = world.wire(1, 2)
    world.asked(again, "/again")
    world.call(world.wire(2, 3), "/whose", flags=TURN | DUE, caller_goid=1)
    world.answered(again)
    world.wait(SECOND)
    assert_child(world.span("/slept-before"), world.server_span("/only"), anchors.SOLE)
    assert_root(world.span("/heartbeat"))
    assert_root(world.span("/whose"))


def ask_redis(wire: Wire, data: bytes, **members: Any) -> None:
    flags = TURN | wire.client.placed(layout.EGRESS)
    asked = {"flags": flags, "caller_goid": 1, "protocol": REDIS, "begins": layout.REQUEST}
    wire.client.world.feed(wire.client.send(data, **asked, **members))


def read_redis(wire: Wire, data: bytes) -> int:
    """The kernel half's number of the segment that was read."""
    came = wire.client.recv(data, protocol=REDIS, begins=layout.RESPONSE)
    wire.client.world.feed(came)
    return turns.SEGMENT | came.ts


def children(world: World) -> dict[str, str]:
    """Redis's calls that have a parent, and its path."""
    servers = {x.span_id: x.request.target for x in world.out if x.kind == SERVER}
    calls = [x for x in world.out if x.kind == CLIENT and x.rule]
    assert all(x.rule == turns.TURN for x in calls)
    return {x.request.text: servers[x.parent_span_id] for x in calls}


def test_what_follows_from_a_segment_follows_from_the_one_reply_that_it_ends() -> None:
    loop = Loop()
    shared = loop.world.wire(2, 3)
    first, _ = loop.asked("/a")
    second, _ = loop.asked("/b")
    ask_redis(shared, command("GET", "a"))
    ask_redis(shared, command("GET", "b"))
    loop.answer(first, read_redis(shared, bulk(b"1")))
    loop.answer(second, read_redis(shared, bulk(b"2")))
    loop.world.wait(SECOND)
    assert children(loop.world) == {"GET a": "/a", "GET b": "/b"}


def test_of_several_replies_that_a_segment_ends_nothing_follows() -> None:
    loop = Loop()
    shared = loop.world.wire(2, 3)
    first, _ = loop.asked("/a")
    second, _ = loop.asked("/b")
    ask_redis(shared, command("GET", "a") + command("GET", "b"))  # one write, of several
    segment = read_redis(shared, bulk(b"1") + bulk(b"2"))
    loop.answer(first, segment)
    loop.answer(second, segment)
    loop.world.wait(SECOND)
    assert children(loop.world) == {}


def test_each_request_of_a_write_of_several_has_its_own_parent() -> None:
    loop = Loop()
    shared = loop.world.wire(2, 3)
    first, _ = loop.asked("/a")
    second, _ = loop.asked("/b")
    third, _ = loop.asked("/c")
    ask_redis(shared, command("GET", "a") + command("GET", "b") + command("GET", "c"))
    for wire, value in ((first, b"1"), (second, b"2"), (third, b"3")):
        loop.answer(wire, read_redis(shared, bulk(value)))
    loop.world.wait(SECOND)
    assert children(loop.world) == {"GET a": "/a", "GET b": "/b", "GET c": "/c"}
