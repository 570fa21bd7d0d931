"""From CLOCK_MONOTONIC nanoseconds to nanoseconds since the Unix epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

_TRIES = 5
_GOOD_BRACKET_NS = 2_000
_HYSTERESIS_NS = 50_000


class Clock(Protocol):
    """What the span builder needs of a clock: ``epoch = monotonic + offset``.

    The offset is read once per span, for its start and its end alike, so a step of
    the wall clock moves a span but never changes its duration.
    """

    offset: int

    def tick(self) -> None:
        """Follow the wall clock. Call it every second or more often."""
        ...


class FixedClock:
    """A clock whose offset never changes: for replay, where it comes from the capture."""

    __slots__ = ("offset",)

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def tick(self) -> None:
        """Nothing to follow."""

    def to_epoch(self, monotonic: int) -> int:
        """Epoch nanoseconds of a CLOCK_MONOTONIC reading in nanoseconds."""
        return monotonic + self.offset


class WallClock(FixedClock):
    """The running system's clock, agreeing with it to well within a millisecond.

    The offset is the wall clock's reading minus the middle of two monotonic readings
    around it. Of a few tries the one with the narrowest bracket counts, so being
    descheduled between the readings does no harm. Differences below 50 us are
    ignored: parents and children then share one offset and keep their order.

    ``steps`` counts the changes that were followed (settings of the clock, resume
    from suspend, accumulated slewing).
    """

    __slots__ = ("_monotonic", "_wall", "steps")

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self.steps = 0
        super().__init__(self._measure())

    def tick(self) -> None:
        """Measure the offset again and adopt it if the wall clock moved. About 1 us."""
        offset = self._measure()
        if abs(offset - self.offset) > _HYSTERESIS_NS:
            self.offset = offset
            self.steps += 1

    def _measure(self) -> int:
        best_width = -1
        best = 0
        for _ in range(_TRIES):
            before = self._monotonic()
            wall = self._wall()
            after = self._monotonic()
            width = after - before
            if best_width < 0 or width < best_width:
                best_width = width
                best = wall - (before + after) // 2
            if width <= _GOOD_BRACKET_NS:
                break
        return best
