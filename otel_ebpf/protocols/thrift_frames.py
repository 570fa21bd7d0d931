"""One direction of a connection that speaks Thrift, cut into messages.

Framed messages end by their length, others where their struct does: that has to be gone through.
"""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half
from .thrift_head import LONGEST_HEAD, Head, read_head
from .thrift_walk import END, Walk

CUT = 3
"""A message whose end is not known, for too much of it was not captured."""
KEPT = 4096
"""Most bytes kept of a message's struct."""


class Frames(Half):
    """Finds messages in bytes that come in pieces.

    Attributes:
        head: of the message that is in progress, or has just ended.
        body: its struct's first bytes, ``KEPT`` at most; length: its bytes so far.
        tail: the last bytes of the segment that is read, where they were not captured. The
            owner keeps it.
    """

    __slots__ = (
        *("_begun", "_gap", "_left", "_parts", "_room", "_walk"),
        *("body", "head", "length", "tail"),
    )

    def __init__(self) -> None:
        self.length = 0
        self.head: Head | None = None
        self.body = self.tail = b""
        self._walk = Walk()
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._begun = b""
        self._left = -1
        """Bytes that are to come; -1: between messages or within a head, -2: as its struct says."""
        self._parts: list[bytes] = []
        self._room = KEPT
        self._gap = False

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left != -1 or bool(self._begun)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if self._left == -1:
            begun = self._begun
            if not begun:
                self.start, self.token, self.offset = ts, token, at
            head = begun + data[at : at + LONGEST_HEAD]
            found = read_head(head)
            if isinstance(found, int):
                if found < 0 or len(head) >= LONGEST_HEAD:
                    return at, BAD
                self._begun = head
                return len(data), MORE
            self.head = found
            # Of a compressed message more was looked at than its head.
            self.length = max(found.size, len(begun))
            self._begun = b""
            at += self.length - len(begun)
            if found.frame:
                self._left = found.frame - self.length
            else:
                self._left = -2
                self._walk.begin(found.compact)
        before = at
        if self._left == -2:
            at, outcome = self._walk.feed(data, at)
            ended = outcome == END
            if outcome < 0:
                return at, BAD
        else:
            taken = min(self._left, len(data) - at)
            self._left -= taken
            at += taken
            ended = not self._left
        self.length += at - before
        if self._room and not self._gap and at > before:
            part = data[before : min(at, before + self._room)]
            self._room -= len(part)
            self._parts.append(part)
        return at, self._end() if ended else MORE

    def skip(self, length: int) -> int:
        """See ``Half.skip``; ``CUT`` where it ends within these bytes, or somewhere behind."""
        if self._left == -1:
            return BAD
        self._gap = True
        if self._left == -2:
            outcome = self._walk.skip(length, self.tail)
            self.length += length
            if outcome < 0:
                self._end()
                return CUT
            return self._end() if outcome == END else MORE
        if length > self._left:
            return BAD
        self._left -= length
        self.length += length
        return MORE if self._left else self._end()

    def _end(self) -> int:
        self.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.reset()
        return UNIT
