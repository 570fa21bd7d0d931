"""Monotonic times become wall-clock times and follow steps of the wall clock."""

from __future__ import annotations

import time

from otel_ebpf.spans.clock import FixedClock, WallClock

MS = 1_000_000


class Machine:
    """Both clocks of a machine, each reading taking some time."""

    def __init__(self) -> None:
        self.now = 5_000 * MS
        self.boot = 1_700_000_000_000 * MS
        self.delays: list[int] = []

    def _pass(self) -> None:
        self.now += self.delays.pop(0) if self.delays else 50

    def monotonic(self) -> int:
        self._pass()
        return self.now

    def wall(self) -> int:
        self._pass()
        return self.boot + self.now


def test_the_running_systems_clocks_agree_within_a_millisecond() -> None:
    clock = WallClock()
    for _ in range(20):
        clock.tick()
        before = time.time_ns()
        converted = clock.to_epoch(time.monotonic_ns())
        after = time.time_ns()
        assert before - MS < converted < after + MS


def test_a_step_of_the_wall_clock_is_followed_in_both_directions() -> None:
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    for step in (3_600_000 * MS, -7_200_000 * MS, 2 * MS):
        machine.boot += step
        clock.tick()
        assert abs(clock.offset - machine.boot) < MS
    assert clock.steps == 3


def test_a_small_difference_moves_nothing_so_that_related_spans_share_an_offset() -> None:
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    offset = clock.offset
    machine.boot += 20_000
    clock.tick()
    assert (clock.offset, clock.steps) == (offset, 0)


def test_slewing_adds_up_to_no_more_than_a_fraction_of_a_millisecond() -> None:
    machine = Machine()
    clock = WallClock(machine.wall, machine.monotonic)
    for _ in range(200):
        machine.boot += 10_000
        clock.tick()
        assert abs(clock.offset - machine.boot) < MS // 10


def test_being_descheduled_between_the_readings_does_no_harm() -> None:
    machine = Machine()
    # Two of three tries are torn by pauses of 40 ms; readings come in threes.
    machine.delays = [50, 40 * MS, 50, 50, 50, 40 * MS]
    clock = WallClock(machine.wall, machine.monotonic)
    assert abs(clock.offset - machine.boot) < MS // 1000


def test_a_fixed_clock_stays_where_the_capture_put_it() -> None:
    clock = FixedClock(123)
    clock.tick()
    assert clock.to_epoch(1000) == 1123
