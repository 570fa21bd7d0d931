"""Where a struct of Thrift ends: its fields, one after another, in pieces as they come.

Only messages without framing need it. Strings and arrays of numbers are passed over by their
length, also where they were not captured.
"""

from __future__ import annotations

from .thrift_head import varint

MORE, END, BAD = 0, 1, -1
DEEPEST = 64
"""Structs and containers within each other."""
LONGEST = 1 << 31

_STOP, _BOOL, _STRING, _STRUCT, _MAP, _SET, _LIST = 0, 2, 11, 12, 13, 14, 15
_NUMBER = 32
"""Of the compact protocol: a number of bytes that its last one tells."""
_FIELDS, _VALUES = -1, -2
_SIZES = {2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8, 16: 16}
"""Bytes of a value, by its type."""
_COMPACT = {
    1: _BOOL,
    2: _BOOL,
    3: _BOOL,
    4: _NUMBER,
    5: _NUMBER,
    6: _NUMBER,
    7: 4,
    8: _STRING,
    9: _LIST,
    10: _SET,
    11: _MAP,
    12: _STRUCT,
    13: 16,
}
"""The binary protocol's types, by the compact one's; those of one size are alike."""


class Walk:
    """Goes through a struct."""

    __slots__ = ("_compact", "_part", "_skip", "_stack")

    def __init__(self) -> None:
        self._compact = False
        self._part = b""
        self._skip = 0
        self._stack: list[list[int]] = []

    def begin(self, compact: bool) -> None:
        """A struct comes next."""
        self._compact = compact
        self._part = b""
        self._skip = 0
        self._stack = [[_FIELDS]]

    def feed(self, data: bytes, at: int) -> tuple[int, int]:
        """Goes on at ``data[at]``; returns the place behind what was used, and ``END``, ``MORE``
        or ``BAD``."""
        had = len(self._part)
        if had:
            data = self._part + data[at:]
            base, at = at, 0
        else:
            base = 0
        self._part = b""
        size = len(data)
        step = self._compact_step if self._compact else self._binary_step
        while True:
            if self._skip:
                taken = min(self._skip, size - at)
                at += taken
                self._skip -= taken
                if self._skip:
                    break
            if not self._stack:
                return base + at - had, END
            after = step(data, at)
            if after < 0:
                return base + max(0, at - had), BAD
            if not after:
                self._part = data[at:]
                break
            at = after - 1
        return base + size - had, MORE

    def skip(self, length: int, tail: bytes = b"") -> int:
        """Passes over bytes that were not captured, of which ``tail`` has the last; ``BAD`` where
        more than the rest of one value was not."""
        beyond = length - self._skip
        if beyond > len(tail):
            return BAD
        self._skip -= min(length, self._skip)
        if beyond > 0:
            at, outcome = self.feed(tail[-beyond:], 0)
            return BAD if at < beyond else outcome
        return END if not self._skip and not self._stack else MORE

    # A step returns the place behind it plus one (which may be where it began), 0: more bytes are
    # needed, -1: it cannot be.

    def _binary_step(self, data: bytes, at: int) -> int:
        top = self._stack[-1]
        if top[0] == _FIELDS:
            if at >= len(data):
                return 0
            if data[at] == _STOP:
                self._stack.pop()
                return at + 2
            if at + 3 > len(data):
                return 0
            return at + 4 if self._value(data[at]) else -1
        if top[0] == _VALUES:
            return self._next(at)
        kind = top[0]
        need = 4 if kind == _STRING else 6 if kind == _MAP else 5
        if at + need > len(data):
            return 0
        size = int.from_bytes(data[at + need - 4 : at + need], "big")
        types = () if kind == _STRING else (data[at], data[at + 1])[: need - 4]
        self._stack.pop()
        return at + need + 1 if self._sized(kind, size, types) else -1

    def _compact_step(self, data: bytes, at: int) -> int:
        top = self._stack[-1]
        if top[0] == _VALUES:
            return self._next(at)
        if at >= len(data):
            return 0
        first = data[at]
        if top[0] == _FIELDS:
            if first == _STOP:
                self._stack.pop()
                return at + 2
            after = at + 1
            if not first >> 4:
                _, after = varint(data, after)
                if after <= 0:
                    return after
            if first & 15 in (1, 2):  # its type is its value
                return after + 1
            return after + 1 if self._value(_COMPACT.get(first & 15, -1)) else -1
        kind = top[0]
        if kind in (_LIST, _SET):
            size, after = first >> 4, at + 1
            if size == 15:
                size, after = varint(data, after)
            types: tuple[int, ...] = (_COMPACT.get(first & 15, -1),)
        else:
            size, after = varint(data, at)
            types = ()
            if kind == _MAP and size and after > 0:
                if after >= len(data):
                    return 0
                types = _COMPACT.get(data[after] >> 4, -1), _COMPACT.get(data[after] & 15, -1)
                after += 1
        if after <= 0:
            return after
        self._stack.pop()
        return after + 1 if kind == _NUMBER or self._sized(kind, size, types) else -1

    def _value(self, kind: int) -> bool:
        """A value of this type comes next; False: there is none."""
        size = _SIZES.get(kind)
        if size is not None:
            self._skip = size
            return True
        if len(self._stack) >= DEEPEST:
            return False
        if kind == _STRUCT:
            self._stack.append([_FIELDS])
            return True
        self._stack.append([kind])
        return kind in (_STRING, _MAP, _SET, _LIST, _NUMBER)

    def _sized(self, kind: int, size: int, types: tuple[int, ...]) -> bool:
        """A string's or container's beginning has been read."""
        if size >= LONGEST:
            return False
        if kind == _STRING:
            self._skip = size
            return True
        if not size:
            return True
        sizes = [_SIZES.get(one, 0) for one in types]
        if all(sizes):
            self._skip = size * sum(sizes)
            return True
        self._stack.append([_VALUES, size * len(types), 0, *types])
        return True

    def _next(self, at: int) -> int:
        """The next value of a container."""
        top = self._stack[-1]
        if not top[1]:
            self._stack.pop()
            return at + 1
        top[1] -= 1
        kind = top[3 + top[2]]
        top[2] = (top[2] + 1) % (len(top) - 3)
        return at + 1 if self._value(kind) else -1
