"""Rules 1 to 4 and 6 of docs/correlation.md: what the writing unit says, and when it is not
believed."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation.verdicts import KEEP_DONE
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    GO,
    MS,
    SECOND,
    World,
    assert_child,
    assert_root,
    get,
    reply,
)


@pytest.mark.parametrize(
    ("rule", "flags", "name"),
    [
        (layout.RULE_THREAD, 0, "thread"),
        (layout.RULE_SOLE, 0, "sole_in_flight"),
        (layout.RULE_GOROUTINE, GO, "goroutine"),
    ],
)
def test_a_request_is_the_child_of_what_its_writer_carries(
    rule: int, flags: int, name: str
) -> None:
    world = World()
    inbound, outbound = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in")
    world.call(outbound, "/out", rule=rule, parent_uid=uid, flags=flags)
    world.answered(inbound)
    world.wait(SECOND)
    assert_root(world.server_span("/in"))
    assert_child(world.span("/out"), world.server_span("/in"), name)


def test_one_request_may_cause_many() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    for number in range(5):
        world.call(world.wire(2, 3), f"/{number}", rule=layout.RULE_THREAD, parent_uid=uid)
    world.answered(inbound)
    world.wait(SECOND)
    for number in range(5):
        assert_child(world.span(f"/{number}"), world.server_span("/in"), "thread")


def test_a_unit_that_carries_nothing_begins_a_trace_and_no_reason_is_counted() -> None:
    world = World()
    world.call(world.wire(2, 3), "/own", rule=layout.RULE_NONE)
    world.call(world.wire(2, 3), "/own-go", rule=layout.RULE_NONE, flags=GO)
    world.wait(SECOND)
    assert_root(world.span("/own"))
    assert_root(world.span("/own-go"))
    assert world.span("/own").trace_id != world.span("/own-go").trace_id
    assert not any(name.startswith("no_parent") for name in world.counts)


def abstained(world: World, reason: str) -> None:
    world.wait(SECOND)
    assert_root(world.span("/out"))
    assert {k: v for k, v in world.counts.items() if k.startswith("no_parent")} == {
        f"no_parent.{reason}": 1
    }


def test_a_thread_with_several_requests_in_flight_decides_nothing() -> None:
    world = World()
    one, two = world.wire(1, 2), world.wire(1, 2)
    world.asked(one, "/a")
    world.asked(two, "/b")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_AMBIGUOUS)
    abstained(world, "ambiguous_thread")


def test_a_loop_that_has_begun_its_answer_may_be_at_anything() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.feed(inbound.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"))
    world.call(
        world.wire(2, 3),
        "/out",
        rule=layout.RULE_SOLE,
        parent_uid=uid,
        flags=layout.FLAG_RESPONDED,
    )
    world.feed(inbound.server.send(b"cd"))
    abstained(world, "loop_has_answered")


def test_a_request_written_after_the_response_ended_has_no_parent() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.answered(inbound)
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    abstained(world, "parent_was_over")


def test_the_same_when_the_parent_left_before() -> None:
    world = World()
    world.call(world.wire(2, 3), "/earlier")  # only who calls can be a parent later
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.answered(inbound)
    world.wait(SECOND)
    assert world.server_span("/in")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    abstained(world, "parent_was_over")


def test_a_request_written_while_the_response_is_being_sent_still_has_its_parent() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.feed(inbound.server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"))
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.feed(inbound.server.send(b"cd"))
    world.wait(SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "thread")


def test_a_number_of_another_process_is_no_parent() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.call(world.wire(9, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    abstained(world, "parent_of_other_process")


def test_a_number_that_was_never_seen_is_no_parent() -> None:
    world = World()
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=12345)
    abstained(world, "parent_not_seen")


def test_the_threads_of_a_go_program_say_nothing() -> None:
    """Recorded before the kernel half knew that the process is a Go program."""
    world = World()
    world.correlator.go_process(2)
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    abstained(world, "go_not_ready")


def test_a_go_program_that_has_ended_says_nothing_of_its_number() -> None:
    world = World()
    world.correlator.go_process(2)
    before = world.wire(1, 2)
    world.feed(before.server.tell(layout.EXIT))
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.answered(inbound)
    world.wait(SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "thread")


def test_what_an_ancestor_carries_counts_where_the_writer_reads_the_response() -> None:
    """Once goroutines that were started so have been seen to keep to their request."""
    world = World()
    for number in range(40):
        inbound, outbound = world.wire(1, 2), world.wire(2, 3)
        uid = world.asked(inbound, f"/in{number}")
        outbound.client.goid = 700 + number
        world.call(
            outbound,
            f"/out{number}",
            rule=layout.RULE_ANCESTOR,
            parent_uid=uid,
            flags=GO,
            answer_flags=GO,
        )
        world.answered(inbound)
        world.wait(2 * SECOND)
    assert_child(world.span("/out39"), world.server_span("/in39"), "ancestor")
    for number in range(39):
        below, above = world.span(f"/out{number}"), world.server_span(f"/in{number}")
        assert below.parent_span_id in (b"", above.span_id)


def test_an_ancestor_is_not_believed_where_another_goroutine_reads_the_response() -> None:
    """A connection that is dialled for one request may be handed to another."""
    world = World()
    inbound, outbound = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in")
    outbound.client.goid = 77
    world.feed(
        outbound.client.send(get("/out"), rule=layout.RULE_ANCESTOR, parent_uid=uid, flags=GO)
    )
    outbound.client.goid = 78
    world.feed(outbound.client.recv(reply(), flags=GO))
    abstained(world, "unconfirmed_ancestor")


def test_an_ancestor_without_a_response_is_not_believed() -> None:
    world = World()
    inbound, outbound = world.wire(1, 2), world.wire(2, 3)
    uid = world.asked(inbound, "/in")
    world.feed(
        outbound.client.send(get("/out"), rule=layout.RULE_ANCESTOR, parent_uid=uid, flags=GO)
    )
    world.feed(outbound.client.tell(layout.CLOSE))
    abstained(world, "unanswered")


def test_a_request_that_left_can_become_a_parent_for_ten_seconds() -> None:
    """Begun in time, bound late: the response to it came after the parent had left."""

    def bound_after(pause: int) -> World:
        world = World()
        inbound, outbound = world.wire(1, 2), world.wire(2, 3)
        uid = world.asked(inbound, "/in")
        world.feed(outbound.client.send(get("/out"), flags=GO))
        world.answered(inbound)
        world.wait(200 * MS)  # nobody else's view of it comes
        assert world.server_span("/in")
        world.wait(pause)
        pooled = GO | layout.FLAG_GO_POOLED
        world.feed(outbound.client.recv(reply(), flags=pooled, caller_uid=uid))
        world.wait(SECOND)
        return world

    world = bound_after(KEEP_DONE - SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "go.caller")
    abstained_world = bound_after(KEEP_DONE + SECOND)
    abstained(abstained_world, "parent_not_seen")
