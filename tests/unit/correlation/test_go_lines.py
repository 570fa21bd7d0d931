"""Goroutines between the one that calls and the one whose request it inherits (rule 4)."""

from __future__ import annotations

import struct
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from otel_ebpf.correlation.sites import TRUST
from otel_ebpf.events import layout
from tests.unit.correlation.world import GO, POOLED, SECOND, World, assert_child, get, reply

INHERITED = POOLED | layout.FLAG_CALLER_PARENT
CALLER_SITE, BETWEEN = 0x500, 0x600


class Program:
    """A Go process whose handlers start goroutines that start goroutines that call."""

    def __init__(self) -> None:
        self.world = World()
        self.goids = count(1000)
        self.out = self.world.wire(2, 3)

    def call(self, uid: int, between: int, path: str = "/out", site: int = BETWEEN) -> None:
        """A fresh goroutine, started by ``between``, calls and inherits ``uid``."""
        world, client, goid = self.world, self.out.client, next(self.goids)
        world.feed(client.send(get(path), flags=GO))
        pair = struct.pack("<QQ", between, site)
        line = client.tell(layout.LINEAGE, uid=uid, caller_goid=goid, length=0)
        line.data, line.data_len = pair, len(pair)
        answer = {"caller_uid": uid, "caller_goid": goid, "caller_site": CALLER_SITE}
        flags = INHERITED if uid else POOLED
        world.feed(line, client.recv(reply(), flags=flags, **answer))

    def request(self, path: str, between: int | None = None) -> int:
        """One request that causes one such call, to its end."""
        wire = self.world.wire(1, 2)
        uid = self.world.asked(wire, path)
        self.call(uid, next(self.goids) if between is None else between, f"{path}/out")
        self.world.answered(wire)
        return uid

    def tried(self) -> None:
        """Both kinds of goroutines have shown that they keep to their request."""
        for number in range(TRUST):
            self.request(f"/before{number}")
        self.world.wait(2 * SECOND)


def test_a_line_whose_goroutines_keep_to_their_request_names_the_parent() -> None:
    program = Program()
    program.tried()
    program.request("/a")
    program.world.wait(2 * SECOND)
    assert_child(
        program.world.span("/a/out"), program.world.server_span("/a"), "go.caller_ancestor"
    )


def test_a_dispatcher_in_between_that_outlives_its_request_ends_the_belief() -> None:
    program = Program()
    program.tried()
    # Born in a request, it starts goroutines for others later.
    program.request("/born", between=77)
    program.call(0, 77, "/later")
    program.request("/a")
    program.world.wait(2 * SECOND)
    assert program.world.span("/a/out").parent_span_id == b""
    assert program.world.counts["no_parent.goroutine_of_a_pool"] >= 1


def test_one_in_between_whose_kind_is_not_known_is_not_believed() -> None:
    program = Program()
    program.tried()
    wire = program.world.wire(1, 2)
    program.call(program.world.asked(wire, "/a"), 5, "/a/out", site=0)
    program.world.answered(wire)
    program.world.wait(2 * SECOND)
    assert program.world.span("/a/out").parent_span_id == b""


def test_a_caller_that_nothing_is_known_of_asks_for_births_once() -> None:
    program = Program()
    parents = program.world.correlator.parents
    program.call(0, 5)
    program.call(0, 5, "/again")
    assert parents.wanted_births == {2}
    parents.wanted_births.clear()
    program.call(0, 5, "/and/again")
    assert not parents.wanted_births


@given(st.binary(max_size=100))
def test_damaged_lines_do_no_harm(data: bytes) -> None:
    program = Program()
    line = program.out.client.tell(layout.LINEAGE, uid=1, caller_goid=3)
    line.data = data
    program.world.feed(line)
    program.request("/a")
    program.world.wait(20 * SECOND)
    assert program.world.span("/a/out")


def test_one_that_called_before_its_line_was_known_may_inherit_afterwards() -> None:
    """Who bore those in between is known from some moment on: before, nothing was inherited."""
    program = Program()
    program.tried()
    wire = program.world.wire(1, 2)
    uid = program.world.asked(wire, "/a")
    between = next(program.goids)
    program.call(0, between, "/before")
    program.call(uid, between, "/a/out")
    program.world.answered(wire)
    program.world.wait(2 * SECOND)
    assert_child(
        program.world.span("/a/out"), program.world.server_span("/a"), "go.caller_ancestor"
    )
