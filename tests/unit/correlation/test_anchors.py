"""Rule 6 of docs/correlation.md: an event loop's requests are held until a response tells."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation import anchors, copies, identities
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    MS,
    SECOND,
    Wire,
    World,
    assert_child,
    assert_root,
    get,
    reply,
)

A, B, C, D = 0x1000, 0x2000, 0x3000, 0x4000
TASK = layout.FLAG_TASK


def call(world: World, path: str, *contexts: int) -> None:
    """A request of process 2 under ``contexts``: the task's own, then those that wait for it."""
    names = ("caller_goid", "caller_site", "context_uid")
    world.call(world.wire(2, 3), path, flags=TASK, rule=layout.RULE_AMBIGUOUS,
               **dict(zip(names, contexts, strict=False)))  # fmt: skip


def answer(world: World, wire: Wire, context: int, data: bytes = b"") -> None:
    world.feed(wire.server.send(data or reply(), caller_goid=context, flags=TASK))


def test_interleaved_requests_of_one_loop_are_told_apart_by_their_contexts() -> None:
    world = World()
    first, second = world.wire(1, 2), world.wire(1, 2)
    world.asked(first, "/a")
    world.asked(second, "/b")
    call(world, "/of-b", B)
    call(world, "/of-a", A)
    assert not world.wait(5 * MS), "nothing leaves before a response tells"
    answer(world, first, A)
    answer(world, second, B)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), identities.CONTEXT)
    assert_child(world.span("/of-b"), world.server_span("/b"), identities.CONTEXT)


def test_a_child_task_belongs_to_those_that_wait_for_it() -> None:
    world = World()
    first, second = world.wire(1, 2), world.wire(1, 2)
    world.asked(first, "/a")
    world.asked(second, "/b")
    call(world, "/child", C, A)
    call(world, "/grandchild", D, C, B)
    answer(world, second, B)
    answer(world, first, A)
    world.wait(SECOND)
    assert_child(world.span("/child"), world.server_span("/a"), anchors.AWAITED)
    assert_child(world.span("/grandchild"), world.server_span("/b"), anchors.AWAITED)


def test_an_address_that_is_used_again_does_not_reach_into_another_exchange() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/first")
    call(world, "/early", A)
    answer(world, wire, B)  # not the one that called
    world.asked(wire, "/second")
    call(world, "/late", A)
    answer(world, wire, A)
    world.wait(SECOND)
    assert_root(world.span("/early"))
    assert_child(world.span("/late"), world.server_span("/second"), identities.CONTEXT)
    assert world.counts["no_parent.no_response_of_its_task"] == 1


def test_a_request_after_the_response_is_nobodys() -> None:
    world = World()
    wire, other = world.wire(1, 2), world.wire(1, 2)
    world.asked(wire, "/a")
    call(world, "/in-time", A)
    world.asked(other, "/b")
    answer(world, wire, A)
    call(world, "/left-over", A)
    answer(world, other, B)
    call(world, "/on-its-own-account", A)
    world.wait(SECOND)
    assert_child(world.span("/in-time"), world.server_span("/a"), identities.CONTEXT)
    assert_root(world.span("/left-over"))
    assert_root(world.span("/on-its-own-account"))
    assert world.counts["no_parent.no_request_was_open"] == 1


def test_a_streaming_response_claims_what_came_before_it_began_and_before_it_ended() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/stream")
    call(world, "/before", A)
    answer(world, wire, A, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    call(world, "/between", A)
    world.feed(wire.server.send(b"67890"))
    world.wait(SECOND)
    for path in ("/before", "/between"):
        assert_child(world.span(path), world.server_span("/stream"), identities.CONTEXT)


def test_contexts_that_several_requests_share_are_not_believed_any_more() -> None:
    world = World()
    for number in range(identities.SHARED_AT_LEAST + 1):
        first, second = world.wire(1, 2), world.wire(1, 2)
        world.asked(first, f"/a{number}")
        world.asked(second, f"/b{number}")
        call(world, f"/out{number}", A)
        answer(world, first, A)
        answer(world, second, A)
    world.wait(SECOND)
    assert_root(world.span(f"/out{identities.SHARED_AT_LEAST}"))
    assert world.counts["no_parent.identity_is_shared"] == 1
    assert world.correlator.stats()["processes_with_shared_identities"] == 1


def test_a_thread_without_a_task_is_asked_as_before() -> None:
    world = World()
    wire = world.wire(1, 2)
    uid = world.asked(wire, "/in")
    world.call(world.wire(2, 3), "/out", rule=layout.RULE_THREAD, parent_uid=uid)
    world.answered(wire)
    world.wait(SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "thread")


def test_what_is_held_is_bounded_and_counted() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/in")
    world.correlator.parents.anchors.hold_at_most = 3
    for number in range(5):
        call(world, f"/{number}", A)
    answer(world, wire, A)
    world.wait(SECOND)
    assert_root(world.span("/0"))
    assert_child(world.span("/4"), world.server_span("/in"), identities.CONTEXT)
    assert world.counts["requests_held_given_up"] == 2
    assert world.correlator.stats()["requests_held"] == 0


def test_a_process_that_ends_or_a_pipeline_that_stops_lets_go() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/in")
    call(world, "/out", A)
    world.feed(wire.server.tell(layout.EXIT))
    world.wait(SECOND)
    assert_root(world.span("/out"))
    world.asked(world.wire(1, 2), "/again")
    world.feed(world.wire(2, 3).client.send(get("/never"), flags=TASK, caller_goid=A))
    call(world, "/last", B)
    world.end()
    assert_root(world.span("/last"))


def test_a_copy_belongs_to_the_exchange_in_which_it_was_made_and_to_no_later_one() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/first")
    made = world.later()
    copied = {"caller_goid": C, "caller_site": A, "ref_ts": made}
    world.call(world.wire(2, 3), "/thread", rule=layout.RULE_NONE, **copied)
    world.call(world.wire(2, 3), "/later", flags=TASK, **copied)
    answer(world, wire, A)
    world.asked(wire, "/second")  # on the same connection: the same task, the same context
    world.call(world.wire(2, 3), "/left-over", flags=TASK, **copied)
    answer(world, wire, A)
    world.wait(SECOND)
    for path in ("/thread", "/later"):
        assert_child(world.span(path), world.server_span("/first"), anchors.COPIED)
    assert_root(world.span("/left-over"))


def a_call(world: World, number: int, *origin: int) -> None:
    """One exchange with a call in context C: nobody's, or copied from ``origin``."""
    wire = world.wire(1, 2)
    world.asked(wire, f"/{number}")
    made = {"ref_ts": world.later()} if origin else {}
    told = dict(zip(("caller_site",), origin, strict=False))
    if number % 2:
        world.call(world.wire(2, 3), f"/out{number}", flags=TASK, caller_goid=C, **told, **made)
    else:
        rule = layout.RULE_NONE
        world.call(world.wire(2, 3), f"/out{number}", rule=rule, caller_goid=C, **told, **made)
    answer(world, wire, A)


def test_copies_are_told_from_the_first_call_and_no_longer_where_they_tell_nothing() -> None:
    world = World()
    told = world.correlator.parents.anchors.copies
    a_call(world, 1)
    assert told.wanted == {2}
    told.wanted.clear()
    for number in range(2, copies.TRIAL + 1):
        assert not told.unwanted
        a_call(world, number)
    assert (told.wanted, told.unwanted) == (set(), {2})


def test_copies_that_were_no_use_are_told_again_ever_more_rarely() -> None:
    told = copies.Copies()
    told.called(2)
    for wait in (copies.UNANSWERED, copies.UNANSWERED * 2):
        for _ in range(copies.TRIAL):
            told.decided(2, False)
        assert told.unwanted == {2}
        told.wanted.clear()
        for _ in range(wait):
            assert not told.wanted
            told.unanswered(2)
        assert (told.wanted, told.unwanted) == ({2}, set())


def test_copies_are_not_told_for_long_while_a_program_makes_no_calls() -> None:
    world = World()
    told = world.correlator.parents.anchors.copies
    a_call(world, 1, A)
    for unwanted in (set(), {2}):  # in the first row it made one that they told
        for number in range(copies.ANSWERS):
            wire = world.wire(1, 2)
            world.asked(wire, f"/{number}")
            answer(world, wire, A)
        assert told.unwanted == unwanted
    told.wanted.clear()
    a_call(world, 2)
    assert (told.wanted, told.unwanted) == ({2}, set())


def test_copies_are_told_for_good_where_they_go_on_to_name_parents() -> None:
    world = World()
    told = world.correlator.parents.anchors.copies
    for number in range(copies.TRIAL * copies.TRIALS):
        a_call(world, number, A)
    assert told.wanted == {2}
    for number in range(copies.TRIAL * copies.TRIALS):
        a_call(world, number)
    assert not told.unwanted


def test_a_context_that_came_to_be_later_claims_nothing_from_before() -> None:
    world = World()
    first, second = world.wire(1, 2), world.wire(1, 2)
    world.asked(first, "/a")
    world.asked(second, "/b")
    call(world, "/of-a", C, A)  # by a task that is gone before the next one has its address
    made = world.later()
    call(world, "/of-b", C)
    world.feed(second.server.send(reply(), caller_goid=C, ref_ts=made, flags=TASK))
    answer(world, first, A)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), anchors.AWAITED)
    assert_child(world.span("/of-b"), world.server_span("/b"), identities.CONTEXT)


def test_a_tasks_number_tells_it_from_one_that_had_the_same_address_before() -> None:
    world = World()
    first, second = world.wire(1, 2), world.wire(1, 2)
    world.asked(first, "/a")
    world.asked(second, "/b")
    call(world, "/of-a", 7 << 48 | C)  # by a task that nobody waits for, and that ends
    copied = {"caller_goid": 9 << 48 | D, "caller_site": C, "ref_ts": world.later()}
    world.call(world.wire(2, 3), "/copied-in-b", flags=TASK, **copied)
    answer(world, second, 8 << 48 | C)
    answer(world, first, A)
    world.wait(SECOND)
    assert_root(world.span("/of-a"))
    assert_child(world.span("/copied-in-b"), world.server_span("/b"), anchors.COPIED)


@pytest.mark.parametrize(
    ("kind", "rule"),
    [(1 << 63, identities.VIRTUAL), (3 << 62, identities.TASK)],
    ids=["java", "tokio"],
)
def test_what_has_a_number_asks_for_the_exchange_that_it_answers(kind: int, rule: str) -> None:
    world = World()
    first, second = world.wire(1, 2), world.wire(1, 2)
    one, two, begun_by_one = (kind | n for n in (31, 32, 33))
    world.asked(first, "/a")
    world.asked(second, "/b")
    call(world, "/of-b", two)
    call(world, "/of-a", one)
    call(world, "/of-another-thread", begun_by_one)
    answer(world, second, two)
    answer(world, first, one)
    world.asked(first, "/alone")
    call(world, "/of-the-only-one", begun_by_one)
    answer(world, first, one)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), rule)
    assert_child(world.span("/of-b"), world.server_span("/b"), rule)
    assert_root(world.span("/of-another-thread"))
    assert_child(world.span("/of-the-only-one"), world.server_span("/alone"), anchors.SOLE)
