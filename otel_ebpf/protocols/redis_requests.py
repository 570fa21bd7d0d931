"""Redis commands as they pass, whole or in pieces."""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half
from .redis_command import KEPT, KEPT_BYTES

MAX_INLINE = 4096
"""Longest inline command that is read."""
_MAX_HEADER = 16
_MAX_ARGS = 1 << 22


def whole_command(data: bytes, at: int) -> tuple[list[bytes], int, int] | None:
    """The command at ``data[at]``, if it is whole there: its arguments as ``Commands`` keeps
    them, their number, and the place behind it."""
    if data[at] != 42:
        return None
    end = data.find(b"\r\n", at, at + _MAX_HEADER)
    number = data[at + 1 : end]
    if end < 0 or not number.isdigit():
        return None
    total = int(number)
    if not 0 < total <= KEPT:
        return None
    at = end + 2
    size = len(data)
    args = []
    for _ in range(total):
        end = data.find(b"\r\n", at, at + _MAX_HEADER)
        number = data[at + 1 : end]
        if end < 0 or data[at] != 36 or not number.isdigit():
            return None
        at = end + 2
        length = int(number)
        stop = at + length
        if stop + 2 > size:
            return None
        args.append(data[at : stop if length <= KEPT_BYTES else at + KEPT_BYTES])
        at = stop + 2
    return args, total, at


class Commands(Half):
    """Commands, their first arguments kept.

    Attributes:
        args, total: of the command in progress, or the one that ``feed`` has completed; without
            ``args`` it was an empty line.
        length: its bytes so far.
    """

    __slots__ = ("_keep", "_left", "_line", "_skip", "args", "length", "total")

    def reset(self) -> None:
        """See ``Half.reset``."""
        self.args: list[bytes] = []
        self.total = 0
        self.length = 0
        self._left = -1
        self._skip = self._keep = 0
        self._line = b""

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        return self._left >= 0 or bool(self._line)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if self._left < 0 and not self._line:
            self.start, self.token, self.offset = ts, token, at
            whole = whole_command(data, at)
            if whole is not None:
                self.args, self.total, end = whole
                self.length = end - at
                return end, UNIT
            self.reset()
        began, size, outcome = at, len(data), MORE
        while at < size and outcome == MORE:
            if self._skip:
                taken = min(self._skip, size - at)
                if self._keep:
                    part = data[at : at + min(taken, self._keep)]
                    self.args[-1] += part
                    self._keep -= len(part)
                at += taken
                self._skip -= taken
                if not self._skip and not self._left:
                    outcome = UNIT
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at : at + MAX_INLINE]
                at = size
                if len(self._line) > (MAX_INLINE if self._left < 0 else _MAX_HEADER):
                    outcome = BAD
                continue
            line = self._line + data[at:end]
            self._line = b""
            at = end + 1
            outcome = self._header(line)
        self.length += at - began
        if outcome == UNIT:
            self._left = -1
        return at, outcome

    def skip(self, length: int) -> int:
        """See ``Half.skip``; ``BAD`` where they hold more than the rest of one argument."""
        if length > self._skip:
            return BAD
        self.length += length
        self._skip -= length
        self._keep = 0
        if self._skip or self._left:
            return MORE
        self._left = -1
        return UNIT

    def _header(self, line: bytes) -> int:
        if self._left < 0 and not line.startswith(b"*"):
            words = line.split()
            self.args = [word[:KEPT_BYTES] for word in words[:KEPT]]
            self.total = len(words)
            first = self.args[0][:1] if self.args else b"P"
            return UNIT if len(line) <= MAX_INLINE and first.isalpha() else BAD
        number = line[1:-1]
        if line[-1:] != b"\r" or not number.isdigit() or len(number) > 10:
            return UNIT if number == b"-1" and self._left < 0 else BAD
        count = int(number)
        if self._left < 0:
            self.total = self._left = count
            return BAD if count > _MAX_ARGS else MORE if count else UNIT
        if line[0] != 36:
            return BAD
        self._left -= 1
        self._skip = count + 2
        if len(self.args) < KEPT:
            self.args.append(b"")
            self._keep = min(count, KEPT_BYTES)
        else:
            self._keep = 0
        return MORE
