"""One direction of MongoDB's protocol, cut into messages: a header of 16 bytes, a body."""

from __future__ import annotations

from struct import Struct
from typing import Any

from .half import BAD, MORE, UNIT, Half

HEADER = Struct("<iiii")
"""Length with the header, the message's number, the number that it answers, its kind."""
SIZE = 16
KEPT = 40_960
"""Most bytes kept of a body, a little more than the kernel half captures."""
LONGEST = 48_016_384
"""A longer message is none."""

REPLY, UPDATE, INSERT, QUERY, GET_MORE, DELETE, KILL_CURSORS = 1, 2001, 2002, 2004, 2005, 2006, 2007
COMPRESSED, MESSAGE = 2012, 2013
KINDS = frozenset(
    (REPLY, UPDATE, INSERT, QUERY, GET_MORE, DELETE, KILL_CURSORS, COMPRESSED, MESSAGE)
)


def fits(head: bytes) -> bool:
    """Whether a message can begin so; ``head`` has at least 16 bytes."""
    length, _, _, kind = HEADER.unpack_from(head)
    return SIZE < length < LONGEST and kind in KINDS


class Frames(Half):
    """Messages.

    Attributes:
        number, answers, kind: of the message that ``feed`` has completed, from its header.
        body: its first bytes behind the header, ``KEPT`` at most; whole: it is all of them.
        length: its bytes.
    """

    __slots__ = (
        *("_gap", "_head", "_kept", "_left", "_parts"),
        *("answers", "body", "kind", "length", "number", "whole"),
    )

    def __init__(self) -> None:
        self.number = self.answers = self.kind = 0
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._head = b""
        self._left = -1
        self._parts: list[bytes] = []
        self._kept = 0
        self._gap = False
        self.length = 0
        self.body = b""
        self.whole = True

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left >= 0 or bool(self._head)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if self._left < 0:
            head = self._head
            if not head:
                self.start, self.token, self.offset = ts, token, at
            part = data[at : at + SIZE - len(head)]
            at += len(part)
            head += part
            if len(head) < SIZE:
                self._head = head
                return at, MORE
            self._head = b""
            if not fits(head):
                return at, BAD
            length, self.number, self.answers, self.kind = HEADER.unpack(head)
            self.length = length
            left = length - SIZE
            if left <= len(data) - at and left <= KEPT:  # most messages
                self.body = data[at : at + left]
                self.whole = True
                return at + left, UNIT
            self._left = left
            self._parts, self._kept, self._gap = [], 0, False
        taken = min(self._left, len(data) - at)
        if not self._gap and self._kept < KEPT and taken:
            part = data[at : at + min(taken, KEPT - self._kept)]
            self._parts.append(part)
            self._kept += len(part)
            if len(self._parts) > 64:  # many small pieces cost more than their bytes
                self._parts = [b"".join(self._parts)]
        self._left -= taken
        return at + taken, self._ended()

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if not 0 <= length <= self._left:
            return BAD
        self._gap = self._gap or length > 0
        self._left -= length
        return self._ended()

    def _ended(self) -> int:
        if self._left:
            return MORE
        self._left = -1
        self.body = b"".join(self._parts)
        self._parts = []
        self.whole = len(self.body) == self.length - SIZE
        return UNIT
