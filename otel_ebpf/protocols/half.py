"""One direction of a connection, cut into the units of its protocol.

A unit is what a protocol frames: a packet, a line with its data, a value. Each protocol has a
half of its own, which knows its framing and nothing of what units mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

MORE, UNIT, BAD = 0, 1, 2
"""What ``Half.feed`` and ``Half.skip`` find. MORE: a unit goes on behind these bytes; UNIT: one is
whole; BAD: these bytes are none."""


class Half(ABC):
    """Finds units in bytes that come in pieces. Never raises on any bytes, and is bounded.

    Attributes:
        lost: where the next unit begins is not known. The half's owner keeps it.
        start: nanoseconds of the segment in which the latest unit began; token: what that segment
            is to the parser's caller; offset: the unit's place in it.
    """

    __slots__ = ("lost", "offset", "start", "token")

    def __init__(self) -> None:
        self.lost = False
        self.start = self.offset = 0
        self.token: Any = None
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """A unit's first byte comes next."""

    @property
    @abstractmethod
    def inside(self) -> bool:
        """A unit has begun and has not ended."""

    @abstractmethod
    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """Goes on at ``data[at]``, which is there, of a segment that came at ``ts``. Returns the
        place behind what was used, and ``UNIT``, ``MORE`` or ``BAD``."""

    @abstractmethod
    def skip(self, length: int) -> int:
        """Passes over bytes that were not captured: ``UNIT``, ``MORE``, or ``BAD`` where they hold
        more than the rest of one unit."""
