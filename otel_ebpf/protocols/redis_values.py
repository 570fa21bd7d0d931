"""RESP, the wire format of Redis: one direction's values, framed.

A value's header is a line; aggregates say how many values follow, bulk strings how many bytes.
So one number, of values still to come, tells where the outermost one ends, and long strings
are passed over without being looked at.
"""

from __future__ import annotations

from typing import Any

from .half import BAD, MORE, UNIT, Half

MAX_LINE = 4096
"""Longest line kept; a longer one (a simple string or an error) is cut."""
_MAX_COUNT = 1 << 31
_FIRST = 64
_AGGREGATES = b"*~>"
_LINES = b"+-:_#,("
_BULKS = b"$=!"


class Values(Half):
    """Outermost values.

    Attributes:
        kind: type of the value that began last (its first byte), 0 before it has.
        first: of a simple value or an error its line; of an aggregate the first string in it.
        length: its bytes so far.
    """

    __slots__ = ("_line", "_pending", "_skip", "_take_first", "first", "kind", "length")

    def reset(self) -> None:
        """See ``Half.reset``."""
        self._line = b""
        self._pending = 1
        self._skip = 0
        self._take_first = 0
        self.kind = 0
        self.first = b""
        self.length = 0

    @property
    def inside(self) -> bool:
        """See ``Half.inside``."""
        begun = self.kind != 0 or bool(self._line)
        return begun and (self._pending > 0 or self._skip > 0)

    def feed(self, data: bytes, at: int, ts: int, token: Any) -> tuple[int, int]:
        """See ``Half.feed``."""
        if not self._pending and not self._skip:
            end = self._whole(data, at)
            if end:
                self.start, self.token, self.offset = ts, token, at
                self.length = end - at
                return end, UNIT
            self.reset()
        if not self.kind and not self._line:
            self.start, self.token, self.offset = ts, token, at
        began, size, outcome = at, len(data), MORE
        while at < size:
            if self._skip:
                taken = min(self._skip, size - at)
                if self._take_first:
                    part = data[at : at + min(taken, self._take_first)]
                    self.first += part
                    self._take_first -= len(part)
                at += taken
                self._skip -= taken
                if self._skip:
                    break
                self._take_first = 0
                if not self._pending:
                    outcome = UNIT
                    break
                continue
            end = data.find(b"\n", at)
            if end < 0:
                if len(self._line) < MAX_LINE:
                    self._line += data[at : at + MAX_LINE]
                if self._line[0] not in b"+-:$*%~_#,(=>|!":
                    outcome = BAD
                at = size
                break
            line = data[at:end]
            at = end + 1
            if self._line:
                line = self._line + line
                self._line = b""
            if not self._header(line):
                outcome = BAD
                break
            if not self._pending and not self._skip:
                outcome = UNIT
                break
        self.length += at - began
        return at, outcome

    def _whole(self, data: bytes, at: int) -> int:
        """A simple value or a string that is whole at ``data[at]``, as most replies are: the
        place behind it; 0: it is another, or not whole."""
        end = data.find(b"\n", at)
        if end < at + 2 or data[end - 1] != 13:
            return 0
        kind = data[at]
        if kind in _LINES:
            first = data[at + 1 : end - 1]
            if len(first) > MAX_LINE:
                return 0
            self.first = first
            end += 1
        elif kind in _BULKS:
            number = data[at + 1 : end - 1]
            if not number.isdigit() or len(number) > 10:
                return 0
            end += int(number) + 3
            if end > len(data):
                return 0
            self.first = b""
        else:
            return 0
        self.kind = kind
        return end

    def skip(self, length: int) -> int:
        """See ``Half.skip``; ``BAD`` where they hold more than the rest of one string."""
        if length > self._skip:
            return BAD
        self._skip -= length
        self.length += length
        self._take_first = 0
        return UNIT if not self._skip and not self._pending else MORE

    def _header(self, line: bytes) -> bool:
        """Takes a header, which is all of a simple value."""
        if len(line) < 2 or line[-1] != 13:
            return False
        kind = line[0]
        outermost = self.kind == 0
        if outermost:
            self.kind = kind
        if kind in _LINES:
            self._pending -= 1
            if outermost or (not self.first and kind == 43):
                self.first = line[1:-1][:MAX_LINE]
            return True
        number = line[1:-1]
        if not number.isdigit() and number != b"-1":
            return False
        if len(number) > 10:
            return False
        count = int(number)
        if kind in _BULKS:
            self._pending -= 1
            if count >= 0:
                self._skip = count + 2
                if not outermost and not self.first:
                    self._take_first = min(count, _FIRST)
            return True
        self._pending -= 1
        if kind in _AGGREGATES:
            self._pending += max(0, count)
        elif kind == 37:  # map
            self._pending += 2 * max(0, count)
        elif kind == 124:  # attribute: about the value that follows
            self._pending += 2 * max(0, count) + 1
        else:
            return False
        return self._pending < _MAX_COUNT
