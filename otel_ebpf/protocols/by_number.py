"""Pairing by the number that a call's header has, and its answer repeats.

Headers are telling, so a connection that was joined midway is understood at once. Some programs
read a header, or a part of it, by itself: its bytes are kept for the segment that follows.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from .by_key import ByKey
from .half import Half

_LOOK = 16
"""Bytes that are enough to tell whether a unit begins with them."""


class ByNumber(ByKey):
    """One connection. Never raises on any bytes.

    Attributes:
        alone: lengths of what programs read of a header by itself.
    """

    __slots__ = ("_apart",)

    alone: range

    def __init__(self, requests: Half, replies: Half) -> None:
        super().__init__(requests, replies)
        self._apart: list[tuple[bytes, int, Any] | None] = [None, None]
        """By direction: a header's first bytes, read alone while out of step; when, and token."""

    @abstractmethod
    def _fits(self, half: Half, head: bytes) -> bool:
        """Whether a unit of this half can begin so; False where that is too little to tell."""

    def _resumes(self, half: Half, data: bytes, length: int, ts: int) -> bool:
        direction = self._direction(half)
        apart, self._apart[direction] = self._apart[direction], None
        for before in (apart, None):
            head = (before[0] if before else b"") + data[:_LOOK]
            if self._fits(half, head):
                half.reset()
                half.lost = False
                if before:
                    half.feed(before[0], 0, before[1], before[2])
                return True
        if len(data) == length and length in self.alone:
            self._apart[direction] = data, ts, self._token
        return False
