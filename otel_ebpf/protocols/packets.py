"""One direction of a protocol whose packets say their length at their beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .half import BAD, MORE, UNIT, Half

_LONGEST_HEAD = 16


class Packets(Half):
    """Packets, each kept as its first bytes.

    Args:
        measure: a packet's first bytes -> its whole length; 0: more bytes are needed, -1: none.
        keep: most bytes kept of one.

    Attributes:
        data: of the packet that ``feed`` or ``skip`` has completed, its first bytes that were
            captured. size: its length.
    """

    __slots__ = ("_keep", "_left", "_measure", "_room", "data", "size")

    def __init__(self, measure: Callable[[bytes], int], keep: int) -> None:
        self._measure = measure
        self._keep = keep
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self.data = b""
        self.size = 0
        self._left = 0
        self._room = self._keep

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left > 0 or (not self.size and bool(self.data))

    @property
    def left(self) -> int:
        """Bytes of the packet that are to come, if its length is known; else 0."""
        return self._left

    def begin(self, head: bytes, size: int, ts: int, token: Any) -> None:
        """A packet begins that is not seen, and is known to begin so."""
        self.reset()
        self.start, self.token, self.offset = ts, token, 0
        self.data = head
        self.size = self._left = size
        self._room = 0

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if not self.inside:
            self.reset()
            self.start, self.token, self.offset = ts, token, at
        if not self.size:
            had = len(self.data)
            head = self.data + data[at : at + _LONGEST_HEAD]
            size = self._measure(head)
            if size < 0 or (not size and len(head) >= _LONGEST_HEAD) or 0 < size <= had:
                return at, BAD
            if not size:
                self.data = head
                return len(data), MORE
            self.size = size
            self._left = size - had
        taken = min(self._left, len(data) - at)
        room = self._room - len(self.data)
        if room > 0:
            self.data += data[at : at + min(taken, room)]
        self._left -= taken
        return at + taken, MORE if self._left else UNIT

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if not self.size or length > self._left:
            return BAD
        self._left -= length
        self._room = 0  # what comes behind a hole does not belong to what was kept
        return MORE if self._left else UNIT


def chained(measure: Callable[[bytes], int], data: bytes, length: int) -> bool:
    """Whether a segment of ``length`` bytes, of which ``data`` was captured, is made of whole
    packets as far as it was seen."""
    at = 0
    while at < len(data):
        size = measure(data[at : at + _LONGEST_HEAD])
        if size <= 0:
            return False
        at += size
    return at == length
