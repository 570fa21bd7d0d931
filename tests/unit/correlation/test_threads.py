"""Rules 2 and 6 of docs/correlation.md: what a thread carries, where several threads read."""

from __future__ import annotations

from otel_ebpf.correlation.threads import ENOUGH
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    SECOND,
    Wire,
    World,
    assert_child,
    assert_root,
    reply,
)


class Served(World):
    """Process 2, whose threads serve; the first request is open all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.read("/open", 20)

    def read(self, path: str, tid: int) -> Wire:
        wire = self.wire(1, 2)
        wire.server.tid = tid
        self.asked(wire, path)
        return wire

    def call_of(self, wire: Wire, path: str) -> None:
        out = self.wire(2, 3)
        out.client.tid = wire.server.tid
        self.call(out, path, rule=layout.RULE_THREAD, parent_uid=wire.server.uid)

    def answer(self, wire: Wire, tid: int) -> None:
        wire.server.tid = tid
        self.feed(wire.server.send(reply()))


def test_threads_that_answer_what_they_read_are_believed_after_some_requests() -> None:
    world = Served()
    for number in range(ENOUGH):
        wire = world.read(f"/in{number}", 21)
        world.call_of(wire, f"/out{number}")
        world.answer(wire, 21)
        assert not any(x.request.target == "/out0" for x in world.out), "it is on trial"
    world.wait(SECOND)
    for number in range(ENOUGH):
        server = world.server_span(f"/in{number}")
        assert_child(world.span(f"/out{number}"), server, "thread")


def test_threads_that_answer_what_others_read_say_nothing_any_more() -> None:
    world = Served()
    first, second = world.read("/a", 21), world.read("/b", 22)
    world.call_of(first, "/out")  # for whichever of the two
    world.answer(second, 21)
    world.answer(first, 22)
    world.wait(SECOND)
    assert_root(world.span("/out"))
    assert world.counts["no_parent.threads_change_requests"] == 1
    assert world.correlator.stats()["processes_whose_threads_change_requests"] == 1
    checks = world.correlator.parents.checks(2)
    assert (checks["threads"], checks["threads_right"]) == ("not believed", "0 of 2")


def test_who_only_answers_proves_nothing_against_those_that_read() -> None:
    world = Served()
    for number in range(ENOUGH + 1):
        wire = world.read(f"/in{number}", 21)
        world.call_of(wire, f"/out{number}")
        world.answer(wire, 21 if number % 2 else 99)
    world.wait(20 * SECOND)
    assert_child(world.span("/out0"), world.server_span("/in0"), "thread")


def test_an_exchange_that_was_alone_needs_no_trial() -> None:
    world = World()
    for number in range(3):
        wire = world.wire(1, 2)
        wire.server.tid = 20 + number
        world.asked(wire, f"/in{number}")
        out = world.wire(2, 3)
        out.client.tid = wire.server.tid
        world.call(out, f"/out{number}", rule=layout.RULE_THREAD, parent_uid=wire.server.uid)
        world.answered(wire)
        world.wait(SECOND // 2)
        assert_child(world.span(f"/out{number}"), world.server_span(f"/in{number}"), "thread")
