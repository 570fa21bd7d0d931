"""One direction of Kafka's protocol, cut into frames (a length, a body), and bodies read.

Of a long frame only parts are captured, and a broker sends messages straight from its files:
a body is what was seen of it, each part at its place. Reading goes on behind what was not seen
as long as lengths say where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .half import BAD, MORE, UNIT, Half

KEPT = 40_960
"""Most bytes kept of a body, a little more than the kernel half captures."""
_TELLING = 14
LONGEST = 1 << 28
"""A longer frame is none."""


class Unseen(Exception):
    """What is to be read was not captured, or is not there."""


class Body:
    """What was seen of a frame's body, and how far it was read.

    Numbers are in network order; what is not there raises ``Unseen``.

    Attributes:
        size: bytes of the body on the wire.
        flexible: lengths are compact, and structures end with tagged fields.
    """

    __slots__ = ("_at", "_base", "_data", "_next", "_parts", "flexible", "size")

    def __init__(self, parts: list[tuple[int, bytes]], size: int) -> None:
        """``parts``: place and bytes of each, in order, no two of them adjacent."""
        self._parts = parts
        self._base, self._data = parts[0] if parts else (0, b"")
        self._next = 1
        self._at = 0
        self.size = size
        self.flexible = False

    @property
    def place(self) -> int:
        """Where reading goes on."""
        return self._base + self._at

    def take(self, length: int) -> bytes:
        """The next bytes."""
        at = self._at
        end = at + length
        if length < 0 or end > len(self._data):
            raise Unseen
        self._at = end
        return self._data[at:end]

    def seen(self, most: int) -> bytes:
        """What was seen of the next bytes, without going on."""
        return self._data[self._at : self._at + most]

    def skip(self, length: int) -> None:
        """Goes on behind them, seen or not."""
        at = self._at + length
        if length < 0:
            raise Unseen
        while at > len(self._data):
            if self._next >= len(self._parts):
                if self._base + at > self.size:
                    raise Unseen
                break
            base, data = self._parts[self._next]
            if self._base + at < base:
                break  # in what was not seen: only skipping may go on
            self._next += 1
            at += self._base - base
            self._base, self._data = base, data
        self._at = at

    def number(self, length: int) -> int:
        """A signed number."""
        at = self._at
        end = at + length
        if end > len(self._data):
            raise Unseen
        self._at = end
        return int.from_bytes(self._data[at:end], "big", signed=True)

    def varint(self) -> int:
        """An unsigned number of up to 5 bytes."""
        data, at = self._data, self._at
        value = shift = 0
        while shift < 35:
            if at >= len(data):
                raise Unseen
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at
                return value
            shift += 7
        raise Unseen

    def length(self, width: int) -> int:
        """A text's or array's length; -1: null."""
        return self.varint() - 1 if self.flexible else self.number(width)

    def text(self) -> str:
        """A text; "" also for null."""
        length = self.length(2)
        return self.take(length).decode("utf-8", "replace") if length > 0 else ""

    def pass_text(self) -> None:
        """Goes on behind a text."""
        length = self.length(2)
        if length > 0:
            self.skip(length)

    def count(self) -> int:
        """The number of an array's elements; 0 also for null."""
        count = self.length(4)
        if count > self.size:
            raise Unseen
        return count if count > 0 else 0

    def tags(self) -> int:
        """Goes on behind tagged fields; returns a bit for each small tag that is there."""
        found = 0
        if self.flexible:
            for _ in range(self.varint()):
                tag = self.varint()
                if tag < 32:
                    found |= 1 << tag
                self.skip(self.varint())
        return found


class Frames(Half):
    """Frames.

    Args:
        fits: whether a frame can begin so; 14 bytes at least are given to it, 16 at most.

    Attributes:
        length: bytes of the frame, with those of the length itself.
    """

    __slots__ = ("_fits", "_head", "_kept", "_left", "_parts", "length")

    def __init__(self, fits: Callable[[bytes], bool]) -> None:
        self._fits = fits
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._head = b""
        self._left = -1
        self._kept = 0
        self._parts: list[tuple[int, bytes]] = []
        self.length = 0

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left >= 0 or bool(self._head)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if self._left < 0:
            if not self._head:
                if len(data) - at >= _TELLING and not self._fits(data[at : at + 16]):
                    return at, BAD
                self.start, self.token, self.offset = ts, token, at
                self._parts = []
                self._kept = 0
            part = data[at : at + 4 - len(self._head)]
            self._head += part
            at += len(part)
            if len(self._head) < 4:
                return at, MORE
            size = int.from_bytes(self._head, "big")
            self._head = b""
            if not 4 <= size < LONGEST:
                return at, BAD
            self._left = size
            self.length = size + 4
        taken = min(self._left, len(data) - at)
        if taken and self._kept < KEPT:
            part = data[at : at + min(taken, KEPT - self._kept)]
            self._kept += len(part)
            self._keep(self.length - 4 - self._left, part)
        self._left -= taken
        at += taken
        if self._left:
            return at, MORE
        self._left = -1
        return at, UNIT

    def _keep(self, place: int, part: bytes) -> None:
        parts = self._parts
        if parts and parts[-1][0] + len(parts[-1][1]) == place:
            parts[-1] = (parts[-1][0], parts[-1][1] + part)
        elif len(parts) < 256:
            parts.append((place, part))

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if length > self._left:
            return BAD
        self._left -= length
        if self._left:
            return MORE
        self._left = -1
        return UNIT

    def body(self) -> Body:
        """Of the frame that has just ended."""
        parts, self._parts = self._parts, []
        return Body(parts, self.length - 4)
