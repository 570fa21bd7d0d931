"""What became of each process's links, as `otel-ebpf status` shows it."""

from __future__ import annotations

from otel_ebpf.correlation.links import MAX_PROCESSES, PROVED, Links
from otel_ebpf.events import layout
from tests.unit.correlation.world import SECOND, World


def test_each_call_is_proved_inferred_lacking_or_the_programs_own() -> None:
    world = World()
    inbound = world.wire(1, 2)
    uid = world.asked(inbound, "/in")
    world.call(world.wire(2, 3), "/proved", rule=layout.RULE_THREAD, parent_uid=uid)
    world.call(world.wire(2, 3), "/proved-too", rule=layout.RULE_THREAD, parent_uid=uid)
    world.call(world.wire(2, 3), "/inferred", rule=layout.RULE_SOLE, parent_uid=uid)
    world.call(world.wire(2, 3), "/lacking", rule=layout.RULE_AMBIGUOUS)
    world.call(world.wire(2, 3), "/own", rule=layout.RULE_NONE)
    world.answered(inbound)
    world.wait(SECOND)
    told = world.correlator.parents.links.report()
    mine = told[2]
    assert (mine["served"], mine["calls"]) == (1, 5)
    assert [mine[name] for name in ("proved", "inferred", "lack", "own")] == [2, 1, 1, 1]
    assert mine["calls_by"] == {"thread": 2, "sole_in_flight": 1}
    assert mine["absent"] == {"ambiguous_thread": 1}


def test_a_number_that_is_used_again_begins_at_nothing() -> None:
    world = World()
    wire = world.wire(2, 3)
    world.call(wire, "/old", rule=layout.RULE_AMBIGUOUS)
    world.wait(SECOND)
    assert world.correlator.parents.links.report()[2]["lack"] == 1
    world.feed(wire.client.tell(layout.FORK))
    assert 2 not in world.correlator.parents.links.report()


def test_processes_that_come_and_go_take_bounded_room() -> None:
    links = Links()
    for pid in range(MAX_PROCESSES + 100):
        links.absent(pid, "x")
    told = links.report()
    assert len(told) == MAX_PROCESSES
    assert 99 not in told and 100 in told


def test_no_rule_that_has_to_earn_belief_counts_as_proved() -> None:
    earned = {"ancestor", "go.caller_ancestor", "turn", "python.awaited", "python.copied"}
    assert not PROVED & {*earned, "sole_in_flight"}
