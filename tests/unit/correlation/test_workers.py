"""Rule 6 of docs/correlation.md: requests of threads that carry none are held until the response
of a segment that they are for."""

from __future__ import annotations

import pytest

from otel_ebpf.correlation import turns, workers
from otel_ebpf.correlation.model import SERVER
from otel_ebpf.correlation.parents import WORKERS
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
from tests.unit.protocols.test_redis import bulk, command

A, B, C, D = 1 << 40, 2 << 40, 3 << 40, 4 << 40


class Pool(World):
    """Process 2 serves on two connections; its other threads call process 3."""

    def __init__(self) -> None:
        super().__init__()
        self.uid = 0
        self.first, self.second = self.wire(1, 2), self.wire(1, 2)
        self.asked(self.first, "/a")
        self.asked(self.second, "/b")

    def made(self, path: str, own: int = 0, woken: int = 0, *wakes: int, how: int = 0) -> None:
        """A call by a thread in segment ``own``, woken by one in ``woken``; its response has led
        to wakes in ``wakes``."""
        wire = self.wire(2, 3)
        rule = layout.RULE_SERVER if own else layout.RULE_WORKER
        self.feed(wire.client.send(get(path), rule=rule, goid=own or D, parent_uid=woken))
        uid = wire.client.uid
        self.feed(wire.server.recv(get(path)), wire.server.send(reply()))
        self.feed(wire.client.recv(reply()))
        self.uid = uid
        for segment in wakes:
            self.feed(wire.client.tell(layout.WAKE, uid=uid, goid=segment, rule=how))

    def answer(self, wire: Wire, segment: int, reached: int = 0) -> None:
        self.feed(wire.server.send(reply(), goid=segment, parent_uid=reached))


def test_a_call_belongs_to_whom_its_response_wakes() -> None:
    world = Pool()
    world.made("/of-b", 0, 0, B)
    world.made("/of-a", 0, A, A)
    assert not world.wait(5 * MS), "nothing leaves before a response tells"
    world.answer(world.second, B)
    world.answer(world.first, A)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), workers.BOTH)
    assert_child(world.span("/of-b"), world.server_span("/b"), workers.OUT)


def test_what_a_thread_calls_before_it_answers_is_for_that_request() -> None:
    world = Pool()
    world.made("/of-b", B)
    world.made("/of-a", A)
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), workers.OWN)
    assert_child(world.span("/of-b"), world.server_span("/b"), workers.OWN)
    checks = world.correlator.parents.checks(2)
    assert (checks[workers.OWN], checks["pool.segment_right"]) == ("believed", "2 of 2")


def test_who_woke_a_worker_is_not_believed_alone_and_two_that_wait_are_a_contradiction() -> None:
    world = Pool()
    world.made("/woken", 0, A)
    world.made("/two", 0, A, A, B)
    world.made("/own-and-other", A, 0, B)
    world.made("/nothing")
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    for path in ("/woken", "/two", "/own-and-other", "/nothing"):
        assert_root(world.span(path))
    assert world.counts["no_parent.wakes_not_certain"] == 1
    assert world.counts["no_parent.wakes_disagree"] == 2
    assert world.counts["no_parent.no_wake_told"] == 1


def test_through_other_threads_both_ways_must_lead_to_the_same_thread() -> None:
    world = Pool()
    world.made("/there-and-back", 0, A, A, how=1)
    world.made("/back-only", 0, 0, A, how=1)
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_child(world.span("/there-and-back"), world.server_span("/a"), workers.BOTH)
    assert_root(world.span("/back-only"))


def through_others(*results: tuple[str, int, int]) -> Pool:
    """Requests at the same time, of threads that A has woken: path, threads between, and how many
    of them are woken by its response."""
    world = Pool()
    wires = [world.wire(2, 3) for _ in results]
    for (path, _, _), wire in zip(results, wires, strict=True):
        request = wire.client.send(get(path), rule=layout.RULE_WORKER, goid=D, parent_uid=A)
        world.feed(request, wire.server.recv(get(path)))
    for wire in wires:
        world.feed(wire.server.send(reply()), wire.client.recv(reply()))
    for (_, hops, woken), wire in zip(results, wires, strict=True):
        uid = wire.client.uid
        for segment in (A, B)[:woken]:
            world.feed(wire.client.tell(layout.WAKE, uid=uid, goid=segment, rule=hops))
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    return world


def test_results_that_come_through_other_threads_at_the_same_time_are_told_apart() -> None:
    world = through_others(("/one", 1, 1), ("/other", 1, 1))
    for path in ("/one", "/other"):
        assert_child(world.span(path), world.server_span("/a"), workers.BOTH)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(("/other", 1, 0), id="it has woken nobody, so the one may be it"),
        pytest.param(("/other", 2, 1), id="it has come another way"),
        pytest.param(("/other", 1, 2), id="it has woken two"),
    ],
)
def test_results_that_may_have_been_mixed_up_between_are_not_told_apart(
    other: tuple[str, int, int],
) -> None:
    world = through_others(("/one", 1, 1), other)
    assert_root(world.span("/one"))
    assert_root(world.span("/other"))


def test_who_began_to_wait_too_late_claims_nothing_but_contradicts() -> None:
    world = Pool()
    world.made("/late", 0, 0, A, how=workers.LATE)
    world.made("/both", 0, 0, A)
    world.feed(world.first.server.tell(layout.WAKE, uid=world.uid, goid=B, rule=workers.LATE))
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_root(world.span("/late"))
    assert_root(world.span("/both"))
    assert world.counts["no_parent.wakes_disagree"] == 1


def test_who_holds_the_jobs_result_is_whom_the_call_is_for_though_nobody_was_woken() -> None:
    world = Pool()
    world.made("/of-b", 0, A, B, how=workers.NO_WAKE)
    world.made("/lock", 0, 0, A, how=workers.LATE)  # A has waited for a lock since
    world.feed(world.second.server.tell(layout.WAKE, uid=world.uid, goid=B, rule=workers.NO_WAKE))
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    for path in ("/of-b", "/lock"):
        assert_child(world.span(path), world.server_span("/b"), workers.HELD)
    checks = world.correlator.parents.checks(2)
    assert (checks[workers.HELD], checks["pool.future_right"]) == ("believed", "2 of 2")


def test_a_job_whose_result_two_wait_for_or_that_wakes_another_is_nobodys() -> None:
    world = Pool()
    world.made("/two", 0, 0, A, B, how=workers.NO_WAKE)
    world.made("/other", 0, 0, A, how=workers.NO_WAKE)
    world.feed(world.second.server.tell(layout.WAKE, uid=world.uid, goid=B))
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_root(world.span("/two"))
    assert_root(world.span("/other"))
    assert world.counts["no_parent.wakes_disagree"] == 2


def test_a_contradiction_that_comes_after_the_response_counts_still() -> None:
    world = Pool()
    world.made("/out", 0, 0, A)
    world.answer(world.first, A)
    world.feed(world.first.server.tell(layout.WAKE, uid=world.uid, goid=B))
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_root(world.span("/out"))
    assert world.counts["no_parent.wakes_disagree"] == 1


def test_a_thread_that_serves_for_the_first_time_has_been_reached_by_its_call() -> None:
    world = Pool()
    world.made("/of-a")
    world.answer(world.first, A, world.uid)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_child(world.span("/of-a"), world.server_span("/a"), workers.OUT)


def test_a_rule_that_claims_what_was_before_the_exchange_is_closed_and_earns_belief_again() -> None:
    world = Pool()

    def round_of(path: str, *, before: bool) -> None:
        wire, keeps_open = world.wire(1, 2), world.first
        assert keeps_open.server.uid
        if before:
            world.made(path, C)
        world.asked(wire, "/in" + path)
        if not before:
            world.made(path, C)
        world.answer(wire, C)

    for number in range(5):
        round_of(f"/early{number}", before=True)
    round_of("/shut", before=False)
    for number in range(6000):
        round_of(f"/right{number}", before=False)
    round_of("/again", before=False)
    world.answer(world.first, A)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_root(world.span("/early0"))
    assert_root(world.span("/shut"))
    assert_child(world.span("/again"), world.server_span("/in/again"), workers.OWN)
    assert world.correlator.stats()["workers_rules_closed"] == 0


def test_a_request_that_was_alone_all_its_life_is_the_cause() -> None:
    world = World()
    wire = world.wire(1, 2)
    world.asked(wire, "/in")
    out = world.wire(2, 3)
    world.feed(out.client.send(get("/out"), rule=layout.RULE_WORKER))
    world.feed(out.server.recv(get("/out")), out.server.send(reply()), out.client.recv(reply()))
    world.feed(wire.server.send(reply(), goid=A))
    world.wait(SECOND)
    assert_child(world.span("/out"), world.server_span("/in"), "sole_in_flight")


def test_a_process_is_followed_when_several_of_its_calls_came_from_threads_that_carry_none() -> (
    None
):
    world = World()
    wire = world.wire(1, 2)
    for number in range(WORKERS):
        assert not world.correlator.parents.wanted_workers
        world.asked(wire, f"/in{number}")
        world.call(world.wire(2, 3), f"/out{number}", rule=layout.RULE_NONE)
        world.answered(wire)
    assert world.correlator.parents.wanted_workers == {2}
    only_calls = World()
    for number in range(WORKERS):
        only_calls.call(only_calls.wire(2, 3), f"/out{number}", rule=layout.RULE_NONE)
    assert not only_calls.correlator.parents.wanted_workers, "it serves nobody"


def test_an_event_loops_thread_is_at_many_requests_so_its_segments_mean_none() -> None:
    world = Pool()
    world.made("/of-b", 0, 0, A)
    reply_of_a_task = world.first.server.send(
        reply(), goid=A, flags=layout.FLAG_TASK, caller_goid=7
    )
    world.feed(reply_of_a_task)
    world.answer(world.second, B)
    world.wait(SECOND)
    assert_root(world.span("/of-b"))


def test_a_call_on_a_connection_of_several_is_known_by_the_segment_that_answered_it() -> None:
    world = Pool()
    shared = world.wire(2, 3)
    members = {"protocol": 80}
    for name in ("a", "b"):
        asked = {**members, "begins": layout.REQUEST, "rule": layout.RULE_WORKER, "goid": D}
        world.feed(shared.client.send(command("GET", name), **asked))
    for segment, value in ((A, b"1"), (B, b"2")):
        read = shared.client.recv(bulk(value), begins=layout.RESPONSE, **members)
        world.feed(read)
        number = turns.SEGMENT | read.ts
        world.feed(shared.client.tell(layout.WAKE, uid=number, goid=segment))
    world.answer(world.second, B)
    world.answer(world.first, A)
    world.wait(SECOND)
    calls = {x.request.text: x for x in world.out if x.protocol == "redis"}
    servers = {x.request.target: x for x in world.out if x.kind == SERVER}
    assert_child(calls["GET a"], servers["/a"], workers.OUT)
    assert_child(calls["GET b"], servers["/b"], workers.OUT)


def test_whom_one_of_several_replies_wakes_that_were_read_at_once_is_not_told() -> None:
    """The one that waits for "b" does not sleep yet, so only the other one is woken."""
    world = Pool()
    shared = world.wire(2, 3)
    members = {"protocol": 80}
    for name in ("a", "b"):
        asked = {**members, "begins": layout.REQUEST, "rule": layout.RULE_WORKER, "goid": D}
        world.feed(shared.client.send(command("GET", name), **asked))
    read = shared.client.recv(bulk(b"1") + bulk(b"2"), begins=layout.RESPONSE, **members)
    world.feed(read)
    woken = shared.client.tell(layout.WAKE, uid=turns.SEGMENT | read.ts, goid=A)
    world.feed(woken)
    world.answer(world.second, B)
    world.answer(world.first, A)
    world.wait(SECOND)
    calls = [x for x in world.out if x.protocol == "redis"]
    assert len(calls) == 2
    for call in calls:
        assert_root(call)
