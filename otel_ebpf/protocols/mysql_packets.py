"""One direction of MySQL's protocol, cut into packets: a length, a number, a body."""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half

HEADER = 4
FULL = 0xFFFFFF
"""Length of a packet that goes on in the next one."""


class Packets(Half):
    """Packets; those of more than 16 MB are put together.

    Attributes:
        body: first bytes of the packet that ``feed`` has completed, ``keep`` at most.
        keep: how many are kept of the next one.
        truncated: fewer of them were captured.
        size: bytes of its body; number: of its first part, as its header says.
    """

    __slots__ = (
        *("_continues", "_header", "_last", "_left", "_wanted"),
        *("body", "keep", "number", "size", "truncated"),
    )

    def __init__(self, keep: int) -> None:
        self.keep = keep
        super().__init__()

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._header = b""
        self._left = -1
        self._wanted = 0
        self._continues = False
        self._last = 0
        self.body = b""
        self.size = self.number = 0
        self.truncated = False

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left >= 0 or bool(self._header) or self._continues

    @property
    def last(self) -> int:
        """Number of its last part."""
        return self._last

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        size = len(data)
        if self._left < 0:
            if not self._header and not self._continues:
                self.start, self.token, self.offset = ts, token, at
            part = data[at : at + HEADER - len(self._header)]
            header = self._header + part if self._header else part
            at += len(part)
            if len(header) < HEADER:
                self._header = header
                return at, MORE
            self._header = b""
            if not self._begin(header):
                return at, BAD
        taken = min(self._left, size - at)
        if self._wanted:
            part = data[at : at + min(taken, self._wanted)]
            self.body = self.body + part if self.body else part
            self._wanted -= len(part)
        at += taken
        self._left -= taken
        return at, self._outcome()

    def _begin(self, header: bytes) -> bool:
        length = header[0] | header[1] << 8 | header[2] << 16
        if self._continues:
            if header[3] != (self._last + 1) & 0xFF:
                return False
            self.size += length
        else:
            self.body, self.truncated = b"", False
            self.size, self.number = length, header[3]
            self._wanted = self.keep
        self._last = header[3]
        self._left = length
        self._continues = length == FULL
        return True

    def _outcome(self) -> int:
        if self._left:
            return MORE
        self._left = -1
        return MORE if self._continues else UNIT

    def skip(self, length: int) -> int:
        """See ``Half.skip``."""
        if self._left < 0 or length > self._left:
            return BAD
        self._left -= length
        self.truncated = self.truncated or self._wanted > 0
        self._wanted = 0
        return self._outcome()


def length_encoded(body: bytes, at: int) -> tuple[int, int]:
    """A number in as many bytes as it needs, and the place behind it; -1 where it is none, or
    was not captured."""
    if at >= len(body):
        return -1, at
    first = body[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first, 0)
    if not size or at + 1 + size > len(body):
        return -1, at + 1
    return int.from_bytes(body[at + 1 : at + 1 + size], "little"), at + 1 + size


def text_until_nul(body: bytes, at: int) -> tuple[bytes, int]:
    """Bytes up to a NUL, and the place behind it."""
    end = body.find(b"\0", at)
    return (body[at:end], end + 1) if end >= 0 else (body[at:], len(body))
