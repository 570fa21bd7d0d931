"""Rule 5: a pooled connection of Go's net/http belongs to whoever its witnesses name."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from otel_ebpf.correlation.go_witnesses import TRIAL
from otel_ebpf.correlation.model import CLIENT, Exchange
from otel_ebpf.correlation.sites import TRUST
from otel_ebpf.events import layout
from tests.unit.correlation.world import (
    GO,
    POOLED,
    SECOND,
    World,
    assert_child,
    assert_root,
    get,
    reply,
)

INHERITED = layout.FLAG_CALLER_PARENT


class Pool:
    """A Go process that serves ``/a`` and ``/b`` and calls out on a pooled connection."""

    def __init__(self) -> None:
        self.world = World()
        self.inbound = [self.world.wire(1, 2), self.world.wire(1, 2)]
        self.a, self.b = (
            self.world.asked(wire, path)
            for wire, path in zip(self.inbound, ("/a", "/b"), strict=True)
        )
        self.outbound = self.world.wire(2, 3)

    def call(self, path: str = "/out", flags: int = POOLED, **answer: Any) -> None:
        client = self.outbound.client
        client.goid = 50  # its write loop
        self.world.feed(client.send(get(path), flags=GO))
        client.goid = 51  # its read loop
        self.world.feed(client.recv(reply(), flags=flags, **answer))

    def done(self) -> None:
        for wire in self.inbound:
            self.world.answered(wire)
        self.world.wait(SECOND)

    def out(self) -> Exchange:
        return self.world.span("/out")

    def reasons(self) -> dict[str, int]:
        return {k: v for k, v in self.world.counts.items() if k.startswith("no_parent")}


@pytest.mark.parametrize(
    ("caller", "context", "flags", "rule"),
    [
        (True, False, 0, "go.caller"),
        (True, False, INHERITED, "go.caller_ancestor"),
        (False, True, 0, "go.context"),
        (True, True, 0, "go.caller+context"),
        (True, True, INHERITED, "go.caller+context"),
    ],
)
def test_witnesses_name_the_parent(caller: bool, context: bool, flags: int, rule: str) -> None:
    pool = Pool()
    pool.call(caller_uid=pool.b * caller, context_uid=pool.b * context, flags=POOLED | flags)
    pool.done()
    assert_child(pool.out(), pool.world.server_span("/b"), rule)
    assert pool.reasons() == {}


def test_witnesses_that_disagree_are_both_disbelieved() -> None:
    pool = Pool()
    pool.call(caller_uid=pool.a, context_uid=pool.b)
    pool.done()
    assert_root(pool.out())
    assert pool.reasons() == {"no_parent.witnesses_disagree": 1}


def test_no_witness_no_parent() -> None:
    pool = Pool()
    pool.call()
    pool.done()
    assert_root(pool.out())
    assert pool.reasons() == {"no_parent.no_witness": 1}


def test_the_ancestor_of_the_dialling_goroutine_does_not_stand_in_for_witnesses() -> None:
    pool = Pool()
    client = pool.outbound.client
    pool.world.feed(
        client.send(get("/out"), flags=GO, rule=layout.RULE_ANCESTOR, parent_uid=pool.a)
    )
    pool.world.feed(client.recv(reply(), flags=POOLED))
    pool.done()
    assert_root(pool.out())
    assert pool.reasons() == {"no_parent.no_witness": 1}


def test_the_ancestor_of_the_dialling_goroutine_loses_to_the_witness() -> None:
    pool = Pool()
    client = pool.outbound.client
    pool.world.feed(
        client.send(get("/out"), flags=GO, rule=layout.RULE_ANCESTOR, parent_uid=pool.a)
    )
    pool.world.feed(client.recv(reply(), flags=POOLED, caller_uid=pool.b))
    pool.done()
    assert_child(pool.out(), pool.world.server_span("/b"), "go.caller")


def test_a_reused_connection_serves_another_request_each_time() -> None:
    pool = Pool()
    for number in range(10):
        pool.call(f"/out{number}", caller_uid=(pool.a, pool.b)[number % 2])
    pool.done()
    for number in range(10):
        parent = pool.world.server_span(("/a", "/b")[number % 2])
        assert_child(pool.world.span(f"/out{number}"), parent, "go.caller")


def test_a_witness_that_names_what_was_over_is_not_believed() -> None:
    pool = Pool()
    pool.world.answered(pool.inbound[0])
    pool.call(caller_uid=pool.a)
    pool.done()
    assert_root(pool.out())
    assert pool.reasons() == {"no_parent.parent_was_over": 1}


def test_the_witness_of_an_interim_response_is_not_asked_twice() -> None:
    """100 Continue is no answer; the witness of the final response decides."""
    pool = Pool()
    client = pool.outbound.client
    pool.world.feed(client.send(get("/out"), flags=GO))
    pool.world.feed(client.recv(b"HTTP/1.1 100 Continue\r\n\r\n", flags=POOLED, caller_uid=pool.a))
    pool.world.feed(client.recv(reply(), flags=POOLED, caller_uid=pool.b))
    pool.done()
    assert_child(pool.out(), pool.world.server_span("/b"), "go.caller")


def test_without_a_response_nobody_can_be_asked() -> None:
    pool = Pool()
    client = pool.outbound.client
    pool.world.feed(client.send(get("/out"), flags=GO))
    pool.world.feed(client.tell(layout.ERROR, length=104))
    pool.done()
    assert_root(pool.out())
    assert pool.out().error == "connection_reset"
    assert pool.reasons() == {"no_parent.unanswered": 1}


def test_a_split_status_line_is_judged_where_the_kernel_saw_it_begin() -> None:
    """The first byte alone has no witness; the record that completes the start has."""
    pool = Pool()
    client = pool.outbound.client
    pool.world.feed(client.send(get("/out"), flags=GO))
    answer = reply()
    pool.world.feed(
        client.recv(answer[:1], begins=layout.MAYBE, flags=GO),
        client.recv(answer[1:], begins=layout.RESPONSE, flags=POOLED, caller_uid=pool.b),
    )
    pool.done()
    assert_child(pool.out(), pool.world.server_span("/b"), "go.caller")


class Grown:
    """A Go process whose handlers start goroutines with one function; each makes one call."""

    def __init__(self) -> None:
        self.world = World()
        self.outbound = self.world.wire(2, 3)
        self.goids = count(100)

    def serve(
        self, path: str, goid: int | None = None, wait: int = 2 * SECOND, **answer: Any
    ) -> int:
        """One request, in which goroutine ``goid`` (a new one by default) calls out."""
        inbound = self.world.wire(1, 2)
        uid = self.world.asked(inbound, path)
        self.call(path + "/out", uid, goid or next(self.goids), **answer)
        self.world.answered(inbound)
        self.world.wait(wait)
        return uid

    def call(self, path: str, caller_uid: int, goid: int, **answer: Any) -> None:
        client = self.outbound.client
        self.world.feed(client.send(get(path), flags=GO))
        self.world.feed(
            client.recv(
                reply(),
                **{
                    "flags": POOLED | INHERITED,
                    "caller_uid": caller_uid,
                    "caller_goid": goid,
                    "caller_site": 0x4000,
                    **answer,
                },
            )
        )

    def rule(self, path: str) -> str:
        return self.world.span(path + "/out").rule


def test_ancestry_is_believed_once_enough_goroutines_have_kept_to_their_request() -> None:
    grown = Grown()
    for number in range(TRUST):  # too seldom for the first of them to wait for the last
        grown.serve(f"/{number}")
    grown.serve("/last")
    rules = [grown.rule(f"/{number}") for number in range(TRUST)]
    waited = TRIAL // (2 * SECOND)
    assert rules == [""] * (TRUST - waited) + ["go.caller_ancestor"] * waited
    assert_child(
        grown.world.span("/last/out"), grown.world.server_span("/last"), "go.caller_ancestor"
    )
    assert grown.world.counts["no_parent.untried_go_statement"] == TRUST - waited


def test_parents_wait_for_what_is_learnt_of_their_kind() -> None:
    grown = Grown()
    for number in range(TRUST):
        grown.serve(f"/{number}", wait=SECOND // 100)
    assert not [x for x in grown.world.out if x.kind == CLIENT]
    grown.world.wait(2 * SECOND)
    for number in range(TRUST):
        assert_child(
            grown.world.span(f"/{number}/out"),
            grown.world.server_span(f"/{number}"),
            "go.caller_ancestor",
        )


def test_a_worker_among_those_that_wait_leaves_all_without_parent() -> None:
    grown = Grown()
    for number in range(TRUST):
        grown.serve(f"/{number}", wait=SECOND // 100)
    grown.serve("/again", goid=100)  # the first goroutine: its request is over
    assert {grown.rule(f"/{number}") for number in range(TRUST)} == {""}
    assert grown.world.counts["no_parent.goroutine_of_a_pool"] == TRUST + 1


def test_a_goroutine_that_works_for_another_request_closes_its_function_for_good() -> None:
    grown = Grown()
    for number in range(TRUST + 1):
        grown.serve(f"/{number}")
    grown.serve("/first", goid=7)
    grown.serve("/second", goid=7)  # a worker after all
    grown.serve("/third")
    assert grown.rule("/first") == "go.caller_ancestor"
    assert (grown.rule("/second"), grown.rule("/third")) == ("", "")


def test_a_worker_that_is_seen_again_never_counts_as_trustworthy() -> None:
    grown = Grown()
    for number in range(3 * TRUST):
        grown.serve(f"/{number}", goid=7 + number % 4)
    assert {grown.rule(f"/{number}") for number in range(3 * TRUST)} == {""}


def test_a_context_needs_no_trust_in_the_place() -> None:
    grown = Grown()
    inbound = grown.world.wire(1, 2)
    uid = grown.world.asked(inbound, "/in")
    grown.call("/in/out", uid, 7, context_uid=uid)
    grown.world.answered(inbound)
    grown.world.wait(SECOND)
    assert grown.rule("/in") == "go.caller+context"
