"""BSON, as much as is needed to tell of a command: fields by name, and its shape as a text.

Documents come from anywhere and may be cut short: what is not there, or makes no sense, ends
the reading, and what was found is kept. Nothing here is recursive.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from struct import Struct

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, BOOL, INT32, INT64 = 1, 2, 3, 4, 5, 8, 16, 18
_REGEX, _POINTER, _CODE, _SYMBOL, _SCOPED = 11, 12, 13, 14, 15
_FIXED = {
    DOUBLE: 8, 6: 0, 7: 12, BOOL: 1, 9: 8, 10: 0, INT32: 4, 17: 8, INT64: 8, 19: 16,
    0xFF: 0, 0x7F: 0,
}  # fmt: skip
_I32, _I64, _F64 = Struct("<i"), Struct("<q"), Struct("<d")

MAX_TEXT = 2048
"""Characters of a shape; it ends behind them."""
_MAX_DEPTH = 32
_MAX_KEY = 256
_MAX_FIELDS, _MAX_ELEMENTS = 64, 16
"""Fields of a document and elements of an array that are shown."""


def size_at(data: bytes, at: int) -> int:
    """The length that a document or string at ``at`` says, or -1."""
    if at < 0 or at + 4 > len(data):
        return -1
    length: int = _I32.unpack_from(data, at)[0]
    return length


def _behind(data: bytes, kind: int, at: int) -> int:
    """Where a value ends, perhaps behind what is there; -1: not known."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return at + fixed
    if kind == _REGEX:
        for _ in range(2):
            at = data.find(b"\0", at) + 1
            if not at:
                return -1
        return at
    size = size_at(data, at)
    if kind in (DOCUMENT, ARRAY, _SCOPED):
        return at + size if size >= 5 else -1
    if size < 0:
        return -1
    if kind == BINARY:
        return at + 5 + size
    if kind in (STRING, _CODE, _SYMBOL):
        return at + 4 + size
    return at + 16 + size if kind == _POINTER else -1


def fields(data: bytes, at: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, type, place of the value and place behind it, of each field of the document at
    ``at`` of which the beginning is there."""
    size = size_at(data, at)
    end = min(at + size, len(data)) if size >= 5 else -1
    at += 4
    while 0 <= at < end:
        kind = data[at]
        name_end = data.find(b"\0", at + 1, at + 2 + _MAX_KEY)
        if not kind or name_end < 0 or name_end >= end:
            return
        behind = _behind(data, kind, name_end + 1)
        if behind < 0:
            return
        yield data[at + 1 : name_end], kind, name_end + 1, behind
        at = behind


def number(data: bytes, kind: int, at: int) -> float:
    """A number or truth value; 0 where it is none, or not there."""
    if kind == BOOL and at < len(data):
        return data[at]
    shape = {DOUBLE: _F64, INT32: _I32, INT64: _I64}.get(kind)
    if shape is None or at + shape.size > len(data):
        return 0
    value: float = shape.unpack_from(data, at)[0]
    return value


def text(data: bytes, kind: int, at: int, most: int = 255) -> str:
    """A string's first ``most`` bytes; empty where it is none, or not all there."""
    size = size_at(data, at)
    if kind != STRING or size < 1 or at + 4 + size > len(data):
        return ""
    return data[at + 4 : at + 3 + min(size, most + 1)].decode("utf-8", "replace")


def count(data: bytes, at: int) -> int:
    """Elements of the array at ``at``; 0 where it is not all there."""
    size = size_at(data, at)
    if size < 5 or at + size > len(data):
        return 0
    return sum(1 for _ in fields(data, at))


def quoted(name: bytes) -> str:
    """A name as JSON has it."""
    said = name.decode("utf-8", "replace")
    return f'"{said}"' if said.replace("_", "a").isalnum() else json.dumps(said, ensure_ascii=False)


class _Level:
    """A document or array that is being read."""

    __slots__ = ("array", "end", "most", "scalars", "shown")

    def __init__(self, array: bool, end: int, most: int) -> None:
        self.array = array
        self.end = end
        self.most = most
        self.scalars = False
        self.shown = 0


def shape(data: bytes, kind: int, at: int, most: int = _MAX_ELEMENTS) -> tuple[str, bool]:
    """The value at ``at`` without values: names stay, each value is ``?``, values that follow
    each other in an array are one; and whether all of it was there.

    ``most``: elements of it that are shown, where it is an array.
    """
    if kind not in (DOCUMENT, ARRAY):
        return '"?"', True
    out: list[str] = []
    size = 0
    levels: list[_Level] = []
    whole = True
    while True:
        if kind in (DOCUMENT, ARRAY):  # goes into it
            length = size_at(data, at)
            end = at + length
            whole = whole and length >= 5 and end <= len(data)
            out.append("[" if kind == ARRAY else "{")
            levels.append(
                _Level(kind == ARRAY, min(end, len(data)), most if kind == ARRAY else _MAX_FIELDS)
            )
            most = _MAX_ELEMENTS
            at += 4 if length >= 5 else len(data)
        while levels:  # to the next value that is to be gone into
            level = levels[-1]
            name_end = data.find(b"\0", at + 1, at + 2 + _MAX_KEY) if at < level.end else -1
            kind = data[at] if 0 <= at < level.end else 0
            behind = _behind(data, kind, name_end + 1) if kind and name_end >= 0 else -1
            if behind < 0 or size > MAX_TEXT or level.shown >= level.most:
                whole = whole and (kind == 0 or level.shown >= level.most)
                if level.shown >= level.most and kind:
                    out.append(',"..."')
                out.append("]" if level.array else "}")
                levels.pop()
                at = level.end
                continue
            nested = kind in (DOCUMENT, ARRAY) and len(levels) < _MAX_DEPTH
            if level.array and not nested and level.scalars:
                at = behind
                continue
            level.scalars = level.array and not nested
            said = "," if level.shown else ""
            level.shown += 1
            if not level.array:
                said += quoted(data[at + 1 : name_end]) + ":"
            if nested:
                out.append(said)
                size += len(said)
                at = name_end + 1
                break
            out.append(said + '"?"')
            size += len(said) + 3
            at = behind
        if not levels:
            return "".join(out), whole
