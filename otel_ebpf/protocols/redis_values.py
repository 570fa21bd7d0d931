"""RESP, the wire format of Redis: one direction's values, framed.

A value's header is a line; aggregates say how many values follow, bulk strings how many bytes.
So one number, of values still to come, tells where the outermost one ends, and long strings
are passed over without being looked at.
"""

from __future__ import annotations

MAX_LINE = 4096
"""Longest line kept; a longer one (a simple string or an error) is cut."""
_MAX_COUNT = 1 << 31
_FIRST = 64
_AGGREGATES = b"*~>"
_LINES = b"+-:_#,("
_BULKS = b"$=!"

MORE, VALUE, BAD = 0, 1, 2


class Values:
    """Finds values' ends. Feed it bytes from the start of a value on.

    Attributes:
        kind: type of the value that began last (its first byte), 0 between two.
        first: of a simple value or an error its line; of an aggregate the first string in it.
    """

    __slots__ = ("_line", "_pending", "_skip", "_take_first", "first", "kind")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The next byte is a value's first."""
        self._line = b""
        self._pending = 1
        self._skip = 0
        self._take_first = 0
        self.kind = 0
        self.first = b""

    @property
    def inside(self) -> bool:
        """A value has begun and has not ended."""
        return self.kind != 0 or bool(self._line)

    def feed(self, data: bytes, at: int) -> tuple[int, int]:
        """Goes on at ``data[at]``. Returns the place behind what was used, and ``VALUE`` (an
        outermost value ended there), ``MORE`` or ``BAD``."""
        size = len(data)
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
                    return at, MORE
                self._take_first = 0
                if not self._pending:
                    return at, VALUE
                continue
            end = data.find(b"\n", at)
            if end < 0:
                if len(self._line) < MAX_LINE:
                    self._line += data[at : at + MAX_LINE]
                if self._line[0] not in b"+-:$*%~_#,(=>|!":
                    return size, BAD
                return size, MORE
            line = data[at:end]
            at = end + 1
            if self._line:
                line = self._line + line
                self._line = b""
            if not self._header(line):
                return at, BAD
            if not self._pending and not self._skip:
                return at, VALUE
        return at, MORE

    def skip(self, length: int) -> int:
        """Passes over bytes that were not captured: ``VALUE`` or ``MORE`` as ``feed``, ``BAD``
        where they hold more than the rest of one string."""
        if length > self._skip:
            return BAD
        self._skip -= length
        self._take_first = 0
        return VALUE if not self._skip and not self._pending else MORE

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
